"""Networks whose features say what a texture is, from files in ``models/texture``, under ComfyUI's memory management."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import comfy.model_management
import comfy.model_patcher
import comfy.ops
import folder_paths
import torch
from torch import Tensor

from ..guidance.art.vgg import CHANNELS, LICENSE, NETWORKS, SMALLEST, VGG, vgg
from ..image_ops.resize import resize, shrink
from ..latent_optimization.autograd_mode import gradients
from ..schema.weights import read_state_dict
from . import memory
from .folders import TEXTURE, register_texture

SIDE = 256  # longer side of the copy that it sees
KEPT = 2.5  # what a run with its gradient takes at most, over the maps themselves: 175 MiB counted of one image by vgg19


class VGGFeatures:
    """Images to the maps of the five layers of a :class:`VGG`; differentiable. ComfyUI moves it to the device when it is used.

    Args:
        model: made with ``comfy.ops.manual_cast``.
    """

    def __init__(self, model: VGG) -> None:
        device, offload = comfy.model_management.get_torch_device(), comfy.model_management.unet_offload_device()
        self.patcher: Any = comfy.model_patcher.CoreModelPatcher(model, load_device=device, offload_device=offload)
        self.model = model
        numbers = sum(len(stage) * channels / 4**depth for depth, (stage, channels) in enumerate(zip(model.stages, CHANNELS, strict=True)))
        self._bytes_per_image = 4.0 * KEPT * SIDE * SIDE * numbers

    def __call__(self, images: Tensor) -> list[Tensor]:
        """``(B, C, rows, columns)`` float32 of each layer, for images ``(B, 3, h, w)`` in [0, 1] of any size, on their device."""
        with_grad = images.requires_grad and torch.is_grad_enabled()
        memory.load_own([self.patcher], self._bytes_per_image * len(images))
        with gradients() if with_grad else torch.no_grad():
            small = shrink(images.to(self.patcher.load_device, torch.float32), SIDE)
            height, width = (max(SMALLEST, side) for side in small.shape[-2:])
            small = small if small.shape[-2:] == (height, width) else resize(small, (height, width))
            return [each.to(images.device) for each in self.model(small)]


def texture_features(name: str) -> VGGFeatures:
    """The features of a network of ``NETWORKS``; the last one asked for is kept, so that another reference does not read its file again.

    Raises:
        ValueError: its file is not there, with where it is to be had; or is damaged, or another network's.
    """
    path = find_network(name)
    return _kept(name, path, path.stat().st_mtime)


def find_network(name: str) -> Path:
    """The file of a network of ``NETWORKS``: in ``models/texture``, called as published or ``vgg19.*``; else where torchvision puts it.

    Raises:
        ValueError: it is in neither place.
    """
    register_texture()
    network = NETWORKS[name]
    wanted = {name, Path(network.file).stem}
    for file in folder_paths.get_filename_list(TEXTURE):
        if Path(file).stem.lower() in wanted:
            return Path(folder_paths.get_full_path_or_raise(TEXTURE, file))
    cached = Path(torch.hub.get_dir()) / "checkpoints" / network.file
    if cached.is_file():
        return cached
    raise ValueError(
        f"Texture by {name} needs {network.file} ({network.size}; {LICENSE}): get it from {network.url} and put it into "
        f"{folder_paths.get_folder_paths(TEXTURE)[0]}. Or set features to random filters, which need no file."
    )


@functools.lru_cache(maxsize=1)
def _kept(name: str, path: Path, changed: float) -> VGGFeatures:
    # Ordinary tensors, whatever mode the node runs in, so that weights can take part in a graph.
    with torch.inference_mode(False), torch.no_grad():
        return VGGFeatures(vgg(name, read_state_dict(path), comfy.ops.manual_cast))
