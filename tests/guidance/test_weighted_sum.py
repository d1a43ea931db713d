"""What a sum of objectives does with its terms' gradients, against numpy's norms and angles and torch's own backward."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sgool.guidance.objective import BALANCES, Context, Scored, WeightedSum, remarks_of
from sgool.guidance.reno import family, reno_terms
from sgool.guidance.saliency_clip_loss import LossSettings, SaliencyCLIPLoss
from torch import Tensor

SHAPE = (2, 3, 4, 5)


class Term:
    """An objective made of a function."""

    def __init__(self, name: str, function: Callable[[Tensor], Tensor]) -> None:
        self.name, self.function = name, function

    def begin(self) -> None:
        pass

    def augmented(self, augmentations: Any, reduce: str, region: str | None = None) -> Term:
        return self

    def __call__(self, images: Tensor, context: Context) -> Scored:
        losses = self.function(images)
        return Scored(losses, {self.name: losses.detach()})


def drawn(seed: int) -> Tensor:
    return torch.rand(SHAPE, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def linear(name: str, seed: int, scale: float = 1.0) -> Term:
    """A loss whose gradient is the same everywhere."""
    direction = scale * (drawn(seed)[0] - 0.4)
    return Term(name, lambda images: (images * direction.to(images)).sum((1, 2, 3)))


def curved(name: str) -> Term:
    return Term(name, lambda images: (images**2).sum((1, 2, 3)))


def gradient_of(objective: Any, images: Tensor) -> tuple[Scored, Tensor]:
    leaf = images.clone().requires_grad_()
    scored = objective(leaf * 1.0, Context())  # as a decoder's images, no leaf
    return scored, torch.autograd.grad(scored.losses.sum(), leaf)[0]


def test_gradient_shares_and_agreement_are_those_of_the_terms_alone() -> None:
    images, terms, weights = drawn(0), [linear("a", 1), curved("b"), linear("c", 2)], [2.0, -0.5, 1.0]
    scored, gradient = gradient_of(WeightedSum(list(zip(weights, terms, strict=True))), images)
    alone = [weight * gradient_of(term, images)[1].flatten(1).numpy() for weight, term in zip(weights, terms, strict=True)]
    torch.testing.assert_close(gradient.flatten(1), torch.from_numpy(sum(alone)))
    sizes = np.array([np.linalg.norm(each, axis=1) for each in alone])
    for number, name in enumerate("abc"):
        others = sum(alone) - alone[number]
        cosine = (alone[number] * others).sum(1) / sizes[number] / np.linalg.norm(others, axis=1)
        np.testing.assert_allclose(scored.parts[f"{name}: share"], sizes[number] / sizes.sum(0))
        np.testing.assert_allclose(scored.parts[f"{name}: agreement"], cosine)
        np.testing.assert_allclose(scored.parts[f"{name}: loss"], weights[number] * terms[number].function(images))
    assert torch.autograd.gradcheck(lambda x: WeightedSum([(1.0, terms[0]), (3.0, terms[1])])(x, Context()).losses, images.requires_grad_())


def test_without_a_gradient_there_are_no_shares_and_the_same_losses() -> None:
    total = WeightedSum([(2.0, linear("a", 1)), (1.0, curved("b"))])
    scored = total(drawn(0), Context())
    torch.testing.assert_close(scored.losses, gradient_of(total, drawn(0))[0].losses.detach())
    assert list(scored.parts) == ["a", "b", "a: loss", "b: loss"]


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(-9, 9).filter(lambda w: abs(w) > 0.1), min_size=2, max_size=4), st.floats(1e-2, 1e2), st.booleans())
def test_weights_are_the_shares_that_they_say(weights: list[float], scale: float, searched_first: bool) -> None:
    terms = [linear(str(number), number, scale**number) for number in range(1, len(weights) + 1)]
    total = WeightedSum(list(zip(weights, terms, strict=True)), BALANCES[1])
    total.begin()
    if searched_first:
        total(drawn(9), Context())
    scored, gradient = gradient_of(total, drawn(0))
    whole = sum(abs(weight) for weight in weights)
    for number, weight in enumerate(weights, start=1):
        torch.testing.assert_close(scored.parts[f"{number}: share"], torch.full((2,), abs(weight) / whole, dtype=torch.float64))
    sizes = torch.stack([gradient_of(term, drawn(0))[1].flatten(1).norm(dim=1) for term in terms])
    expected = [weight / whole * sizes.sum(0) / size for weight, size in zip(weights, sizes, strict=True)]
    by_hand = sum(each[:, None, None, None] * gradient_of(term, drawn(0))[1] for each, term in zip(expected, terms, strict=True))
    torch.testing.assert_close(gradient, by_hand)


def test_shares_are_of_the_start_and_measured_anew_in_the_next_run() -> None:
    total = WeightedSum([(1.0, linear("a", 1)), (1.0, curved("b"))], BALANCES[1])
    found = [gradient_of(total, factor * drawn(0))[0].parts["b: share"] for factor in (1.0, 3.0)]
    total.begin()
    found.append(gradient_of(total, 3 * drawn(0))[0].parts["b: share"])
    torch.testing.assert_close(found[0], torch.full((2,), 0.5, dtype=torch.float64))
    assert (found[1] - 0.75).abs().max() < 1e-6, "three times the gradient that it began with"
    torch.testing.assert_close(found[2], found[0])


def test_a_term_that_is_no_number_is_left_out_for_that_image_and_said() -> None:
    broken = False

    def sometimes(images: Tensor) -> Tensor:
        losses = images.mean((1, 2, 3))
        return losses / (1 - torch.tensor([0.0, float(broken)])) if broken else losses

    total = WeightedSum([(1.0, curved("steady")), (10.0, Term("shaky", sometimes))])
    total.begin()
    first, _ = gradient_of(total, drawn(0))
    broken = True
    scored, gradient = gradient_of(total, 2 * drawn(0))
    alone = 2 * (2 * drawn(0))
    torch.testing.assert_close(gradient[1], alone[1])
    torch.testing.assert_close(gradient[0], alone[0] + 10 / 60)
    torch.testing.assert_close(scored.losses[1].detach(), 4 * (drawn(0)[1] ** 2).sum() + first.parts["shaky: loss"][1])
    assert "shaky was no finite number for image 2 (1 times): it was left out there, and the others went on." in remarks_of(total)
    total.begin()
    assert remarks_of(total) == []


def test_terms_that_are_all_no_numbers_are_no_number() -> None:
    total = WeightedSum([(1.0, Term(name, lambda images: images.sum((1, 2, 3)) * math.nan)) for name in "ab"])
    assert total(drawn(0), Context()).losses.isnan().all()


def test_what_is_constant_or_outweighs_the_others_is_said() -> None:
    total = WeightedSum(
        [(1.0, linear("large", 1, 1e4)), (1.0, linear("small", 2)), (1.0, Term("flat", lambda x: x.sum((1, 2, 3)) * 0 + 3))]
    )
    total.begin()
    assert remarks_of(total) == []
    for seed in range(3):
        gradient_of(total, drawn(seed))
    said = remarks_of(total)
    assert any(each.startswith("large makes 100 % of the gradient, so that the other objectives hardly count") for each in said)
    assert "flat gave the same number each time, 3: it is constant, and changes nothing." in said
    assert len(said) == 2
    shared = WeightedSum(total.terms, BALANCES[1])
    scored, _ = gradient_of(shared, drawn(0))
    torch.testing.assert_close(scored.parts["large: share"], scored.parts["small: share"])


def test_a_term_that_cannot_be_differentiated_only_counts() -> None:
    judge = Term("judge", lambda images: images.detach().mean((1, 2, 3)))
    scored, gradient = gradient_of(WeightedSum([(1.0, judge), (1.0, curved("b"))]), drawn(0))
    torch.testing.assert_close(gradient, 2 * drawn(0))
    torch.testing.assert_close(scored.losses.detach(), drawn(0).mean((1, 2, 3)) + (drawn(0) ** 2).sum((1, 2, 3)))
    with pytest.raises(ValueError, match="cannot be 'equal'; they are factors or shares"):
        WeightedSum([(1.0, judge)], "equal")


class Encoder:
    """Vectors of nothing but a name."""

    def __init__(self, name: str, kind: str) -> None:
        self.name, self.kind = name, kind

    def encode_text(self, prompts: list[str]) -> Tensor:
        return torch.tensor([[1.0, 0.0]] * len(prompts))

    def encode_image(self, images: Tensor) -> Tensor:
        return torch.nn.functional.normalize(torch.stack([images.mean((1, 2, 3)), torch.ones(len(images))], dim=1), dim=1)


class Plain:
    """ImageReward's kind."""

    name, kind = "ImageReward.pt", "ImageReward"

    def __call__(self, images: Tensor, prompts: list[str]) -> Tensor:
        return images.mean((1, 2, 3))


def test_reno_has_its_weights_whatever_the_order() -> None:
    rewards: list[Any] = [Encoder("PickScore_v1", "CLIP, SigLIP or PickScore"), Plain(), Encoder("vit", "CLIP, SigLIP or PickScore")]
    rewards.append(Encoder("HPS_v2.1_compressed", "HPS v2"))
    own = LossSettings(w_salient=0)
    total = WeightedSum(reno_terms([(1.0, SaliencyCLIPLoss(reward, ["a"], settings=own)) for reward in rewards]))
    images = torch.rand(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    mean = images.mean((1, 2, 3))
    distance = 1 - mean / (1 + mean**2).sqrt()
    torch.testing.assert_close(total(images, Context()).losses, (5 + 1 + 5) * distance - mean, atol=1e-5, rtol=0)
    assert family(Encoder("siglip-base", "CLIP, SigLIP or PickScore")) is None
    with pytest.raises(ValueError, match="ReNO has weights for HPS, ImageReward, PickScore, CLIP, and objective 2 is none of them"):
        reno_terms([(1.0, SaliencyCLIPLoss(Plain(), ["a"])), (1.0, curved("b"))])
