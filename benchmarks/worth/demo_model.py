"""The demo model and its judge, as a dask worker owns them, and methods run on them."""

from __future__ import annotations

import hashlib
import io
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import comfy.samplers
import comfy.sd
import comfy.utils
import torch
from sgool.comfy_bridge.outcome import Outcome
from sgool.comfy_bridge.reversible_samplers import ReversibleSampler
from sgool.comfy_bridge.rewards import load_reward
from sgool.comfy_bridge.saliency import SaliencyPredictor
from sgool.comfy_bridge.sgool_sampler import SGOOLSampler
from sgool.demo import loader
from sgool.demo.captions import parse
from sgool.demo.judging import judge_images
from sgool.demo.weights import LORAS, WEIGHTS
from sgool.guidance.objective import Objective
from sgool.guidance.saliency_clip_loss import SaliencyCLIPLoss
from sgool.latent_optimization.reversible import EDICT
from sgool.saliency_models import registry
from sgool.saliency_models.drawing import to_pil
from torch import Tensor

from ..common.jobs import Job, Record
from ..common.measuring import sampled
from ..common.spread import Owner
from .methods import NONE, RANDOM, SEGMENTER, Method
from .prompts import kind_of, noise_seed
from .segmenter import load_segmenter

SHAPE = 16, 8, 8  # of a latent
FEW_STEPS_LORA = str(LORAS / "sgool_demo_4_steps.safetensors")
EDICTS_CALLS = 2  # for each step
SEARCHED = 10**6  # above the numbers of the noises that methods begin with


