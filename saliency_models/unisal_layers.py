"""The parts of UNISAL (see ``unisal``): MobileNetV2, norms by domain, and a recurrent part for its first frame."""

from __future__ import annotations

from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

Domain = Literal["SALICON", "DHF1K", "Hollywood", "UCFSports"]
DOMAINS: tuple[str, ...] = get_args(Domain)


class DomainNorm(nn.Module):
    """A batch norm per domain, of which one is used."""

    def __init__(self, channels: int, domain: str, operations: Any) -> None:
        super().__init__()
        self.domain = domain
        for name in DOMAINS:
            self.add_module(f"bn_{name}", operations.BatchNorm2d(channels))

    def forward(self, x: Tensor) -> Tensor:
        return self.get_submodule(f"bn_{self.domain}")(x)


def named(**modules: nn.Module) -> nn.Sequential:
    """Modules in a row, under names."""
    sequence = nn.Sequential()
    for name, module in modules.items():
        sequence.add_module(name, module)
    return sequence


class Layers:
    """Makes the layers of one network: which namespace they come from, and the domain of its norms."""

    def __init__(self, operations: Any, domain: str) -> None:
        self.operations = operations
        self.domain = domain

    def norm(self, channels: int, by_domain: bool) -> nn.Module:
        return DomainNorm(channels, self.domain, self.operations) if by_domain else self.operations.BatchNorm2d(channels)

    def convolution(self, channels_in: int, channels: int, size: int = 1, by_domain: bool = False, **options: Any) -> list[nn.Module]:
        """Convolution, norm, ReLU6."""
        convolution = self.operations.Conv2d(channels_in, channels, size, padding=size // 2, bias=False, **options)
        return [convolution, self.norm(channels, by_domain), nn.ReLU6()]

    def skip(self, channels_in: int, channels: int) -> nn.Sequential:
        """Twice the channels, then ``channels``: from a stage of the encoder to the decoder."""
        reduction = nn.Sequential(self.operations.Conv2d(2 * channels_in, channels, 1), self.norm(channels, by_domain=True))
        expansion = nn.Sequential(*self.convolution(channels_in, 2 * channels_in, by_domain=True))
        return named(expansion=expansion, reduction=reduction)


class InvertedResidual(nn.Module):
    """MobileNetV2's block: widen, filter each channel, narrow without a non-linearity (Sandler et al. 2018)."""

    def __init__(self, layers: Layers, channels_in: int, channels: int, expand: int, *, stride: int = 1, by_domain: bool = False) -> None:
        super().__init__()
        hidden = channels_in * expand
        widen = layers.convolution(channels_in, hidden, by_domain=by_domain) if expand != 1 else []
        each = layers.convolution(hidden, hidden, 3, by_domain=by_domain, groups=hidden, stride=stride)
        narrow = [layers.operations.Conv2d(hidden, channels, 1, bias=False), layers.norm(channels, by_domain)]
        self.conv = nn.Sequential(*widen, *each, *narrow)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


class Residual(InvertedResidual):
    """The same, added to its input."""

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x)


class MobileNetV2(nn.Module):
    """MobileNetV2 whose strides come one step late, so that its taps are taken before each halving.

    ``forward`` takes (B, 3, H, W) and returns 1280 channels at 1/32, 160 at 1/16 and 64 at 1/8 of the size.
    """

    # expansion, channels, blocks, whether the image is halved
    _stages = (
        (1, 16, 1, False),
        (6, 24, 2, True),
        (6, 32, 3, True),
        (6, 64, 4, True),
        (6, 96, 3, False),
        (6, 160, 3, True),
        (6, 320, 1, False),
    )
    _eighth, _sixteenth = 7, 14

    def __init__(self, layers: Layers) -> None:
        super().__init__()
        features: list[nn.Module] = [nn.Sequential(*layers.convolution(3, 32, 3, stride=2))]
        channels = 32
        for expand, width, blocks, halves in self._stages:
            for index in range(blocks):
                # Where no tap is taken the filter's own stride keeps just the places that the halving would keep, at a quarter of the cost.
                stride = 2 if halves and index == 0 and len(features) not in (self._eighth, self._sixteenth) else 1
                block = Residual if index > 0 else InvertedResidual
                features.append(block(layers, channels, width, expand, stride=stride))
                channels = width
        features.append(nn.Sequential(*layers.convolution(channels, 1280)))
        self.features = nn.Sequential(*features)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        taps = {}
        for index, block in enumerate(self.features):
            x = block(x)
            if index in (self._eighth, self._sixteenth):
                taps[index] = x
                x = x[..., ::2, ::2]
        return x, taps[self._sixteenth], taps[self._eighth]


class ConvGRUCell(nn.Module):
    """One step of UNISAL's convolutional GRU from no history, as in its authors' ``models/cgru.py`` (paper, figure 2).

    With x the input, h the hidden state, N a norm, a and b learned and the hidden state before the first frame zero:

        r = sigmoid(a N(W_r x) + a N(U_r h) + b),  z = sigmoid(a N(W_z x) + a N(U_z h) + b),
        candidate = tanh(a N(W x) + r a N(U h) + b),  new h = (1 - z) h + z candidate.
    """

    def __init__(self, layers: Layers, channels: int) -> None:
        super().__init__()
        for gate in ("r", "z", "out"):
            for source in ("x", "h"):
                self.add_module(f"norm_{gate}_{source}", layers.norm(channels, by_domain=True))
        for name in ("w_r", "u_r", "w_z", "u_z", "w", "u"):
            each = layers.operations.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)
            separate = layers.operations.Conv2d(channels, channels, 1, bias=False)
            self.add_module(name, named(conv_dw=each, sep_bn=layers.norm(channels, by_domain=True), sep_relu=nn.ReLU6(), conv_sep=separate))
        for name in ("b_r", "b_z", "b_h", *(f"a_{gate}_{source}" for gate in "rzh" for source in "xh")):
            self.register_parameter(name, nn.Parameter(torch.zeros(channels, 1, 1)))

    def forward(self, x: Tensor) -> Tensor:
        """Return the hidden state after the frame (B, C, h, w), of the same shape."""
        hidden = x.new_zeros(1, x.shape[1], 1, 1)  # the same everywhere, and a convolution without bias keeps it so at the border
        reset = torch.sigmoid(self._term("r", "x", x) + self._term("r", "h", hidden) + self._weight("b_r", x))
        update = torch.sigmoid(self._term("z", "x", x) + self._term("z", "h", hidden) + self._weight("b_z", x))
        return update * torch.tanh(self._term("out", "x", x) + reset * self._term("out", "h", hidden) + self._weight("b_h", x))

    def _term(self, gate: str, source: str, values: Tensor) -> Tensor:
        convolution = {"x": "w", "h": "u"}[source] + ("" if gate == "out" else f"_{gate}")
        normalized = self.get_submodule(f"norm_{gate}_{source}")(self.get_submodule(convolution)(values))
        return normalized * self._weight(f"a_{'h' if gate == 'out' else gate}_{source}", values)

    def _weight(self, name: str, like: Tensor) -> Tensor:
        return self.get_parameter(name).to(device=like.device, dtype=like.dtype)


class ConvGRU(nn.Module):
    """UNISAL's recurrent part: one cell."""

    def __init__(self, layers: Layers, channels: int) -> None:
        super().__init__()
        self.cell_list = nn.ModuleList([ConvGRUCell(layers, channels)])

    def forward(self, x: Tensor) -> Tensor:
        return self.cell_list[0](x)
