"""The authors' own networks, imported from copies of their repositories that the user has, to be run beside ours."""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn

Forward = Callable[[Tensor], Tensor]

# Imported at the head of the authors' files, and not used by their networks.
_UNUSED = ("pandas", "skimage", "skimage.io", "skimage.transform")


@contextlib.contextmanager
def _importing_from(folder: Path, *packages: str) -> Iterator[None]:
    """Import from ``folder`` first, then forget what was imported, for its modules have names like ``utils``."""
    before = dict(sys.modules)
    for name in [name for name in sys.modules if name.split(".")[0] in packages]:
        del sys.modules[name]
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        for name in [name for name in sys.modules if name.split(".")[0] in packages]:
            del sys.modules[name]
        sys.modules.update({name: module for name, module in before.items() if name.split(".")[0] in packages})


@contextlib.contextmanager
def _stand_ins() -> Iterator[None]:
    import torchvision  # noqa: F401 - first, because it looks at the modules that there are

    missing = {}
    for name in _UNUSED:
        try:
            importlib.import_module(name)
        except ImportError:
            missing[name] = ModuleType(name)
    if "skimage" in missing:
        missing["skimage"].io = missing["skimage"].transform = None  # type: ignore[attr-defined]
    with mock.patch.dict(sys.modules, missing):
        yield


def transalnet(folder: Path, variant: str) -> nn.Module:
    """LJOVO/TranSalNet, without the ImageNet weights that its constructors ask for."""
    name = {"resnet50": "TranSalNet_Res", "densenet161": "TranSalNet_Dense"}[variant]
    utils = ModuleType("utils")  # its folder has no __init__.py, so that any other ``utils`` would hide it
    utils.__path__ = [str(folder / "utils")]
    with _importing_from(folder, "utils", name), _stand_ins():
        sys.modules["utils"] = utils
        backbone = importlib.import_module(f"utils.{variant.rstrip('0156')}")
        untrained = getattr(backbone, variant)(pretrained=False)
        with mock.patch.object(backbone, variant, return_value=untrained):
            return importlib.import_module(name).TranSalNet()


def unisal(folder: Path) -> nn.Module:
    """rdroste/unisal with the settings of its published weights, without the ImageNet weights."""
    package = ModuleType("unisal")  # its __init__.py imports the training code too
    package.__path__ = [str(folder / "unisal")]
    with _importing_from(folder, "unisal"):
        sys.modules["unisal"] = package
        return importlib.import_module("unisal.model").UNISAL(cnn_cfg={"pretrained": False}, verbose=0)


def u2net(folder: Path, variant: str) -> nn.Module:
    """xuebinqin/U-2-Net."""
    with _importing_from(folder / "model", "u2net"):
        return getattr(importlib.import_module("u2net"), variant.upper())()


def forward(name: str, network: nn.Module) -> Forward:
    """The reference as a function from its input to what ``network`` of our model returns."""
    if name == "unisal":

        def static(images: Tensor) -> Tensor:
            return network(images[:, None], source="SALICON", static=True)[:, 0]

        return static
    if name.startswith("u2net"):
        return lambda images: network(images)[0]
    return network


def load(name: str, folders: dict[str, Path | None]) -> Any:
    """Return the reference of the predictor called ``name``, in evaluation mode; None where the user has no copy of it."""
    family = name.split("-", maxsplit=1)[0]
    folder = folders.get("u2net" if family == "u2netp" else family)
    if folder is None:
        return None
    with torch.random.fork_rng():
        if family == "transalnet":
            network = transalnet(folder, name.removeprefix("transalnet-"))
        else:
            network = unisal(folder) if family == "unisal" else u2net(folder, name)
    return network.requires_grad_(False).eval()
