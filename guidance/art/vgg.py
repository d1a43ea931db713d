"""The convolutions of VGG-16 and VGG-19 under torchvision's names, as far as the last layer whose statistics Gatys et al. compare."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from ...schema.weights import MismatchError, WeightsError, build_with_weights

CHANNELS = (64, 128, 256, 512, 512)
SMALLEST = 2 ** (len(CHANNELS) - 1)  # pixels of a side, of which the last stage sees one
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, in [0, 1]
LICENSE = "torchvision's, BSD-3-Clause; trained on ImageNet, whose images have terms of their own"


@dataclass(frozen=True)
class Network:
    """One of the published networks: convolutions of each stage (Simonyan and Zisserman 2015, table 1), and torchvision's file of it."""

    stages: tuple[int, ...]
    file: str
    size: str

    @property
    def url(self) -> str:
        """Where the file is."""
        return f"https://download.pytorch.org/models/{self.file}"


NETWORKS = {
    "vgg19": Network((2, 2, 4, 4, 4), "vgg19-dcbb9e9d.pth", "575 MB"),
    "vgg16": Network((2, 2, 3, 3, 3), "vgg16-397923af.pth", "553 MB"),
}


class VGG(nn.Module):
    """Images to the maps of relu1_1, relu2_1, relu3_1, relu4_1 and relu5_1, the layers of Gatys, Ecker and Bethge (2016).

    Written here rather than taken from ``torchvision.models`` so that a host can say what its layers are made of; the numbers are
    torchvision's, see the test.

    Args:
        name: a key of ``NETWORKS``.
        operations: namespace of ``Conv2d``.
    """

    def __init__(self, name: str, operations: Any = nn) -> None:
        super().__init__()
        self.name = name
        layers: dict[str, nn.Module] = {}
        self.stages: list[list[str]] = []
        index, before = 0, 3
        for count, channels in zip(NETWORKS[name].stages, CHANNELS, strict=True):
            self.stages.append([str(index + 2 * number) for number in range(count)])
            for key in self.stages[-1]:
                layers[key] = operations.Conv2d(before, channels, 3, padding=1)
                before = channels
            index += 2 * count + 1  # a ReLU for each, and the pooling
        self.features = nn.ModuleDict(layers)

    def trim(self) -> VGG:
        """Let go what comes behind relu5_1."""
        for key in self.stages[-1][1:]:
            del self.features[key]
        self.stages[-1] = self.stages[-1][:1]
        return self

    def forward(self, images: Tensor) -> list[Tensor]:
        """Maps ``(B, C, h / 2**n, w / 2**n)`` of each stage n, for images ``(B, 3, h, w)`` in [0, 1], sides at least ``SMALLEST``."""
        mean, std = (images.new_tensor(each)[:, None, None] for each in (_MEAN, _STD))
        x = (images - mean) / std
        found: list[Tensor] = []
        for stage in self.stages:
            x = functional.max_pool2d(x, 2) if found else x
            for key in stage:
                x = functional.relu(self.features[key](x))
                if key == stage[0]:
                    found.append(x)
        return found


def vgg(name: str, state: Mapping[str, Tensor], operations: Any = nn) -> VGG:
    """The network of a state dict with torchvision's keys, of which its classifier is not needed.

    Raises:
        WeightsError: another network's, or not all of it; the sentence says where the right file is.
    """
    features = {key: value for key, value in state.items() if not key.startswith("classifier.")}
    try:
        return build_with_weights(lambda: VGG(name, operations), features).trim()
    except MismatchError as error:
        network = NETWORKS[name]
        raise WeightsError(f"{error} They are in {network.file} ({network.size}): {network.url}.") from error
