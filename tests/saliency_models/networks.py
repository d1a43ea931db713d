"""The learned predictors with seeded weights: for what does not depend on the values of real ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from sgool.harness.seeded_weights import seeded_state
from sgool.saliency_models import registry
from sgool.saliency_models.fastsal import FastSal
from sgool.saliency_models.interface import SaliencyModel
from sgool.saliency_models.transalnet import TranSalNet
from sgool.saliency_models.u2net import U2Net
from sgool.saliency_models.unisal import Unisal

NETWORKS: dict[str, Callable[[], SaliencyModel]] = {
    "transalnet-resnet50": lambda: TranSalNet("resnet50"),
    "transalnet-densenet161": lambda: TranSalNet("densenet161"),
    "unisal": Unisal,
    "fastsal": FastSal,
    "u2net": lambda: U2Net("u2net"),
    "u2netp": lambda: U2Net("u2netp"),
}


def seeded(name: str, **options: Any) -> SaliencyModel:
    """One of :data:`NETWORKS`, made by the registry."""
    with torch.device("meta"):
        shapes = NETWORKS[name]().state_dict()
    return registry.load(name, seeded_state(shapes), **options)
