"""Rewards under ComfyUI's memory management: the SGOOL_REWARD socket."""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import comfy.model_management
import comfy.model_patcher
import comfy.sd1_clip
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ..latent_optimization.autograd_mode import gradients
from ..rewards import registry
from ..rewards.encoder_files import download_encoder
from ..rewards.interface import CosineReward
from ..rewards.preprocessing import Preprocessing
from . import memory
from .comfy_towers import ComfyTowers, match_towers

ROOM = 0.5
"""The part of the free memory that one call may keep until backward: the salient term makes a second, and other models want room too."""


class Towers(Protocol):
    """A text and an image tower whose weights are where they are to be used."""

    name: str
    preprocessing: Preprocessing

    @property
    def image_size(self) -> int:
        """The side of the images the image tower takes, in pixels."""

    def encode_text(self, prompts: list[str]) -> Tensor:
        """``(n, d)`` unit vectors."""

    def embed(self, pixel_values: Tensor) -> Tensor:
        """``(B, d)`` unit vectors of preprocessed images, differentiable."""


class EncoderReward(CosineReward):
    """A ``rewards.interface.TextImageEncoder`` whose towers ComfyUI moves to the device when they are used, and away when room is needed.

    It can be asked from inside inference mode, outside of it, and under a ``GradientMode``; where the images ask for a gradient it is
    differentiable, also through weights that were loaded in inference mode. A tower is loaded and unloaded as a whole.

    Args:
        towers: the encoder.
        image_patcher, text_patcher: the ModelPatchers of its towers; the same one for a model that is one module.
        bytes_per_image: what backward keeps of one image, see :func:`bytes_kept`.
    """

    kind = ""

    def __init__(self, towers: Towers, image_patcher: Any, text_patcher: Any, bytes_per_image: float) -> None:
        self._towers = towers
        self._image_patcher = image_patcher
        self._text_patcher = text_patcher
        self._bytes_per_image = bytes_per_image

    @property
    def name(self) -> str:
        """How messages call it."""
        return self._towers.name

    @property
    def image_size(self) -> int:
        """The side of the images the image tower takes, in pixels."""
        return self._towers.image_size

    def encode_text(self, prompts: list[str]) -> Tensor:
        """``(n, d)`` unit vectors, float32, on ComfyUI's intermediate device: ordinary tensors without gradient."""
        memory.load_own([self._text_patcher], 0)
        with torch.inference_mode(False), torch.no_grad():
            vectors = self._towers.encode_text(prompts)
            return vectors.detach().to(comfy.model_management.intermediate_device(), copy=True)

    def encode_image(self, images: Tensor) -> Tensor:
        """``(B, d)`` unit vectors for images ``(B, 3, H, W)`` in [0, 1], on the images' device; differentiable in the images."""
        with_grad = images.requires_grad and torch.is_grad_enabled()
        needed = self._bytes_per_image * len(images)
        memory.load_own([self._image_patcher], needed if with_grad else 0.0)
        # Ordinary tensors and a graph where they are asked for; the caller's mode, and no graph, where not.
        with gradients() if with_grad else torch.no_grad():
            values = self._towers.preprocessing(images.to(self._image_patcher.load_device, torch.float32))
            room = ROOM * self._free_memory() if with_grad else needed
            if needed <= room:
                return self._towers.embed(values).to(images.device)
            # Backward then computes these again, a few images at a time.
            some = values.split(max(1, int(room / self._bytes_per_image)))
            return torch.cat([checkpoint(self._embed_again, each, use_reentrant=False) for each in some]).to(images.device)

    def _embed_again(self, values: Tensor) -> Tensor:
        """What backward runs, perhaps on another thread and after the weights have gone: it may not count on anything around it."""
        memory.load_own([self._image_patcher], self._bytes_per_image * len(values))
        with gradients():
            return self._towers.embed(values)

    def _free_memory(self) -> float:
        with torch._C.DisableTorchFunction():
            return float(comfy.model_management.get_free_memory(self._image_patcher.load_device))


class WholeReward:
    """A reward that judges image and prompt together, whose one module ComfyUI moves to the device when it is used.

    Args:
        reward: a ``rewards.interface.Reward`` with a ``model``.
        patcher: the ModelPatcher of its module.
        bytes_per_image: what backward keeps of one image.
    """

    kind = ""

    def __init__(self, reward: Any, patcher: Any, bytes_per_image: float) -> None:
        self._reward, self._patcher, self._bytes_per_image = reward, patcher, bytes_per_image

    @property
    def name(self) -> str:
        """How messages call it."""
        return str(self._reward.name)

    @property
    def image_size(self) -> int:
        """The side of the squares it looks at, in pixels."""
        return int(self._reward.image_size)

    @property
    def reads_prompts(self) -> bool:
        """Whether what the prompt says counts."""
        return bool(getattr(self._reward, "reads_prompts", True))

    def __call__(self, images: Tensor, prompts: list[str]) -> Tensor:
        """``(B,)``, higher is better, on the images' device; differentiable in images ``(B, 3, H, W)`` in [0, 1]."""
        with_grad = images.requires_grad and torch.is_grad_enabled()
        memory.load_own([self._patcher], self._bytes_per_image * len(images) if with_grad else 0.0)
        with gradients() if with_grad else torch.no_grad():
            found: Tensor = self._reward(images.to(self._patcher.load_device, torch.float32), prompts)
            return found.to(images.device)


