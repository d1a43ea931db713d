"""Weights that are a tensor subclass of packed blocks, unpacked at each use, as GGUF files are loaded: gradients go through.

The layers here are written from the format (blocks of 32 signed bytes and a half-precision scale: ggml's Q8_0) and behave as those of
ComfyUI-GGUF do: ``detach`` and ``clone`` return the tensor itself, ``shape`` is that of the unpacked weight, a LoRA hangs on the tensor.
"""

from __future__ import annotations

from typing import Any

import comfy.lora
import comfy.model_patcher
import comfy.ops
import comfy.sd
import comfy.utils
import pytest
import torch
from torch import Tensor, nn

from .guided import error_along_gradient, gradient, through_guider
from .tiny_models import low_rank, tiny_model

pytestmark = [pytest.mark.comfyui, pytest.mark.usefixtures("as_in_a_node"), pytest.mark.filterwarnings("ignore:Should have t[ab]")]
BLOCK = 32


class Packed(Tensor):
    """``(rows, blocks * 34)`` bytes."""

    unpacked: tuple[int, ...]
    patches: list[Any]

    @staticmethod
    def of(weight: Tensor) -> Packed:
        blocks = weight.float().reshape(-1, BLOCK)
        scale = (blocks.abs().amax(dim=1, keepdim=True) / 127).half()
        numbers = (blocks / scale.float().clamp_min(1e-12)).round().clamp(-127, 127).to(torch.int8)
        data = torch.cat([scale.view(torch.uint8), numbers.view(torch.uint8)], dim=1).reshape(len(weight), -1)
        return data.as_subclass(Packed)._like(tuple(weight.shape), [])

    def _like(self, unpacked: tuple[int, ...], patches: list[Any]) -> Packed:
        self.unpacked, self.patches = unpacked, patches
        return self

    def unpack(self) -> Tensor:
        blocks = self.as_subclass(Tensor).reshape(-1, BLOCK + 2)
        scale, numbers = blocks[:, :2].contiguous().view(torch.float16), blocks[:, 2:].contiguous().view(torch.int8)
        return (scale.float() * numbers.float()).reshape(self.unpacked)

    def to(self, *args: Any, **kwargs: Any) -> Packed:
        return super().to(*args, **kwargs).as_subclass(Packed)._like(self.unpacked, self.patches)

    def clone(self, *args: Any, **kwargs: Any) -> Packed:  # type: ignore[override]
        return self

    def detach(self) -> Packed:
        return self

    @property
    def shape(self) -> Any:
        return torch.Size(getattr(self, "unpacked", None) or self.size())


class Linear(comfy.ops.manual_cast.Linear):
    """Unpacks its weight each time, and adds what a LoRA adds."""

    def forward_comfy_cast_weights(self, input: Tensor) -> Tensor:
        packed: Any = self.weight
        weight = packed.to(input.device).unpack().to(input.dtype)
        for patches, key in packed.patches:
            weight = comfy.lora.calculate_weight(patches, weight, key)
        return nn.functional.linear(input, weight, None if self.bias is None else self.bias.to(input))


class Patcher(comfy.model_patcher.ModelPatcher):
    """Hangs patches on packed weights instead of changing these."""

    def patch_weight_to_device(self, key: str, *args: Any, **kwargs: Any) -> None:
        weight = comfy.utils.get_attr(self.model, key)
        if not isinstance(weight, Packed):
            super().patch_weight_to_device(key, *args, **kwargs)
        elif key in self.patches:
            weight.patches = [(self.patches[key], key)]


def packed_and_unpacked() -> tuple[Any, Any]:
    """A model with packed weights, and one whose weights are the numbers that these are unpacked to."""
    model, reference = tiny_model(), tiny_model()
    for layer, other in zip(model.model.diffusion_model.modules(), reference.model.diffusion_model.modules(), strict=True):
        if isinstance(layer, nn.Linear) and layer.in_features % BLOCK == 0:
            packed = Packed.of(layer.weight.data)
            other.weight.data = packed.unpack()
            layer.__class__ = Linear
            layer.comfy_cast_weights = True
            layer.weight = nn.Parameter(packed, requires_grad=False)
    return Patcher(model.model, load_device=model.load_device, offload_device=model.offload_device), reference


@pytest.mark.parametrize("with_lora", [False, True])
@pytest.mark.parametrize("use_checkpoint", [True, False])
def test_gradients_go_through_packed_weights(with_lora: bool, use_checkpoint: bool) -> None:
    models = [*packed_and_unpacked(), tiny_model()]
    assert sum(isinstance(weight, Packed) for weight in models[0].model.parameters()) > 10
    if with_lora:
        models = [comfy.sd.load_lora_for_models(each, None, low_rank(models[1]), 1.0, 0)[0] for each in models]
        assert len(models[0].patches) == len(models[1].patches) > 0
    options = {"use_checkpoint": use_checkpoint}
    found, same, unquantized = (through_guider(model, gradient, options=options) for model in models)
    assert torch.allclose(found, same, rtol=1e-4, atol=1e-5 * float(same.abs().max()))
    assert float(nn.functional.cosine_similarity(found.flatten(), unquantized.flatten(), dim=0)) > 0.999


def stored(model: Any) -> dict[str, bytes]:
    packed = ((name, weight) for name, weight in model.model.named_parameters() if isinstance(weight, Packed))
    return {name: bytes(weight.as_subclass(Tensor).numpy()) for name, weight in packed}


def test_the_slope_is_the_models_own_and_the_weights_stay_packed() -> None:
    model, _ = packed_and_unpacked()
    before = stored(model)
    assert through_guider(model, error_along_gradient) < 5e-3
    assert stored(model) == before
