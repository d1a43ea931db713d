"""The artistic objectives that are tried, one or two of each node."""

from __future__ import annotations

import math
from typing import Any

import torch
from sgool.comfy_bridge.saliency import SaliencyPredictor
from sgool.guidance.art import composition_rules as rules
from sgool.guidance.art.charts import draw_color
from sgool.guidance.art.color_rules import ColorContrast, Harmony, Palette, Saturation, Temperature, hex_colors
from sgool.guidance.art.composition import Composition
from sgool.guidance.art.light_rules import BackLight, Exposure, Key, KeyDirection, RimLight, Shadows
from sgool.guidance.art.texture_rules import SIDE as TEXTURE_SIDE
from sgool.guidance.art.texture_rules import StrokeDirection, StrokeScale, TextureStatistics
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
            return self.predictor(images)
        if self.last is None or not torch.equal(self.last[0], images):
            self.last = images.clone(), self.predictor(images)
        return self.last[1]


def objective_of(name: str, rule: Any, saliency: Any) -> Objective:
    """A rule of composition, color, light or texture as the pack's nodes make an objective of it, where the subject is by ``saliency``."""
    if isinstance(rule, rules.Rule):
        return Composition(rule, saliency)
    side = TEXTURE_SIDE if isinstance(rule, (TextureStatistics, StrokeDirection, StrokeScale)) else COLOR_SIDE
    return ViewObjective(name, rule, saliency if rule.needs_subject else None, draw_color, side)


def terms() -> dict[str, Objective]:
    """The objectives, by name."""
    found = Remembered(SaliencyPredictor(registry.load("default-without-center")))
    wishes = {
        "rule of thirds": rules.RuleOfThirds(),
        "golden section": rules.GoldenSection(),
        "centered": rules.Centered(),
        "diagonal": rules.Diagonal(),
        "preference for balance": rules.PreferenceForBalance(),
        "symmetry": rules.Symmetry(),
        "subject size": rules.SubjectSize(),
        "complementary": Harmony(),
        "palette": Palette(hex_colors(PALETTE)),
        "warm": Temperature(),
        "saturation": Saturation(),
        "subject contrast": ColorContrast(difference=1.0),
        "light from the left": KeyDirection("left"),
        "back light": BackLight(difference=0.6),
        "rim light": RimLight(),
        "soft shadows": Shadows(),
        "low key": Key(),
        "exposure": Exposure(),
        "hatching": TextureStatistics(hatching()),
        "strokes at 45 degrees": StrokeDirection(),
        "stroke width": StrokeScale(),
    }
    return {name: objective_of(name, rule, found) for name, rule in wishes.items()}