def bytes_kept(vision: Mapping[str, Any], checkpointed_layers: bool) -> float:
    """About what backward keeps of one image in an image tower, in bytes, computing in float32.

    17 numbers per token, channel and layer, attention computed in blocks (Korthikanti et al., arXiv 2205.05198, equation 2: 34 bytes in
    half precision). With each layer checkpointed: its input, and one layer at a time.

    Args:
        vision: ``num_hidden_layers``, ``hidden_size``, ``image_size`` and ``patch_size``.
    """
    tokens = (int(vision["image_size"]) // int(vision["patch_size"])) ** 2 + 1
    layers = int(vision["num_hidden_layers"])
    return 4.0 * tokens * int(vision["hidden_size"]) * (layers + 17 if checkpointed_layers else 17 * layers)


def load_reward(path: Path | str, dtype: torch.dtype = torch.float32, name: str | None = None) -> EncoderReward | WholeReward:
    """Load a reward from a file or folder. Its weights are ordinary tensors, also when a node asks for it in inference mode.

    Messages call it ``name``, or as its file or folder. It has its ``kind``, a name of ``rewards.registry``.

    Raises:
        ValueError: if it does not hold one, with what is wrong; see ``rewards.registry.load``.
    """
    reward: Any = registry.load(path, dtype, {"clip": Path(comfy.sd1_clip.__file__).with_name("sd1_tokenizer")})
    device = comfy.model_management.get_torch_device()  # not the text encoders': backward on a CPU would take ages
    offload_device = comfy.model_management.text_encoder_offload_device()
    # Not CoreModelPatcher: dynamic loading works on the layers of comfy.ops, and these are of torch.
    patcher = comfy.model_patcher.ModelPatcher(_Holder(reward.model), load_device=device, offload_device=offload_device)
    kept = bytes_kept(reward.vision_shape, False)
    reward.name = name or reward.name
    encodes = hasattr(reward, "encode_image")
    made = EncoderReward(reward, patcher, patcher, kept) if encodes else WholeReward(reward, patcher, kept)
    made.kind = registry.recognize(Path(path)) or ""
    return made


def kept_reward(path: str) -> EncoderReward | WholeReward:
    """As :func:`load_reward`; the last one asked for is kept, so that another prompt does not read gigabytes again.

    ComfyUI keeps what a loader node made while the graph has that node; an objective that loads its reward is made anew for each prompt.
    """
    return _kept_reward(path, os.path.getmtime(path))


@functools.lru_cache(maxsize=1)
def _kept_reward(path: str, changed: float) -> EncoderReward | WholeReward:
    return load_reward(path)


class _Holder(nn.Module):
    """Holds a model of transformers for a ModelPatcher, which wants to write to ``device``, a property there."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model


def download_reward(name: str, dtype: torch.dtype = torch.float32) -> EncoderReward | WholeReward:
    """Load a model of the Hugging Face hub, brought into the hub's own cache if it is not there. Only for names that the user wrote."""
    return load_reward(download_encoder(name), dtype, name.rpartition("/")[2])


def reward_from_clip_and_vision(clip: Any, clip_vision: Any) -> EncoderReward:
    """Make a reward of a CLIP and a CLIP_VISION that ComfyUI loaded, such as SDXL's CLIP-G with CLIP-ViT-bigG-14.

    Raises:
        ValueError: if they do not project into one space, with what each of them gives.
    """
    tower, tower_name = match_towers(clip, clip_vision)
    towers = ComfyTowers(clip, tower, tower_name, clip_vision)
    return EncoderReward(towers, clip_vision.patcher, clip.patcher, bytes_kept(clip_vision.config, True))


def plain_prompt(prompt: str) -> str:
    """A prompt for CLIPTextEncode as a sentence: without weights such as ``(red:1.2)`` and without ``embedding:name``."""
    escaped = comfy.sd1_clip.escape_important(prompt)
    text = "".join(comfy.sd1_clip.unescape_important(segment) for segment, _ in comfy.sd1_clip.token_weights(escaped, 1.0))
    words = [word for word in text.split(" ") if not word.startswith("embedding:")]
    return " ".join(words).strip()
