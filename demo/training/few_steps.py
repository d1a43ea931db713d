"""Distill the generator into 4 steps without guidance, as a LoRA that ComfyUI's own loader takes.

The teacher is the generator at CFG 3 in 12 Euler steps. Its path from a noise has 5 places at the 4 steps' sigmas; the student learns to
go from each to the next in one step (progressive distillation, Salimans and Ho, arXiv 2202.00512, with guidance folded in as in Meng et
al., arXiv 2210.03142), then all four steps at once, so that it also mends what its earlier steps got wrong. No image is needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call

from ..architecture import LATENT_CHANNELS
from ..tokens import build_tokenizer
from ..weights import LORAS
from .data import cached
from .generator import Generator, denoise, plain_attention
from .loop import Schedule, draw, precision, train

STEPS, BETWEEN, CFG, RANK = 4, 3, 3.0, 16
PATHS, BATCH = 7680, 64
ONE_STEP = Schedule(steps=900, rate=2e-3, warmup=100, weight_decay=0.0, average=0.998, save_every=100)
ALL_STEPS = Schedule(steps=400, rate=6e-4, warmup=0, weight_decay=0.0, average=0.998, save_every=100)
FILE = LORAS / "sgool_demo_4_steps.safetensors"


class LoRA(nn.Module):
    """Low-rank changes of every linear and convolutional layer of a network."""

    def __init__(self, network: nn.Module, rank: int = RANK) -> None:
        super().__init__()
        layers = {name: layer for name, layer in network.named_modules() if isinstance(layer, (nn.Linear, nn.Conv2d))}
        self.base = {name: layer.weight for name, layer in layers.items()}
        self.down, self.up = nn.ParameterDict(), nn.ParameterDict()
        for name, weight in self.base.items():
            rows, columns = weight.shape[0], weight[0].numel()
            narrow = min(rank, rows, columns)
            self.down[_key(name)] = nn.Parameter(torch.randn(narrow, columns) / columns**0.5)
            self.up[_key(name)] = nn.Parameter(torch.zeros(rows, narrow))

    def weights(self) -> dict[str, Tensor]:
        """The network's changed weights by their names, differentiable in the low-rank factors."""
        return {f"{name}.weight": base + (self.up[_key(name)] @ self.down[_key(name)]).view_as(base) for name, base in self.base.items()}

    def file(self) -> dict[str, Tensor]:
        """Tensors by the names that ComfyUI's LoRA loader knows."""
        found = {}
        for name, base in self.base.items():
            up, down = self.up[_key(name)].detach(), self.down[_key(name)].detach()
            if base.ndim == 4:
                up, down = up[..., None, None], down.view(-1, *base.shape[1:])
            found[f"diffusion_model.{name}.lora_up.weight"] = up.half().contiguous()
            found[f"diffusion_model.{name}.lora_down.weight"] = down.half().contiguous()
        return found


def sigmas_of(steps: int) -> tuple[list[float], list[float]]:
    """Sigmas and timesteps of ComfyUI's scheduler ``sgm_uniform``, without its last 0."""
    from comfy.model_sampling import ModelSamplingDiscrete

    sampling = ModelSamplingDiscrete()
    times = torch.linspace(999, 0, steps + 1)[:-1]
    return [float(sampling.sigma(time)) for time in times], times.tolist()


def teacher_paths(generator: Generator, ids: Tensor, path: Path) -> np.ndarray:
    """``(n, STEPS + 1, 16, 8, 8)`` float16 on disk: where the teacher stands at the student's sigmas, the noise divided by the first."""
    empty = build_tokenizer()("", padding="max_length", return_tensors="pt")["input_ids"]
    sigmas = torch.tensor([*sigmas_of(STEPS * BETWEEN)[0], 0.0])

    def fill(array: np.ndarray) -> None:
        for number, chunk in enumerate(torch.arange(len(ids)).split(BATCH)):
            noise = torch.randn(len(chunk), LATENT_CHANNELS, 8, 8, generator=torch.Generator().manual_seed(number))
            x, places = noise * sigmas[0], [noise]
            for start in range(0, STEPS * BETWEEN, BETWEEN):
                part = sigmas[start : start + BETWEEN + 1]
                with precision(x.device):
                    x = denoise(generator, x, ids=ids[chunk], empty=empty, sigmas=part, cfg=CFG).float()
                places.append(x)
            array[chunk.numpy()] = torch.stack(places, 1).half().numpy()

    return cached(path, (len(ids), STEPS + 1, LATENT_CHANNELS, 8, 8), "float16", fill)


def train_few_steps(folder: Path, generator: Generator, captions: Sequence[str]) -> LoRA:
    """Train it, or load what was trained in ``folder``; on the CPU."""
    rows = build_tokenizer()(list(captions), padding="max_length", truncation=True, return_tensors="pt")["input_ids"]
    paths = teacher_paths(generator, rows, folder / f"teacher-paths-{len(rows)}.npy")
    sigmas, times = sigmas_of(STEPS)
    torch.manual_seed(5)
    generator = generator.eval().requires_grad_(False)
    lora = LoRA(generator.unet)
    ends = [*sigmas[1:], 0.0]

    def noise_in(x: Tensor, step: int, context: Tensor, weights: dict[str, Tensor]) -> Tensor:
        """What the student takes for the noise in ``x``, at one of its steps."""
        options = {"context": context, "transformer_options": {"optimized_attention_override": plain_attention}}
        arguments = (x / (sigmas[step] ** 2 + 1) ** 0.5, torch.full((len(x),), times[step]))
        with precision(x.device):
            return functional_call(generator.unet, weights, arguments, options).float()

    def drawn(draws: torch.Generator) -> tuple[Tensor, Tensor]:
        chosen = draw(BATCH, len(rows), draws)
        with torch.no_grad():
            context = generator.text(input_ids=rows[chosen]).last_hidden_state
        return torch.from_numpy(paths[chosen.numpy()]).float(), context

    def one_step(draws: torch.Generator) -> Tensor:
        places, context = drawn(draws)
        step = int(draw(1, STEPS, draws))
        start = places[:, step] * (sigmas[0] if step == 0 else 1.0)
        wanted = (places[:, step + 1] - start) / (ends[step] - sigmas[step])
        error = (noise_in(start, step, context, lora.weights()) - wanted).square().mean()
        # By what it does to the next place, whose noise and image have this variance together.
        return error * (sigmas[step] - ends[step]) ** 2 / (ends[step] ** 2 + 1)

    def all_steps(draws: torch.Generator) -> Tensor:
        places, context = drawn(draws)
        weights, x, total = lora.weights(), places[:, 0] * sigmas[0], torch.zeros(())
        for step in range(STEPS):
            x = x + (ends[step] - sigmas[step]) * noise_in(x, step, context, weights)
            error = (x - places[:, step + 1]).square().mean() / (ends[step] ** 2 + 1)
            total = total + error * (1.0 if step == STEPS - 1 else 0.25)
        return total

    train("few-steps", lora, one_step, ONE_STEP, folder, seed=70)
    train("few-steps-at-once", lora, all_steps, ALL_STEPS, folder, seed=71)
    return lora


def export_few_steps(lora: LoRA) -> None:
    """Write the LoRA's file."""
    from safetensors.torch import save_file

    FILE.parent.mkdir(exist_ok=True)
    save_file(lora.file(), FILE)


def _key(name: str) -> str:
    return name.replace(".", "/")  # ParameterDict takes no dots
