"""Composition as an objective: the subject is to stand where a rule says."""

from __future__ import annotations

from torch import Tensor

from ..augmentations import Augmentations
from ..objective import Context, Scored
from .composition_rules import RULES, ComposedScene, Rule
from .drawing import draw_composition
from .subject import Saliency, Subject, check_images, mass_of

NAMES = {kind: name for name, kind in RULES.items()}
FOCUS = 2.0


class Composition:
    """One loss per image: how far the image is from a rule of composition. An :class:`~..objective.Objective`.

    Args:
        rule: one of ``composition_rules.RULES``.
        saliency: where the subject is: predicts maps from images, differentiably; or a fixed map, see ``Subject``.
        focus: exponent of the map, at least 1; the larger, the less its faint parts count.

    Raises:
        ValueError: a focus below 1, or a fixed map that is empty.
    """

    def __init__(self, rule: Rule, saliency: Saliency | Tensor | None, focus: float = FOCUS) -> None:
        if not 1 <= focus <= 100:
            raise ValueError(f"focus is {focus}; it has to be from 1 to 100.")
        self.rule, self.focus = rule, focus
        self.subject = Subject(saliency, follows=True)

    def begin(self) -> None:
        """Nothing is kept."""

    def augmented(self, augmentations: Augmentations, reduce: str, region: str | None = None) -> Composition:
        """Itself: a crop has another composition."""
        return self

    def scene(self, images: Tensor, context: Context) -> ComposedScene:
        """What the rule looks at."""
        return ComposedScene(images, mass_of(self.subject.maps(images, context), self.focus))

    def __call__(self, images: Tensor, context: Context) -> Scored:
        """Score ``(B, 3, H, W)`` images; the part is named as the rule.

        Raises:
            ValueError: a gradient is wanted, and neither the subject nor the rule follows the image.
        """
        checked = check_images(images)
        losses = self.rule(self.scene(checked, context))
        if images.requires_grad and not losses.requires_grad:
            raise ValueError(
                "The subject of the composition is a mask, which stays where it is whatever the image becomes, so there is nothing to "
                "optimize. Connect a saliency model in its place; Objective Score takes the mask."
            )
        return Scored(losses, {NAMES[type(self.rule)]: losses.detach()})

    def draw(self, images: Tensor, context: Context) -> Tensor:
        """The images, enlarged where small, with guide lines, the subject's point and box, and the target."""
        checked = check_images(images)
        return draw_composition(checked, self.scene(checked, context), self.rule)
