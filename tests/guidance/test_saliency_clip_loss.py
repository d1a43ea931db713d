"""The loss: its terms, its gradient, its prompts, when saliency is predicted."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sgool.guidance.augmentations import Augmentations
from sgool.guidance.distances import DISTANCES
from sgool.guidance.objective import Context, Objective, WeightedSum, remarks_of
from sgool.guidance.regions import REGIONS
from sgool.guidance.saliency_clip_loss import LossSettings, SaliencyCLIPLoss
from sgool.rewards.encoders import TransformersEncoder
from torch import Tensor

WHOLE = Augmentations("whole")


class Brightness:
    """A saliency model: bright is salient. Counts its calls and remembers whether a gradient was asked of it."""

    def __init__(self) -> None:
        self.calls, self.with_gradient = 0, False

    def __call__(self, images: Tensor) -> Tensor:
        self.calls += 1
        self.with_gradient = images.requires_grad
        return images.mean(1, keepdim=True) ** 2


def photographs(batch: int = 2, height: int = 20, width: int = 24, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 0.1 + 0.8 * torch.rand(batch, 3, height, width, dtype=torch.float64, generator=generator)


def context(seed: int = 0, **options: Any) -> Context:
    return Context(generator=torch.Generator().manual_seed(seed), **options)


@pytest.mark.parametrize("region", [*REGIONS, "windows"])
@pytest.mark.parametrize("detached", [True, False])
def test_gradient_is_that_of_finite_differences(encoder: TransformersEncoder, region: Any, detached: bool) -> None:
    saliency: Any = Brightness()
    if detached:  # finite differences would move a predicted map
        saliency = torch.rand(1, 1, 5, 5, generator=torch.Generator().manual_seed(1))
    settings_ = LossSettings(region=region, augmentations=Augmentations("augmented", 2), detach_saliency=detached, w_negative=0.5)
    loss = SaliencyCLIPLoss(encoder, ["a red circle"], saliency=saliency, negative_prompts=["a cat"], settings=settings_)
    images = photographs(2, 9, 8).requires_grad_()
    assert torch.autograd.gradcheck(lambda p: loss(p, context()).losses, (images,), fast_mode=True)


class Colors:
    """An encoder that knows colors by their names, and reads 20 pixels."""

    image_size = 20

    def encode_text(self, prompts: list[str]) -> Tensor:
        named = {"red": [1.0, 0, 0], "green": [0, 1.0, 0], "blue": [0, 0, 1.0]}
        vectors = [torch.tensor([named[word] for word in prompt.replace(";", "").split() if word in named]).sum(0) for prompt in prompts]
        return torch.nn.functional.normalize(torch.stack(vectors).double(), dim=-1)

    def encode_image(self, images: Tensor) -> Tensor:
        return torch.nn.functional.normalize(images.mean((2, 3)), dim=-1)


def test_each_phrase_is_held_against_the_window_that_shows_it_best() -> None:
    images, mask = torch.zeros(2, 3, 40, 80, dtype=torch.float64), torch.zeros(1, 1, 40, 80)
    images[:, 1] = 1.0  # green, but for what is salient
    images[:, :, 10:30, :40] = torch.tensor([1.0, 0, 0]).view(3, 1, 1)
    images[:, :, 10:30, 40:] = torch.tensor([0, 0, 1.0]).view(3, 1, 1)
    mask[..., 10:30, :40], mask[..., 10:30, 40:] = 1.0, 0.5

    def salient(*prompts: str) -> list[float]:
        chosen = LossSettings(region="windows", augmentations=WHOLE, distance="cosine")
        loss = SaliencyCLIPLoss(Colors(), ["green"], saliency=mask, salient_prompts=prompts, settings=chosen)
        return loss(images, context(batch_size=2)).parts["salient"].tolist()

    assert salient("red; blue") == pytest.approx([0, 0], abs=1e-3)
    assert salient("red;green") == pytest.approx([0.5, 0.5], abs=0.02)  # no window is green
    assert salient("red", "red; green; blue") == pytest.approx([0, 1 / 3], abs=0.02)
    assert salient("red blue") == pytest.approx([1 - 0.5**0.5] * 2, abs=0.02)  # one phrase


class Middle:
    """A saliency model with a center prior, which it can leave out: then the map is above zero in one corner alone."""

    def __call__(self, images: Tensor) -> Tensor:
        maps = torch.zeros_like(images[:, :1])
        maps[..., 30:60, 30:60] = 1.0
        return maps

    def without_center(self) -> Any:
        return self.corner

    @staticmethod
    def corner(images: Tensor) -> Tensor:
        maps = torch.zeros_like(images[:, :1])
        maps[..., :20, :20] = 1.0
        return maps


def test_the_region_is_windows_where_things_are_overlooked_and_places_predicted() -> None:
    def region(side: int, saliency: Any, reward: Any = None, **chosen: Any) -> str:
        loss = SaliencyCLIPLoss(reward or Colors(), ["green"], saliency=saliency, settings=LossSettings(**chosen))
        return loss.region_for(torch.zeros(1, 3, side, side + 9))

    assert region(90, Middle()) == "windows"  # 4.5 times what the reward reads
    assert region(89, Middle()) == "blur surroundings"
    assert region(90, torch.ones(1, 4, 4)) == "blur surroundings"  # a mask says what matters, however large it is
    assert region(90, Middle(), lambda images, prompts: images.mean((1, 2, 3))) == "blur surroundings"  # no vectors
    assert region(90, Middle(), region="soft crop") == "soft crop"
    assert region(30, Middle(), region="windows") == "windows"


@pytest.mark.parametrize("prompt", ["a red corner", "a corner in red next to a red one"])
def test_windows_are_put_without_the_center_prior_and_show_each_phrase_of_the_prompt(prompt: str) -> None:
    images = torch.zeros(1, 3, 90, 90, dtype=torch.float64)
    images[:, 1] = 1.0
    images[:, :, :20, :20] = torch.tensor([1.0, 0, 0]).view(3, 1, 1)
    loss = SaliencyCLIPLoss(Colors(), [prompt], saliency=Middle(), settings=LossSettings(augmentations=WHOLE))
    assert float(loss(images, Context()).parts["salient"]) == pytest.approx(0, abs=1e-3)
    assert torch.equal(loss.last_maps[0][0] > 0, Middle.corner(images)[0, 0] > 0)
    (said,) = remarks_of(loss)
    assert "4.5 times as large as the 20 pixels" in said
    loss.begin()
    assert remarks_of(loss) == []
    blurred = SaliencyCLIPLoss(Colors(), [prompt], saliency=Middle(), settings=LossSettings(augmentations=WHOLE, region="soft crop"))
    assert float(blurred(images, Context()).parts["salient"]) > 1
    assert torch.equal(blurred.last_maps[0], Middle()(images)[0])


def test_terms_add_up(encoder: TransformersEncoder) -> None:
    settings_ = LossSettings(w_global=0.7, w_salient=1.3, w_negative=0.4, augmentations=Augmentations("augmented", 3))
    loss = SaliencyCLIPLoss(
        encoder,
        ["a red circle"],
        saliency=Brightness(),
        salient_prompts=["circle"],
        negative_prompts=["a blue square", "cat"],
        settings=settings_,
    )
    assert isinstance(loss, Objective)
    scored = loss(photographs(), context())
    parts = scored.parts
    assert list(parts) == ["similarity", "global", "negative", "salient"]
    torch.testing.assert_close(scored.losses, 0.7 * parts["global"] + 1.3 * parts["salient"] + 0.4 * parts["negative"])
    assert all(part.shape == (2,) and not part.requires_grad for part in parts.values())


@pytest.mark.parametrize("distance", DISTANCES)
def test_it_is_the_distance_of_the_encoders_vectors(encoder: TransformersEncoder, distance: Any) -> None:
    images, maps = photographs(), torch.rand(2, 1, 20, 24, dtype=torch.float64)
    settings_ = LossSettings(w_global=2, w_salient=3, distance=distance, augmentations=WHOLE, region="multiply")
    scored = SaliencyCLIPLoss(encoder, ["a red circle"], saliency=maps, salient_prompts=["cat"], settings=settings_)(images, Context())
    between = DISTANCES[distance]
    whole = between(encoder.encode_image(images), encoder.encode_text(["a red circle"]))
    salient = between(encoder.encode_image(images * maps), encoder.encode_text(["cat"]))
    torch.testing.assert_close(scored.losses, 2 * whole + 3 * salient)


def test_without_salient_weight_it_is_the_text_guidance_of_doodl_and_saliency_never_runs(encoder: TransformersEncoder) -> None:
    saliency = Brightness()
    options = {"augmentations": Augmentations("cutouts", 4), "reduce": "minimum", "w_salient": 0.0}
    loss = SaliencyCLIPLoss(encoder, ["a red circle"], saliency=saliency, settings=LossSettings(**options))
    scored = loss(photographs(2, 50, 60), context())
    assert saliency.calls == 0
    assert list(scored.parts) == ["similarity", "global"]
    augmentations = Augmentations("cutouts", 4).draw(50, 60, 32, torch.Generator().manual_seed(0))
    text = encoder.encode_text(["a red circle"])
    distances = torch.stack(
        [DISTANCES["great circle"](encoder.encode_image(augmentation(photographs(2, 50, 60))), text) for augmentation in augmentations]
    )
    torch.testing.assert_close(scored.losses, distances.amin(0))
    bare = SaliencyCLIPLoss(encoder, ["a red circle"], settings=LossSettings(**options))
    torch.testing.assert_close(bare(photographs(2, 50, 60), context()).losses, scored.losses)


def test_only_the_salient_term(encoder: TransformersEncoder) -> None:
    loss = SaliencyCLIPLoss(encoder, ["cat"], saliency=Brightness(), settings=LossSettings(w_global=0, w_salient=2))
    scored = loss(photographs(), context())
    assert list(scored.parts) == ["salient"]
    torch.testing.assert_close(scored.losses, 2 * scored.parts["salient"])


@settings(max_examples=15, deadline=None)
@given(
    region=st.sampled_from(["automatic", *REGIONS, "windows"]),
    distance=st.sampled_from(list(DISTANCES)),
    augmentations=st.sampled_from(["whole", "augmented", "cutouts"]),
    reduce=st.sampled_from(["mean", "minimum"]),
    shape=st.tuples(st.integers(1, 3), st.integers(2, 40), st.integers(2, 40)),
    seed=st.integers(0, 99),
)
def test_a_batch_equals_single_images_and_losses_are_in_range(
    *, encoder: TransformersEncoder, region: Any, distance: Any, augmentations: Any, reduce: str, shape: tuple[int, int, int], seed: int
) -> None:
    batch, height, width = shape
    chosen = LossSettings(region=region, distance=distance, augmentations=Augmentations(augmentations, 2), reduce=reduce)
    prompts = ["a red circle", "a blue square", "cat"][:batch]
    loss = SaliencyCLIPLoss(encoder, prompts, saliency=Brightness(), settings=chosen)
    images = photographs(batch, height, width, seed)
    together = loss(images, context(seed)).losses
    alone = [loss(images[i : i + 1], context(seed, index=i, batch_size=batch)).losses for i in range(batch)]
    torch.testing.assert_close(together, torch.cat(alone))
    highest = 2 * (torch.pi**2 / 2 if distance == "great circle" else 2)
    assert (together >= 0).all()
    assert (together <= highest).all()


def test_seeds_decide_everything(encoder: TransformersEncoder) -> None:
    loss = SaliencyCLIPLoss(encoder, ["cat"], saliency=Brightness())
    first, same, other = (loss(photographs(), context(seed)).losses for seed in (3, 3, 4))
    assert torch.equal(first, same)
    assert not torch.equal(first, other)
    plain = SaliencyCLIPLoss(encoder, ["cat"], saliency=Brightness(), settings=LossSettings(augmentations=WHOLE))
    torch.testing.assert_close(loss(photographs(), Context()).losses, plain(photographs(), Context()).losses)


def test_detached_saliency_changes_the_gradient_not_the_loss(encoder: TransformersEncoder) -> None:
    images = photographs().requires_grad_()
    results = []
    for detach in (True, False):
        saliency = Brightness()
        loss = SaliencyCLIPLoss(encoder, ["cat"], saliency=saliency, settings=LossSettings(detach_saliency=detach, augmentations=WHOLE))
        losses = loss(images, Context()).losses
        assert saliency.with_gradient is not detach
        results.append((losses.detach(), torch.autograd.grad(losses.sum(), images)[0]))
    torch.testing.assert_close(results[0][0], results[1][0])
    assert not torch.allclose(results[0][1], results[1][1])
    fixed = SaliencyCLIPLoss(encoder, ["cat"], saliency=Brightness()(images.detach()), settings=LossSettings(augmentations=WHOLE))
    (gradient,) = torch.autograd.grad(fixed(images, Context()).losses.sum(), images)
    torch.testing.assert_close(gradient, results[0][1])


def test_saliency_is_predicted_every_nth_iteration_for_each_image(encoder: TransformersEncoder) -> None:
    saliency = Brightness()
    loss = SaliencyCLIPLoss(encoder, ["cat"], saliency=saliency, settings=LossSettings(saliency_every=3, augmentations=WHOLE))
    loss.begin()
    first = loss.salient_maps(photographs(seed=1), Context(iteration=0))
    kept = loss.salient_maps(photographs(seed=2), Context(iteration=1))
    second_alone = loss.salient_maps(photographs(1, seed=3), Context(iteration=2, index=1))
    assert saliency.calls == 1
    torch.testing.assert_close(kept, first)
    torch.testing.assert_close(second_alone, first[1:])
    loss(photographs(seed=4), Context(iteration=3))
    assert saliency.calls == 2
    loss(photographs(height=10, seed=4), Context(iteration=4))  # of another size: the kept maps do not fit
    assert saliency.calls == 3
    loss.begin()
    loss(photographs(seed=5), Context(iteration=5))
    assert saliency.calls == 4


@pytest.mark.parametrize("shape", [(1, 1, 5, 9), (7, 3), (2, 40, 48)])
def test_a_mask_of_any_size_takes_the_place_of_saliency(encoder: TransformersEncoder, shape: tuple[int, ...]) -> None:
    mask = torch.rand(shape)
    mask = mask[None] if mask.ndim == 2 else mask
    loss = SaliencyCLIPLoss(encoder, ["cat"], saliency=mask)
    maps = loss.salient_maps(photographs(), context())
    assert maps.shape == (2, 1, 20, 24)
    assert maps.min() >= 0
    assert "salient" in loss(photographs(), context()).parts


def test_negative_prompts_pull_the_gradient(encoder: TransformersEncoder) -> None:
    images = photographs().requires_grad_()
    near = encoder.encode_image(images.detach())
    unwanted = ["a blue square", "cat"]
    closer = unwanted[int((near @ encoder.encode_text(unwanted).T).mean(0).argmax())]
    wanted = next(prompt for prompt in unwanted if prompt != closer)
    loss = SaliencyCLIPLoss(
        encoder, [wanted], negative_prompts=[closer], settings=LossSettings(w_global=0, w_salient=0, augmentations=WHOLE)
    )
    scored = loss(images, Context())
    assert list(scored.parts) == ["similarity", "negative"]
    (gradient,) = torch.autograd.grad(scored.losses.sum(), images)
    moved = encoder.encode_image(images.detach() - 0.01 * gradient / gradient.std())
    texts = encoder.encode_text([wanted, closer])
    gap_before, gap_after = ((v @ texts.T).diff(dim=1).mean() for v in (near, moved))
    assert gap_after < gap_before


def test_prompts_follow_the_place_in_the_run(encoder: TransformersEncoder) -> None:
    loss = SaliencyCLIPLoss(encoder, ["a red circle", "cat", "a blue square"], settings=LossSettings(w_salient=0, augmentations=WHOLE))
    images = photographs(2)
    chosen = loss(images, Context(index=1, batch_size=3)).losses
    for row, prompt in enumerate(["cat", "a blue square"]):
        single = SaliencyCLIPLoss(encoder, [prompt], settings=LossSettings(w_salient=0, augmentations=WHOLE))
        torch.testing.assert_close(chosen[row : row + 1], single(images[row : row + 1], Context()).losses)


@pytest.mark.parametrize(("batch", "words"), [(1, "3 prompts for 1 image;"), (2, "3 prompts for 2 images;")])
def test_more_prompts_than_the_run_has_images(encoder: TransformersEncoder, batch: int, words: str) -> None:
    """One image at a time, as the optimizer asks: that there is no image for the last prompt shows in the batch size alone."""
    loss = SaliencyCLIPLoss(encoder, ["a red circle", "cat", "a blue square"], settings=LossSettings(w_salient=0, augmentations=WHOLE))
    with pytest.raises(ValueError, match=words):
        loss(photographs(1), Context(index=0, batch_size=batch))
    loss(photographs(1), Context(index=0, batch_size=3))


def test_it_works_on_prompts_encoded_in_inference_mode(encoder: TransformersEncoder) -> None:
    with torch.inference_mode():
        loss = SaliencyCLIPLoss(encoder, ["cat"], saliency=torch.rand(1, 8, 8))
        loss(photographs(), context())
    images = photographs().requires_grad_()
    (gradient,) = torch.autograd.grad(loss(images, context()).losses.sum(), images)
    assert torch.isfinite(gradient).all()


def build(
    encoder: TransformersEncoder, prompts: Any = ("cat",), saliency: Any = None, settings: Any = None, **options: Any
) -> SaliencyCLIPLoss:
    given_settings = LossSettings(**settings) if settings is not None else None
    return SaliencyCLIPLoss(encoder, list(prompts), saliency=saliency, settings=given_settings, **options)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"prompts": [" "]}, "prompt is empty"),
        ({"prompts": []}, "There is no prompt"),
        ({"salient_prompts": [""]}, "salient prompt is empty"),
        ({"negative_prompts": ["a", ""]}, "negative prompt 2 of 2 is empty"),
        ({"settings": {"w_global": 0, "w_salient": 0}}, "All weights of the loss are zero"),
        ({"settings": {"w_global": -1}}, "w_global is -1"),
        ({"settings": {"w_salient": float("inf")}}, "w_salient is inf; it has to be at least 0"),
        ({"settings": {"region": "tilt"}}, "region is 'tilt'; it has to be one of"),
        ({"settings": {"distance": "taxi"}}, "distance is 'taxi'; it has to be one of"),
        ({"settings": {"reduce": "sum"}}, "reduce is 'sum'; it has to be one of"),
        ({"settings": {"saliency_every": 0}}, "saliency_every is 0"),
        ({"saliency": torch.zeros(1, 1, 4, 4)}, "The mask is empty"),
        ({"saliency": torch.stack([torch.ones(4, 4), torch.zeros(4, 4)])}, "Mask 2 of 2 is empty"),
        ({"saliency": torch.ones(4, 4)}, "the shape"),
    ],
)
def test_what_cannot_be_optimized_is_refused(encoder: TransformersEncoder, options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        build(encoder, **options)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"prompts": ["a", "cat", "photo"]}, "3 prompts for 2 images"),
        ({"saliency": torch.ones(3, 4, 4)}, "3 masks for 2 images"),
        ({"saliency": lambda images: images}, "saliency model gave maps of the shape"),
    ],
)
def test_what_does_not_fit_the_batch_is_refused(encoder: TransformersEncoder, options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        build(encoder, **options)(photographs(2), context())
    with pytest.raises(ValueError, match=r"\(B, 3, H, W\) is expected"):
        build(encoder)(photographs(2)[:, :1], context())


def test_the_minimum_over_cutouts_in_a_copy(encoder: TransformersEncoder) -> None:
    saliency = Brightness()
    loss = SaliencyCLIPLoss(encoder, ["a red circle"], saliency=saliency, settings=LossSettings(augmentations=WHOLE, w_global=0.7))
    changed = loss.augmented(Augmentations("cutouts", 6, 0.3), "minimum")
    as_set = LossSettings(augmentations=Augmentations("cutouts", 6, 0.3), reduce="minimum", w_global=0.7)
    expected = SaliencyCLIPLoss(encoder, ["a red circle"], saliency=saliency, settings=as_set)
    images = photographs(2, 60, 50)
    assert torch.equal(changed(images, context()).losses, expected(images, context()).losses)
    assert not torch.equal(loss(images, context()).losses, expected(images, context()).losses)
    assert loss.settings.augmentations == WHOLE
    assert changed.augmented(Augmentations("cutouts", 6, 0.3), "minimum") is changed
    filtered = loss.augmented(Augmentations("cutouts", 6, 0.3), "minimum", "multiply")
    assert isinstance(filtered, SaliencyCLIPLoss)
    assert (filtered.settings.region, loss.settings.region) == ("multiply", "automatic")


class Sharpness:
    """A reward that sees images and reads prompts without having vectors: the longer the prompt, the more contrast it wants."""

    name, image_size = "sharpness", 32

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, images: Tensor, prompts: list[str]) -> Tensor:
        self.calls += 1
        wanted = images.new_tensor([len(prompt) / 100 for prompt in prompts])
        return -((images.std(dim=(1, 2, 3)) - wanted) ** 2)


def test_any_reward_takes_the_place_of_the_encoder() -> None:
    reward, maps = Sharpness(), torch.rand(1, 1, 20, 24, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    chosen = LossSettings(w_global=0.5, w_salient=2, w_negative=0.25, region="multiply", augmentations=Augmentations("augmented", 2))
    loss = SaliencyCLIPLoss(
        reward, ["short"], saliency=maps, salient_prompts=["a longer prompt"], negative_prompts=["x", "yy"], settings=chosen
    )
    images = photographs().requires_grad_()
    scored = loss(images, context())
    assert list(scored.parts) == ["reward", "global", "negative", "salient"]
    assert reward.calls == 3 * 3 + 3  # each augmentation: the prompt, two negative ones; and the salient part
    seen = Augmentations("augmented", 2).draw(20, 24, 32, torch.Generator().manual_seed(0))

    def mean(shown: Tensor, prompt: str) -> Tensor:
        return torch.stack([Sharpness()(augment(shown), [prompt] * 2) for augment in seen])

    wanted = mean(images, "short")
    gaps = torch.stack([mean(images, prompt) - wanted for prompt in ("x", "yy")], dim=-1)
    hinge = (1 + gaps.exp().sum(-1)).log().mean(0)
    expected = -0.5 * wanted.mean(0) - 2 * mean(images * maps, "a longer prompt").mean(0) + 0.25 * hinge
    torch.testing.assert_close(scored.losses, expected)
    assert torch.autograd.gradcheck(lambda p: loss(p, context()).losses, (images,), fast_mode=True)


def test_cutouts_reach_every_clip_loss_of_a_sum_and_nothing_else(encoder: TransformersEncoder) -> None:
    class Other:
        def begin(self) -> None:
            pass

        def augmented(self, augmentations: Augmentations, reduce: str, region: str | None = None) -> Any:
            return self

        def __call__(self, images: Tensor, context: Context) -> Any:
            raise AssertionError("nobody asks it here")

    other, cutouts = Other(), Augmentations("cutouts", 16, 0.3)
    first, second = (SaliencyCLIPLoss(encoder, [prompt]) for prompt in ("a red circle", "a cat"))
    whole = WeightedSum([(2.0, first), (0.5, WeightedSum([(1.0, other), (-1.0, second)]))])
    changed: Any = whole.augmented(cutouts, "minimum")
    (two, of_first), (half, inner) = changed.terms
    (one, same), (minus, of_second) = inner.terms
    assert (two, half, one, minus) == (2.0, 0.5, 1.0, -1.0)
    assert same is other
    for new, old in ((of_first, first), (of_second, second)):
        assert new.prompts == old.prompts
        assert (new.settings.augmentations, new.settings.reduce) == (cutouts, "minimum")
        assert old.settings.reduce == "mean"
    only_other = WeightedSum([(1.0, other)])
    assert only_other.augmented(cutouts, "minimum") is only_other
