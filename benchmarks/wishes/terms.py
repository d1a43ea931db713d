"""The artistic objectives that are tried, one or two of each node."""

from __future__ import annotations

import math
from typing import Any

import torch
from sgool.comfy_bridge.saliency import SaliencyPredictor
from sgool.guidance.art.charts import draw_color, draw_light, draw_texture
from sgool.guidance.art.color_rules import ColorContrast, Harmony, Palette, Temperature, hex_colors
from sgool.guidance.art.composition import Composition
from sgool.guidance.art.composition_rules import PreferenceForBalance, RuleOfThirds
from sgool.guidance.art.light_rules import BackLight, KeyDirection
from sgool.guidance.art.texture_rules import SIDE, TextureStatistics
from sgool.guidance.art.view import SIDE as COLOR_SIDE
from sgool.guidance.art.view import ViewObjective
from sgool.guidance.objective import Objective
from sgool.saliency_models import registry
from torch import Tensor

PALETTE = "#264653 #2a9d8f #e9c46a #e76f51"


def hatching(side: int = 64, width: float = 4.0) -> Tensor:
    """``(1, 3, side, side)``: gray strokes that rise to the right, ``width`` pixels wide."""
    rows, columns = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    light = 0.5 + 0.4 * torch.sin((rows + columns) * (math.pi / width / math.sqrt(2)))
    return light.expand(1, 3, side, side)


class Remembered:
    """A predictor that is not asked again about the images it saw last: several terms look at the same ones."""

    def __init__(self, predictor: Any) -> None:
        self.predictor = predictor
        self.last: tuple[Tensor, Tensor] | None = None

    def __call__(self, images: Tensor) -> Tensor:
        """Maps, as the predictor's; where a gradient is asked for it is always asked."""
        if images.requires_grad:
            return self.predictor(images)  # type: ignore[no-any-return]
        if self.last is None or not torch.equal(self.last[0], images):
            self.last = images.clone(), self.predictor(images)
        return self.last[1]


def _by_view(name: str, rule: Any, saliency: Any, drawn: Any, side: int = COLOR_SIDE) -> Objective:
    return ViewObjective(name, rule, saliency, drawn, side)


def terms() -> dict[str, Objective]:
    """The objectives, by name."""
    found = Remembered(SaliencyPredictor(registry.load("default-without-center")))
    return {
        "rule of thirds": Composition(RuleOfThirds(), found),
        "preference for balance": Composition(PreferenceForBalance(), found),
        "complementary": _by_view("harmony", Harmony(), None, draw_color),
        "palette": _by_view("palette", Palette(hex_colors(PALETTE)), None, draw_color),
        "warm": _by_view("temperature", Temperature(), None, draw_color),
        "subject contrast": _by_view("subject contrast", ColorContrast(difference=1.0), found, draw_color),
        "light from the left": _by_view("key direction", KeyDirection("left"), None, draw_light),
        "back light": _by_view("back light", BackLight(difference=0.6), found, draw_light),
        "hatching": _by_view("reference", TextureStatistics(hatching()), None, draw_texture, SIDE),
    }
