"""The weighted sum of objectives and the context they are asked in."""

from __future__ import annotations

import pytest
import torch
from sgool.guidance.objective import Context, Objective, Scored, WeightedSum
from torch import Tensor


class Brightness:
    def __init__(self, name: str = "brightness", maps: bool = False) -> None:
        self.name, self.maps, self.begun, self.calls = name, maps, 0, 0

    def begin(self) -> None:
        self.begun += 1

    def __call__(self, images: Tensor, context: Context) -> Scored:
        self.calls += 1
        losses = images.mean(dim=(1, 2, 3))
        return Scored(losses, {self.name: losses.detach()}, images[:, :1].detach() if self.maps else None)


def test_sum_weights_losses_and_gradients() -> None:
    images = torch.rand(3, 3, 4, 5, dtype=torch.float64, requires_grad=True)
    one = Brightness()
    scored = WeightedSum([(2.0, one), (-0.5, one)])(images, Context())
    torch.testing.assert_close(scored.losses, 1.5 * images.mean(dim=(1, 2, 3)))
    (gradient,) = torch.autograd.grad(scored.losses.sum(), images)
    torch.testing.assert_close(gradient, torch.full_like(gradient, 1.5 / 60))


def test_parts_are_kept_apart_and_first_maps_win() -> None:
    images = torch.rand(2, 3, 4, 4)
    scored = WeightedSum([(1, Brightness("a")), (1, Brightness("a", maps=True)), (1, Brightness("b"))])(images, Context())
    assert list(scored.parts) == ["a", "a 2", "b"]
    assert scored.maps is not None
    torch.testing.assert_close(scored.maps, images[:, :1])


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


def test_positions() -> None:
    assert Context().positions(3) == [0, 1, 2]
    assert Context(indices=torch.tensor([4, 1])).positions(2) == [4, 1]
    with pytest.raises(ValueError, match="one index for each image"):
        Context(indices=torch.tensor([4, 1])).positions(3)
