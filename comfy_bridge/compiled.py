"""Models that were compiled (``torch.compile``): for gradients they are run as they were before.

The mode that gradients are taken under sees each operation as Python makes it, and compiled code makes none: at best it is compiled again
for every way it is called, at worst it fails.
"""

from __future__ import annotations

from typing import Any

import torch
from comfy.patcher_extension import WrappersMP
from comfy_api.torch_helpers.torch_compile import COMPILE_KEY
from torch import Tensor
from torch._dynamo import OptimizedModule

COMPILED = (
    "The model is compiled (TorchCompileModel). Gradients are computed on the model as it was before, since they cannot be taken through "
    "compiled code; sampling without a gradient is compiled."
)


class UncompiledGradients:
    """A sampler's model whose calls leave out compilation where they are made with autograd on."""

    def __init__(self, model: Any) -> None:
        self._model = model

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def __call__(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        if not torch.is_grad_enabled():
            return self._model(x, *args, **kwargs)
        with torch.compiler.set_stance("force_eager"):
            return self._model(x, *args, **kwargs)


def is_compiled(guider: Any) -> bool:
    """Whether the model of ``guider`` was compiled, by core's helper or as a whole."""
    options = getattr(guider, "model_options", None) or {}
    wrappers = options.get("transformer_options", {}).get("wrappers", {}).get(WrappersMP.APPLY_MODEL, {})
    return COMPILE_KEY in wrappers or isinstance(getattr(guider.inner_model, "diffusion_model", None), OptimizedModule)
