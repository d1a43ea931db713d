"""The weighted sum of objectives and the context they are asked in."""

from __future__ import annotations

import pytest
import torch
from sgool.guidance.augmentations import Augmentations
from sgool.guidance.objective import Context, Objective, Scored, WeightedSum
from torch import Tensor


class Brightness:
    def __init__(self, name: str = "brightness") -> None:
        self.name, self.begun, self.calls = name, 0, 0

    def begin(self) -> None:
        self.begun += 1

    def __call__(self, images: Tensor, context: Context) -> Scored:
        self.calls += 1
        losses = images.mean(dim=(1, 2, 3))
        return Scored(losses, {self.name: losses.detach()})

    def augmented(self, augmentations: Augmentations, reduce: str, region: str | None = None) -> Brightness:
        return self


def test_sum_weights_losses_and_gradients() -> None:
    images = torch.rand(3, 3, 4, 5, dtype=torch.float64, requires_grad=True)
    one = Brightness()
    scored = WeightedSum([(2.0, one), (-0.5, one)])(images, Context())
    torch.testing.assert_close(scored.losses, 1.5 * images.mean(dim=(1, 2, 3)))
    (gradient,) = torch.autograd.grad(scored.losses.sum(), images)
    torch.testing.assert_close(gradient, torch.full_like(gradient, 1.5 / 60))


def test_parts_are_kept_apart() -> None:
    images = torch.rand(2, 3, 4, 4)
    scored = WeightedSum([(1, Brightness("a")), (1, Brightness("a")), (1, Brightness("b"))])(images, Context())
    assert list(scored.parts) == ["a", "a 2", "b", "a: loss", "a 2: loss", "b: loss"]


def test_term_of_weight_zero_is_never_called() -> None:
    idle, used = Brightness(), Brightness()
    total = WeightedSum([(0.0, idle), (1.0, used)])
    total.begin()
    total(torch.rand(1, 3, 2, 2), Context())
    assert (idle.calls, used.calls, used.begun) == (0, 1, 1)


def test_sum_is_itself_an_objective() -> None:
    inner = WeightedSum([(2.0, Brightness())])
    assert isinstance(inner, Objective)
    images = torch.rand(2, 3, 2, 2)
    torch.testing.assert_close(WeightedSum([(3.0, inner)])(images, Context()).losses, 6 * images.mean(dim=(1, 2, 3)))


@pytest.mark.parametrize(
    ("terms", "words"),
    [
        ([], "no objective"),
        ([(0.0, Brightness()), (0.0, Brightness())], "all objectives are zero"),
        ([(float("nan"), Brightness())], "finite"),
    ],
)
def test_nothing_to_optimize_is_refused(terms: list[tuple[float, Objective]], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        WeightedSum(terms)


def test_what_belongs_to_an_image_follows_its_place() -> None:
    assert Context().choose(3, 3, "prompts") == [0, 1, 2]
    assert Context(index=4).choose(1, 2, "prompts") == [0, 0]
    assert Context(index=1, batch_size=4).choose(4, 2, "masks") == [1, 2]
    with pytest.raises(ValueError, match="There are 2 masks for 3 images; give one for all images, or one for each"):
        Context(index=1, batch_size=3).choose(2, 1, "masks")
