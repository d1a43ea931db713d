"""A guider whose denoiser is a formula in float64, and central differences to hold gradients against."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import comfy.model_base
import comfy.samplers
import comfy.supported_models_base
import torch
from sgool.comfy_bridge.noise_to_latent import NoiseToLatent
from torch import Tensor


class _Config:
    """As much of a model's configuration as a ModelSampling asks for."""

    sampling_settings: dict[str, Any] = {}  # noqa: RUF012


class _Counter:
    """Counts for the test, and is no part of what a model remembers: that is not looked for in slots."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0


class AnalyticGuider:
    """Stands where a CFGGuider stands: a smooth, non-linear denoiser that couples the elements of each image.

    Reports an unconditional prediction to post-CFG functions, as guiders do, for the samplers that ask for it (``*_cfg_pp``).
    """

    cfg = 3.0

    def __init__(self, kind: str = "eps") -> None:
        types = {"eps": comfy.model_base.ModelType.EPS, "flow": comfy.model_base.ModelType.FLOW}
        sampling = comfy.model_base.model_sampling(_Config(), types[kind])
        self.inner_model = SimpleNamespace(model_sampling=sampling, scale_latent_inpaint=self._keep)
        self.model_patcher = SimpleNamespace(get_model_object=lambda name: sampling, model=self.inner_model)
        self._counter = _Counter()

    @property
    def calls(self) -> int:
        """Calls so far, recomputed ones too."""
        return self._counter.value

    @staticmethod
    def _keep(x: Tensor, sigma: Tensor, noise: Tensor, latent_image: Tensor) -> Tensor:
        return latent_image + noise * sigma.reshape(-1, *[1] * (noise.ndim - 1))

    def __call__(self, x: Tensor, sigma: Tensor, model_options: dict[str, Any] | None = None, seed: int | None = None) -> Tensor:
        self._counter.value += 1
        options = model_options or {}
        s = sigma.reshape(-1, *[1] * (x.ndim - 1))
        shrunk = x / (1 + s * s)
        unconditional = shrunk + 0.2 * torch.sin(3 * shrunk.roll(1, -1))
        conditional = shrunk + 0.4 * torch.tanh(2 * shrunk.roll(1, -2) - 0.3) + 0.1
        denoised = unconditional + self.cfg * (conditional - unconditional)
        for function in options.get("sampler_post_cfg_function", []):
            denoised = function(
                {"denoised": denoised, "cond_denoised": conditional, "uncond_denoised": unconditional, "sigma": sigma, "input": x}
            )
        return denoised


def run_of(name: str, kind: str = "eps", steps: int = 6, dtype: torch.dtype = torch.float64, **kwargs: Any) -> NoiseToLatent:
    """The run of ComfyUI's sampler ``name`` on the analytic guider."""
    guider = AnalyticGuider(kind)
    if torch.get_default_dtype() == torch.float64:
        guider.inner_model.model_sampling.double()
    sampler = comfy.samplers.sampler_object(name)
    sigmas = comfy.samplers.calculate_sigmas(guider.inner_model.model_sampling, "normal", steps).to(dtype)
    latent_image = kwargs.pop("latent_image", torch.zeros((), dtype=dtype))
    return NoiseToLatent(sampler, guider, sigmas, {"model_options": {}, "seed": 7}, latent_image, **kwargs)


@contextlib.contextmanager
def float64_by_default(name: str) -> Iterator[None]:
    """For ``uni_pc`` and ``uni_pc_bh2``, which make tensors of the default dtype and so only run in it; other samplers need nothing."""
    before = torch.get_default_dtype()
    try:
        if name.startswith("uni_pc"):
            torch.set_default_dtype(torch.float64)
        yield
    finally:
        torch.set_default_dtype(before)


def directional(
    run: NoiseToLatent, noise: Tensor, directions: int = 3, step: float = 1e-5, seed: int = 5
) -> tuple[list[float], list[float]]:
    """Directional derivatives of ``<w, run(noise)>`` for a random ``w``: by autograd, and by central differences."""
    generator = torch.Generator().manual_seed(seed)
    weights = torch.randn(noise.shape, generator=generator, dtype=torch.float64).to(noise)
    leaf = noise.clone().requires_grad_(True)
    (gradient,) = torch.autograd.grad((run(leaf) * weights).sum(), leaf)
    exact, measured = [], []
    for _ in range(directions):
        direction = torch.randn(noise.shape, generator=generator, dtype=torch.float64).to(noise)
        direction = direction / direction.norm()
        up, down = run(noise + step * direction), run(noise - step * direction)
        measured.append(float(((up - down).double() * weights.double()).sum() / (2 * step)))
        exact.append(float((gradient.double() * direction.double()).sum()))
    return exact, measured


def relative_error(exact: list[float], measured: list[float]) -> float:
    """The norm of the difference over the norm of what was measured."""
    a, b = torch.tensor(exact, dtype=torch.float64), torch.tensor(measured, dtype=torch.float64)
    return float((a - b).norm() / b.norm())