def weights_mark() -> str:
    """Changes with the demo model, whose results are not to be mixed."""
    files = sorted(WEIGHTS.rglob("*.safetensors"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()[:12]


class DemoOwner(Owner):
    """Owns the demo model, with the reward of a folder, and does jobs by ``work(demo, job)``. ``folder`` is where the segmenter is kept."""

    def __init__(self, work: Callable[[Demo, Job], Record], folder: Path, reward: Path | None = None) -> None:
        self.work, self.folder, self.reward = work, folder.absolute(), reward

    def bring(self, place: str) -> None:
        torch.set_num_threads(1)
        logging.disable(logging.INFO)
        self.demo = Demo(self.folder, self.reward)

    def do(self, job: Job) -> Record:
        return self.work(self.demo, job)


def images_of(methods: Mapping[str, Method], demo: Demo, job: Job) -> Record:
    """What the method of a job, one of ``methods`` by fingerprint, makes of its prompts: rows, and the images as one strip."""
    rows, images = demo.run(methods[job.method], job.prompts, job.seed, demo.noise(job.prompts, job.seed_number))
    name = f"images/{job.key}.png"
    return {"rows": rows, "image": name, "files": {name: png_of([images])}}


def png_of(images: Sequence[Tensor]) -> bytes:
    """A PNG: a row for each of some batches ``(n, 3, h, w)``."""
    contents = io.BytesIO()
    to_pil(torch.cat([torch.cat(list(each), dim=2) for each in images], dim=1)).save(contents, "PNG")
    return contents.getvalue()


class Demo:
    """The demo model, its judge, and the saliency maps that methods ask for."""

    def __init__(self, folder: Path, reward: Path | None = None) -> None:
        self.folder = folder
        self.model, self.clip, self.vae = loader.load_model(), loader.load_clip(), loader.load_vae()
        self.few_steps, _ = comfy.sd.load_lora_for_models(self.model, None, comfy.utils.load_torch_file(FEW_STEPS_LORA), 1.0, 0.0)
        self.reward = load_reward(reward or loader.reward_folder())
        self.judge = loader.load_judge()
        self.negative = self.encode([""])

    @torch.no_grad()
    def run(self, method: Method, prompts: Sequence[str], seed: int, noise: Tensor) -> tuple[list[dict[str, Any]], Tensor]:
        """Rows and images (n, 3, 64, 64), one for each prompt and its ``noise``. ``seed``: of everything else that is drawn."""
        began = time.process_time()
        if method.zero_order is None:
            images, outcome = self.optimized(method, prompts, seed, noise)
            calls_of_one_run = method.steps * (EDICTS_CALLS if method.sampler == "EDICT" else 1)  # which nobody counts
            calls, gradients = outcome.history.cost.model_calls or calls_of_one_run, outcome.history.cost.sampler_backwards
        else:
            images, calls, gradients = self._searched(method, prompts, seed, noise), method.noises * method.steps, 0
        cost = {"calls": calls, "gradients": gradients, "seconds": (time.process_time() - began) / len(prompts)}
        similarity, verdicts = self.reward(images, list(prompts)).tolist(), judge_images(self.judge, images, prompts)
        rows = []
        for text, verdict, similar in zip(prompts, verdicts, similarity, strict=True):
            judged = {name: getattr(verdict, name) for name in ("right", "objects", "count", "relation")}
            rows.append({"prompt": text, "kind": kind_of(parse(text)), **judged, "similarity": similar, **cost})
        return rows, images

    @torch.no_grad()
    def optimized(
        self, method: Method, prompts: Sequence[str], seed: int, noise: Tensor, objective: Objective | None = None
    ) -> tuple[Tensor, Outcome]:
        """Images, and what a method's optimizer says of its run; ``objective``: in the place of the method's own."""
        inner = ReversibleSampler(EDICT()) if method.sampler == "EDICT" else comfy.samplers.sampler_object(method.sampler)
        sampler = SGOOLSampler(inner, objective or self.objective(method, prompts), self.vae, method.preset)
        images = self.images(method, sampler, prompts, noise, seed)
        assert sampler.outcomes.last is not None
        return images, sampler.outcomes.last

    def _searched(self, method: Method, prompts: Sequence[str], seed: int, noise: Tensor) -> Tensor:
        """Images of a search without gradients, by the reward of the images as they are."""
        plain = comfy.samplers.sampler_object(method.sampler)

        def see(candidates: Tensor) -> tuple[Tensor, Tensor]:
            images = self.images(method, plain, prompts, candidates, seed)
            return images, self.reward(images, list(prompts))

        assert method.zero_order is not None
        return method.zero_order.best(noise, see, [torch.Generator().manual_seed(noise_seed(text, SEARCHED + seed)) for text in prompts])

    def images(self, method: Method, sampler: Any, prompts: Sequence[str], noise: Tensor, seed: int) -> Tensor:
        model, conditions = self.few_steps if method.few_steps else self.model, (self.encode(prompts), self.negative)
        options = {"steps": method.steps, "cfg": method.cfg, "scheduler": method.scheduler, "seed": seed}
        return self._images_of(sampled(model, sampler, noise, conditions, options))

    def decoded(self, estimate: Tensor) -> Tensor:
        """Images (n, 3, 64, 64) of latents in the model's own space."""
        return self._images_of(self.model.model.process_latent_out(estimate.float()))

    def _images_of(self, latent: Tensor) -> Tensor:
        return self.vae.decode(latent).movedim(-1, 1).float()

    def encode(self, prompts: Sequence[str]) -> Any:
        """One conditioning whose rows are the prompts, so that each image of a batch has its own."""
        rows = [self.clip.encode_from_tokens_scheduled(self.clip.tokenize(text))[0] for text in prompts]
        pooled = torch.cat([row[1]["pooled_output"] for row in rows])
        return [[torch.cat([row[0] for row in rows]), {**rows[0][1], "pooled_output": pooled}]]

    @staticmethod
    def noise(prompts: Sequence[str], number: int) -> Tensor:
        generators = (torch.Generator().manual_seed(noise_seed(text, number)) for text in prompts)
        return torch.stack([torch.randn(SHAPE, generator=generator) for generator in generators])

    def objective(self, method: Method, prompts: Sequence[str]) -> Objective:
        """What a method optimizes."""
        saliency = self._saliency(method.saliency, prompts) if method.saliency != NONE and method.loss.w_salient else None
        return SaliencyCLIPLoss(self.reward, prompts, saliency=saliency, settings=method.loss)

    def _saliency(self, name: str, prompts: Sequence[str]) -> Any:
        if name == SEGMENTER:
            return load_segmenter(self.folder)
        if name == RANDOM:
            return torch.cat([random_map(noise_seed(text, 0)) for text in prompts])
        return SaliencyPredictor(registry.load(name))


def random_map(seed: int) -> Tensor:
    """A smooth map (1, 1, 64, 64) in [0, 1] that has nothing to do with any image."""
    coarse = torch.rand((1, 1, 5, 5), generator=torch.Generator().manual_seed(seed + 1))
    smooth = torch.nn.functional.interpolate(coarse, size=64, mode="bicubic", align_corners=True)
    low, high = smooth.amin(), smooth.amax()
    return (smooth - low) / (high - low)
