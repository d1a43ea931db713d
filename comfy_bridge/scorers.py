"""Image-text encoders under ComfyUI's memory management: the CLIP_SCORER socket."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import comfy.model_management
import comfy.model_patcher
import comfy.sd1_clip
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ..guidance.encoder_files import download_encoder, load_encoder
from ..guidance.preprocessing import Preprocessing
from ..latent_optimization.autograd_mode import GradientMode
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


class Scorer:
    """A ``guidance.encoders.ImageTextEncoder`` whose towers ComfyUI moves to the device when they are used, and away when room is needed.

    It can be asked from inside inference mode, outside of it, and under a ``GradientMode``; where the images ask for a gradient it is
    differentiable, also through weights that were loaded in inference mode. A tower is loaded and unloaded as a whole.

    Args:
        towers: the encoder.
        image_patcher, text_patcher: the ModelPatchers of its towers; the same one for a model that is one module.
        bytes_per_image: what backward keeps of one image, see :func:`bytes_kept`.
    """

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
        _load(self._text_patcher, 0)
        with torch.inference_mode(False), torch.no_grad():
            vectors = self._towers.encode_text(prompts)
            return vectors.detach().to(comfy.model_management.intermediate_device(), copy=True)

    def encode_image(self, images: Tensor) -> Tensor:
        """``(B, d)`` unit vectors for images ``(B, 3, H, W)`` in [0, 1], on the images' device; differentiable in the images."""
        with_grad = images.requires_grad and torch.is_grad_enabled()
        needed = self._bytes_per_image * len(images)
        _load(self._image_patcher, needed if with_grad else 0.0)
        # Ordinary tensors and a graph where they are asked for; the caller's mode, and no graph, where not.
        with _gradients() if with_grad else torch.no_grad():
            values = self._towers.preprocessing(images.to(self._image_patcher.load_device, torch.float32))
            room = ROOM * self._free_memory() if with_grad else needed
            if needed <= room:
                return self._towers.embed(values).to(images.device)
            # Backward then computes these again, a few images at a time.
            some = values.split(max(1, int(room / self._bytes_per_image)))
            return torch.cat([checkpoint(self._embed_again, each, use_reentrant=False) for each in some]).to(images.device)

    def _embed_again(self, values: Tensor) -> Tensor:
        """What backward runs, perhaps on another thread and after the weights have gone: it may not count on anything around it."""
        _load(self._image_patcher, self._bytes_per_image * len(values))
        with _gradients():
            return self._towers.embed(values)

    def _free_memory(self) -> float:
        with torch._C.DisableTorchFunction():
            return float(comfy.model_management.get_free_memory(self._image_patcher.load_device))


@contextlib.contextmanager
def _gradients() -> Iterator[None]:
    with torch.inference_mode(False), GradientMode():
        yield


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


def load_scorer(folder: Path | str, dtype: torch.dtype = torch.float32) -> Scorer:
    """Load an image-text model of transformers from a folder.

    Its weights are ordinary tensors, also when a node asks for it in inference mode.

    Raises:
        ValueError: if the folder does not hold one, with what is wrong; see ``guidance.encoder_files.load_encoder``.
    """
    encoder = load_encoder(folder, dtype)
    device = comfy.model_management.get_torch_device()  # not the text encoders': backward on a processor would take ages
    offload_device = comfy.model_management.text_encoder_offload_device()
    # Not CoreModelPatcher: dynamic loading works on the layers of comfy.ops, and these are of torch.
    patcher = comfy.model_patcher.ModelPatcher(_Holder(encoder.model), load_device=device, offload_device=offload_device)
    return Scorer(encoder, patcher, patcher, bytes_kept(encoder.model.config.vision_config.to_dict(), False))


class _Holder(nn.Module):
    """Holds a model of transformers for a ModelPatcher, which wants to write to ``device``, a property there."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model


def download_scorer(name: str, dtype: torch.dtype = torch.float32) -> Scorer:
    """Load a model of the Hugging Face hub, brought into the hub's own cache if it is not there. Only for names that the user wrote."""
    return load_scorer(download_encoder(name), dtype)


def scorer_from_clip_and_vision(clip: Any, clip_vision: Any) -> Scorer:
    """Make a scorer of a CLIP and a CLIP_VISION that ComfyUI loaded, such as SDXL's CLIP-G with CLIP-ViT-bigG-14.

    Raises:
        ValueError: if they do not project into one space, with what each of them gives.
    """
    tower, tower_name = match_towers(clip, clip_vision)
    towers = ComfyTowers(clip, tower, tower_name, clip_vision)
    return Scorer(towers, clip_vision.patcher, clip.patcher, bytes_kept(clip_vision.config, True))


def plain_prompt(prompt: str) -> str:
    """A prompt for CLIPTextEncode as a sentence: without weights such as ``(red:1.2)`` and without ``embedding:name``."""
    escaped = comfy.sd1_clip.escape_important(prompt)
    text = "".join(comfy.sd1_clip.unescape_important(segment) for segment, _ in comfy.sd1_clip.token_weights(escaped, 1.0))
    words = [word for word in text.split(" ") if not word.startswith("embedding:")]
    return " ".join(words).strip()


def _load(patcher: Any, memory_required: float) -> None:
    # Inference tensors may only be written to in inference mode, other tensors must not be made in it. The caller's mode for gradients
    # has no business with moving weights.
    inference = any(parameter.is_inference() for parameter in patcher.model.parameters())
    with torch._C.DisableTorchFunction(), torch.inference_mode(inference), torch.no_grad():
        comfy.model_management.load_models_gpu([patcher], memory_required=memory_required)
