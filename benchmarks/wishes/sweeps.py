"""Images that leave each wish step by step, made by formulas or of a photograph: what a term says of them has to rise."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from kornia.color import lab_to_rgb, rgb_to_lab
from sgool.guidance.art import color_rules as color
from sgool.guidance.art import composition_rules as rules
from sgool.guidance.art import light_rules as light
from sgool.guidance.art.hues import chroma_and_hue
from sgool.guidance.art.texture_rules import StrokeDirection, StrokeScale, TextureStatistics
from sgool.guidance.objective import Context, Objective
from sgool.image_ops.blur import blur
from sgool.image_ops.resize import shrink
from skimage import data
from torch import Tensor

from .terms import PALETTE, objective_of

HEIGHT, WIDTH = 96, 128
RADIUS = 0.12  # of the discs, as a part of the height; the box with a disc's spread has half sides of it times sqrt(3) / 2
HALF = RADIUS * math.sqrt(3) / 2
STEPS = 13
PHOTOGRAPH = "photograph"
Made = dict[str, tuple[Any, Callable[[float], Tensor]]]  # by name: a rule, and its images


@dataclass(frozen=True)
class Sweep:
    """A term, and its images at 0 (as wished) to 1: ``(1, 3, h, w)``."""

    name: str
    objective: Objective
    image: Callable[[float], Tensor]
    of: str = ""

    def losses(self) -> list[float]:
        """At ``STEPS`` even steps."""
        found = [self.objective(self.image(step / (STEPS - 1)), Context()).losses for step in range(STEPS)]
        return torch.cat(found).tolist()


def _places() -> tuple[Tensor, Tensor]:
    x = (torch.arange(WIDTH, dtype=torch.float64) + 0.5) / WIDTH
    y = (torch.arange(HEIGHT, dtype=torch.float64) + 0.5) / HEIGHT
    return x.expand(HEIGHT, WIDTH), y[:, None].expand(HEIGHT, WIDTH)


def disc(x: float, y: float, radius: float = RADIUS) -> Tensor:
    """White on black, soft-edged."""
    across, down = _places()
    away = (((across - x) * WIDTH / HEIGHT) ** 2 + (down - y) ** 2).sqrt()
    return ((radius - away) * HEIGHT + 0.5).clamp(0, 1).expand(1, 3, -1, -1)


def gray(lightness: Tensor) -> Tensor:
    """Of CIELAB lightness ``(h, w)`` in [0, 1]."""
    return lab_to_rgb(torch.stack([100 * lightness, 0 * lightness, 0 * lightness])[None])


def stripes(*degrees: float, chroma: float = 30.0) -> Tensor:
    """Equal upright stripes of hues of CIELAB."""
    angles = torch.tensor(degrees, dtype=torch.float64).deg2rad().repeat_interleave(16)
    lab = torch.stack([torch.full_like(angles, 60.0), chroma * angles.cos(), chroma * angles.sin()])
    return lab_to_rgb(lab[None, :, None, :].expand(1, 3, 16, -1), clip=False)


def strokes(degrees: float, width: float = 0.05) -> Tensor:
    """A sine whose crests run at an angle, counterclockwise from flat, and are ``width`` of the side wide."""
    y, x = torch.meshgrid(*[(torch.arange(120, dtype=torch.float64) + 0.5) / 120] * 2, indexing="ij")
    angle = math.radians(degrees)
    return (0.5 + 0.2 * ((x * math.sin(angle) + y * math.cos(angle)) * math.pi / width).sin()).expand(1, 3, -1, -1)


def _between(first: float, last: float, at: float) -> float:
    return first + (last - first) * at


def _swept(made: Made, saliency: Any, of: str = "") -> list[Sweep]:
    return [Sweep(name, objective_of(name, rule, saliency), image, of) for name, (rule, image) in made.items()]


def _compositions() -> list[Sweep]:
    def moved(rule: rules.Rule, start: tuple[float, float], end: tuple[float, float]) -> tuple[rules.Rule, Callable[[float], Tensor]]:
        return rule, lambda at: disc(_between(start[0], end[0], at), _between(start[1], end[1], at))

    wide = 2 * HALF * HEIGHT / WIDTH
    behind = (1 - wide) / 3 + wide / 2  # x of a disc with a third of the free width behind it
    grown = math.sqrt(0.2 / 3 * WIDTH / HEIGHT)
    made: Made = {
        "rule of thirds": moved(rules.RuleOfThirds(), (1 / 3, 1 / 3), (0.5, 0.5)),
        "golden section": moved(rules.GoldenSection(), (rules.GOLDEN, rules.GOLDEN), (0.15, 0.15)),
        "centered": moved(rules.Centered(), (0.5, 0.5), (0.15, 0.3)),
        "point": moved(rules.Point(0.3, 0.3), (0.3, 0.3), (0.8, 0.7)),
        "box": moved(rules.Box(), (0.8, 0.5), (0.2, 0.5)),
        "diagonal": moved(rules.Diagonal(), (0.25, 0.25), (0.5, 0.2)),
        "balance": moved(rules.Balance(), (0.5, 0.5), (0.9, 0.5)),
        # Of weight that is spread over the image: one disc that moves outward is now more, now less in balance by this measure.
        "preference for balance": (rules.PreferenceForBalance(), lambda at: gray(1 - at * _places()[0])),
        "symmetry": moved(rules.Symmetry(), (0.5, 0.5), (0.6, 0.5)),
        "head room": moved(rules.HeadRoom(), (0.5, 0.1 + HALF), (0.5, 0.8)),
        "lead room": moved(rules.LeadRoom(), (behind, 0.5), (0.85, 0.5)),
        "subject size": (rules.SubjectSize(), lambda at: disc(0.5, 0.5, grown * (1 - 0.8 * at))),
    }
    return _swept(made, lambda images: images.mean(1, keepdim=True))  # what is bright is the subject


def _pixels() -> list[Sweep]:
    """Of color, light and texture."""
    mask = disc(0.5, 0.5, 0.3)[:, :1]
    x, y = _places()
    painted = color.hex_colors(PALETTE).double()
    bands = painted.T[None, :, None].repeat_interleave(16, 3).expand(1, 3, 16, -1)
    rim = mask[0, 0] - disc(0.5, 0.5, 0.24)[0, 0]

    def lit_from(degrees: float) -> Tensor:
        across, down = (x - 0.5) * WIDTH / HEIGHT, y - 0.5
        angle = math.radians(degrees)
        return gray(0.5 - 0.4 * (across * math.cos(angle) + down * math.sin(angle)))

    made: Made = {
        "harmony": (color.Harmony(), lambda at: stripes(30, 210 - 90 * at)),
        "palette": (color.Palette(painted.float()), lambda at: bands * (1 - at) + 0.1 * at),
        "temperature": (color.Temperature(), lambda at: stripes(60 + 180 * at)),
        "saturation": (color.Saturation(), lambda at: stripes(60, chroma=40 * (1 - at))),
        "subject contrast": (color.ColorContrast(), lambda at: gray(0.2 + 0.6 * mask[0, 0] * (1 - at))),
        "key direction": (light.KeyDirection(), lambda at: lit_from(180 * at)),
        "back light": (light.BackLight(), lambda at: gray(0.6 - 0.4 * mask[0, 0] * (1 - 2 * at))),
        "rim light": (light.RimLight(), lambda at: gray(0.2 + 0.7 * rim * (1 - at))),
        "shadows": (light.Shadows(), lambda at: gray((0.5 + (x - 0.5) * (1 + 15 * at)).clamp(0.1, 0.9))),
        "key": (light.Key(), lambda at: gray(torch.full_like(x, at))),
        "exposure": (light.Exposure(), lambda at: gray(torch.full_like(x, 0.5 + 0.5 * at))),
        "reference": (TextureStatistics(strokes(45).float()), lambda at: strokes(45 + 60 * at)),  # beyond that they are as unlike as can be
        "stroke direction": (StrokeDirection(), lambda at: strokes(45 + 90 * at)),
        "stroke width": (StrokeScale(), lambda at: strokes(30, _between(0.05, 0.15, at))),
    }
    return _swept(made, mask)


def _of_a_photograph(photo: Tensor) -> list[Sweep]:
    """Of ``(1, 3, h, w)``: for the terms whose wish a change of the whole photograph leaves without doubt."""
    gone, lab = photo.mean(1, keepdim=True).expand_as(photo), rgb_to_lab(photo)
    mask = torch.zeros_like(photo[:, :1])
    mask[..., photo.shape[-2] // 4 :, photo.shape[-1] // 4 : -(photo.shape[-1] // 4)] = 1
    own = float(chroma_and_hue(lab / 100)[0].mean())
    orange = photo.new_tensor([0.0, math.cos(color.WARM_HUE), math.sin(color.WARM_HUE)])[:, None, None]
    made: Made = {
        "symmetry": (rules.Symmetry(), lambda at: photo + (photo.flip(-1) - photo) * (0.5 - at / 2)),
        "palette": (color.Palette(color.colors_of(photo)), lambda at: photo * (1 - 0.8 * at)),
        "temperature": (color.Temperature(), lambda at: lab_to_rgb(lab + 40 * (1 - 2 * at) * orange)),
        "saturation": (color.Saturation(own), lambda at: photo + (gone - photo) * at),
        "back light": (light.BackLight(1.0), lambda at: photo * (1 - 0.8 * torch.where(mask > 0, 1 - at, at))),
        "shadows": (light.Shadows(), lambda at: blur(photo, 8 * (1 - at))),
        "key": (light.Key(), lambda at: photo * at),
        "exposure": (light.Exposure(), lambda at: gray((0.5 + 2 * at * (lab[0, 0] / 100 - 0.5)).clamp(0, 1))),
        "reference": (TextureStatistics(photo), lambda at: blur(photo, 8 * at)),
    }
    return _swept(made, mask, PHOTOGRAPH)


def sweeps() -> list[Sweep]:
    """Of every rule of the four nodes; those of a photograph are scikit-image's astronaut."""
    photo = torch.from_numpy(data.astronaut()).movedim(-1, 0)[None].double() / 255
    return [*_compositions(), *_pixels(), *_of_a_photograph(shrink(photo, 128))]
