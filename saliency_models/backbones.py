"""The two convolutional encoders of TranSalNet, with the parameter names of torchvision's ResNet-50 and DenseNet-161.

They are written here rather than taken from ``torchvision.models`` for one reason: every layer is built from an
``operations`` namespace (``torch.nn``, or a namespace of layers that cast their weights when called), so that a host
can keep the weights elsewhere, or in half precision, and load them layer by layer. torchvision's models cannot be
told which layers to use. ``torch.nn`` gives the same numbers as torchvision, see the tests.

Both are ``nn.ModuleList``s that hold the children of the original network in order, and return three taps.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Bottleneck(nn.Module):
    """Residual bottleneck, stride on the 3x3 convolution (He et al. 2016, in the form torchvision uses)."""

    def __init__(self, channels_in: int, width: int, stride: int, operations: Any) -> None:
        super().__init__()
        channels_out = 4 * width
        self.conv1 = operations.Conv2d(channels_in, width, 1, bias=False)
        self.bn1 = operations.BatchNorm2d(width)
        self.conv2 = operations.Conv2d(width, width, 3, stride=stride, padding=1, bias=False)
        self.bn2 = operations.BatchNorm2d(width)
        self.conv3 = operations.Conv2d(width, channels_out, 1, bias=False)
        self.bn3 = operations.BatchNorm2d(channels_out)
        self.downsample: nn.Module | None = None
        if stride != 1 or channels_in != channels_out:
            self.downsample = nn.Sequential(
                operations.Conv2d(channels_in, channels_out, 1, stride=stride, bias=False),
                operations.BatchNorm2d(channels_out),
            )

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        x = F.relu_(self.bn1(self.conv1(x)))
        x = F.relu_(self.bn2(self.conv2(x)))
        return F.relu_(self.bn3(self.conv3(x)).add_(shortcut))


class ResNet50(nn.ModuleList):
    """ResNet-50 without its head: conv1, bn1, relu, maxpool, layer1 to layer4.

    ``forward`` takes ``(B, 3, H, W)`` and returns the outputs of layer2, layer3 and layer4: 512, 1024 and 2048
    channels at 1/8, 1/16 and 1/32 of the size.
    """

    channels = (512, 1024, 2048)

    def __init__(self, operations: Any = nn) -> None:
        stem = [
            operations.Conv2d(3, 64, 7, stride=2, padding=3, bias=False),
            operations.BatchNorm2d(64),
            nn.ReLU(),
            nn.MaxPool2d(3, stride=2, padding=1),
        ]
        stages, channels = [], 64
        for width, blocks, stride in ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2)):
            stage = nn.Sequential()
            for index in range(blocks):
                stage.append(Bottleneck(channels, width, stride if index == 0 else 1, operations))
                channels = 4 * width
            stages.append(stage)
        super().__init__([*stem, *stages])

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return _taps(self, x, (5, 6, 7))


class DenseLayer(nn.Module):
    """BN-ReLU-conv1x1-BN-ReLU-conv3x3; its output is one more slice of the block's features (Huang et al. 2017)."""

    def __init__(self, channels_in: int, growth: int, operations: Any) -> None:
        super().__init__()
        self.norm1 = operations.BatchNorm2d(channels_in)
        self.conv1 = operations.Conv2d(channels_in, 4 * growth, 1, bias=False)
        self.norm2 = operations.BatchNorm2d(4 * growth)
        self.conv2 = operations.Conv2d(4 * growth, growth, 3, padding=1, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        x = self.conv1(F.relu_(self.norm1(features)))
        return self.conv2(F.relu_(self.norm2(x)))


class DenseBlock(nn.ModuleDict):
    """Layers that each see everything before them, concatenated."""

    def __init__(self, layers: int, channels_in: int, growth: int, operations: Any) -> None:
        super().__init__({f"denselayer{i + 1}": DenseLayer(channels_in + i * growth, growth, operations) for i in range(layers)})

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.values():
            x = torch.cat((x, layer(x)), dim=1)
        return x


class Transition(nn.Module):
    """BN-ReLU-conv1x1 to half the channels, then 2x2 average pooling."""

    def __init__(self, channels_in: int, operations: Any) -> None:
        super().__init__()
        self.norm = operations.BatchNorm2d(channels_in)
        self.conv = operations.Conv2d(channels_in, channels_in // 2, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(self.conv(F.relu_(self.norm(x))), 2)


class DenseNet161(nn.ModuleList):
    """DenseNet-161 without its head and its last norm: conv0, norm0, relu0, pool0, then blocks and transitions.

    ``forward`` takes ``(B, 3, H, W)`` and returns the raw outputs of dense blocks 2, 3 and 4: 768, 2112 and 2208
    channels at 1/8, 1/16 and 1/32 of the size.
    """

    channels = (768, 2112, 2208)

    def __init__(self, operations: Any = nn) -> None:
        growth, channels = 48, 96
        modules: list[nn.Module] = [
            operations.Conv2d(3, channels, 7, stride=2, padding=3, bias=False),
            operations.BatchNorm2d(channels),
            nn.ReLU(),
            nn.MaxPool2d(3, stride=2, padding=1),
        ]
        blocks = (6, 12, 36, 24)
        for index, layers in enumerate(blocks):
            modules.append(DenseBlock(layers, channels, growth, operations))
            channels += layers * growth
            if index < len(blocks) - 1:
                modules.append(Transition(channels, operations))
                channels //= 2
        super().__init__(modules)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return _taps(self, x, (6, 8, 10))


def _taps(modules: nn.ModuleList, x: Tensor, indices: tuple[int, int, int]) -> tuple[Tensor, Tensor, Tensor]:
    found = []
    for index, module in enumerate(modules):
        x = module(x)
        if index in indices:
            found.append(x)
    return found[0], found[1], found[2]
