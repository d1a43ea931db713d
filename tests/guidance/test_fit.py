"""The loss with a reward that has no vectors: the negated reward, and the smooth hinge on rewards, both written out by hand."""

from __future__ import annotations

import math

import pytest
import torch
from sgool.guidance.fit import RewardFit
from sgool.guidance.objective import Context
from sgool.guidance.saliency_clip_loss import LossSettings, SaliencyCLIPLoss
from torch import Tensor


class Brightness:
    """Rewards brightness, times the length of the prompt."""

    def __init__(self) -> None:
        self.asked = 0

    def __call__(self, images: Tensor, prompts: list[str]) -> Tensor:
        self.asked += 1
        return images.mean((1, 2, 3)) * images.new_tensor([len(prompt) for prompt in prompts])


def test_distance_measure_and_gradient_of_a_plain_reward() -> None:
    reward = Brightness()
    fit = RewardFit(reward)
    images = torch.stack([torch.full((3, 4, 4), 0.25), torch.full((3, 4, 4), 0.5)]).requires_grad_()
    seen = fit.look(images, [lambda x: x, lambda x: x / 2])
    distance = fit.distance(seen, ["abc", "ab"])
    torch.testing.assert_close(distance, torch.tensor([[-0.75, -1.0], [-0.375, -0.5]]))
    name, value = fit.measure(seen, ["abc", "ab"])
    assert name == "reward"
    torch.testing.assert_close(value, torch.tensor([0.5625, 0.75]))
    assert reward.asked == 2, "once for each augmentation, not again for what is measured"
    (gradient,) = torch.autograd.grad(distance[0].sum(), images)
    torch.testing.assert_close(gradient, torch.tensor([-3.0, -2.0])[:, None, None, None].expand(2, 3, 4, 4) / 48)


def test_contrast_rises_where_a_negative_prompt_is_rewarded_more() -> None:
    fit = RewardFit(Brightness())
    seen = fit.look(torch.ones(1, 3, 4, 4), [lambda x: x])
    worse, better = (float(fit.contrast(seen, ["abcd"], [negative])) for negative in ("a", "abcdefgh"))
    assert worse == pytest.approx(math.log1p(math.exp(-3)), rel=1e-5)
    assert better == pytest.approx(math.log1p(math.exp(4)), rel=1e-5)


class Lightness:
    """Reads no prompt."""

    reads_prompts = False

    def __call__(self, images: Tensor, prompts: list[str]) -> Tensor:
        return images.mean((1, 2, 3))


def test_a_reward_without_prompts_takes_empty_ones_and_leaves_negative_ones_out() -> None:
    loss = SaliencyCLIPLoss(Lightness(), [""], negative_prompts=["dark"], settings=LossSettings(w_salient=0))
    scored = loss(torch.full((1, 3, 4, 4), 0.25), Context())
    torch.testing.assert_close(scored.losses, torch.tensor([-0.25]))
    assert set(scored.parts) == {"reward", "global"}
    with pytest.raises(ValueError, match="The prompt is empty"):
        SaliencyCLIPLoss(Brightness(), [""])
