"""Saliency predictors under ComfyUI's memory management: the SALIENCY_MODEL socket."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import comfy.model_management
import comfy.model_patcher
import comfy.ops
import comfy.utils
import folder_paths
import torch
from torch import Tensor

from ..latent_optimization.autograd_mode import gradients
from ..saliency_models import registry
from ..saliency_models.entries import Entry
from ..saliency_models.interface import SaliencyModel
from ..schema.weights import WeightsError, read_state_dict
from . import memory
from .folders import SALIENCY

DTYPES = {"as in the file": None, "fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}

# Bytes to keep free for one image through a learned predictor at its own input size: forward, and what backward keeps besides. Rough
# and from above, for ComfyUI to make room; a run that needs more only meets ComfyUI's usual handling of memory.
FORWARD_BYTES = 400 * 2**20
BACKWARD_BYTES = 1600 * 2**20
DEFAULT_PREDICTOR = "default"  # used where none is given; needs no weights
CHUNK = 8  # images at a time where no graph has to be kept


class SaliencyPredictor:
    """A ``saliency_models`` predictor that ComfyUI moves to the device when it is used, and away when room is needed.

    It can be asked from inside inference mode, outside of it, and under a ``GradientMode``; where the images ask for a gradient it is
    differentiable, also through weights that were moved in inference mode. Learned predictors may be loaded in part. Those without
    weights compute on ComfyUI's device.

    Args:
        model: the predictor.
        patcher: the ModelPatcher that holds it; None for one without weights.
    """

    def __init__(self, model: SaliencyModel, patcher: Any = None) -> None:
        self.model = model
        self.patcher = patcher

    @property
    def name(self) -> str:
        """How messages call it, and the registry."""
        return self.model.name

    @property
    def kind(self) -> str:
        """What its maps mean, see ``saliency_models.interface.Kind``."""
        return self.model.kind

    def at_size(self, longest: int, image: tuple[int, int]) -> SaliencyPredictor:
        """Return this predictor with another input size, weights shared; 0 is its own. See ``SaliencyModel.at_size``."""
        return self if longest == 0 else SaliencyPredictor(self.model.at_size(longest, image), self.patcher)

    def without_center(self) -> SaliencyPredictor:
        """Return this predictor without its center prior, weights shared. See ``SaliencyModel.without_center``."""
        return SaliencyPredictor(self.model.without_center(), self.patcher)

    def __call__(self, images: Tensor) -> Tensor:
        """Predict maps.

        Args:
            images: (B, 3, H, W) in [0, 1], on any device.

        Returns:
            (B, 1, H, W) in [0, 1], dtype and device of ``images``. An image with pixels that are NaN or infinite gets a map of NaN, so
            that one image of a batch that went wrong does not end the others.

        Raises:
            ValueError: what are not images.
        """
        with_grad = images.requires_grad and torch.is_grad_enabled()
        self._load(len(images), with_grad)
        # Ordinary tensors and a graph where they are asked for; the caller's mode, and no graph, where not.
        if with_grad:
            with gradients():
                return self._predict(images)
        with torch.no_grad():
            return torch.cat([self._interruptible(chunk) for chunk in images.split(CHUNK)])

    def _interruptible(self, images: Tensor) -> Tensor:
        with torch._C.DisableTorchFunction():
            comfy.model_management.throw_exception_if_processing_interrupted()
        return self._predict(images)

    def _predict(self, images: Tensor) -> Tensor:
        sound = torch.isfinite(images).flatten(1).all(1)[:, None, None, None]
        maps = self.model(torch.where(sound, images, torch.zeros_like(images)).to(self._device()))
        return torch.where(sound, maps.to(images.device), torch.full_like(maps, float("nan"), device=images.device))

    def _device(self) -> torch.device:
        return self.patcher.load_device if self.patcher is not None else comfy.model_management.get_torch_device()

    def _load(self, batch: int, with_grad: bool) -> None:
        if self.patcher is None:
            return
        needed = batch * (FORWARD_BYTES + BACKWARD_BYTES) if with_grad else min(batch, CHUNK) * FORWARD_BYTES
        memory.load_own([self.patcher], needed)


def default_predictor() -> SaliencyPredictor:
    """The predictor that is used where none is given."""
    return SaliencyPredictor(registry.load(DEFAULT_PREDICTOR))


def choices() -> list[str]:
    """What the user can choose: the registry's names, then the files in ``models/saliency``."""
    return [entry.name for entry in registry.available()] + folder_paths.get_filename_list(SALIENCY)


def load_predictor(choice: str, dtype: str = "as in the file", download: bool = False, **options: Any) -> SaliencyPredictor:
    """Make the predictor that ``choice`` names.

    Args:
        choice: a name of the registry, whose weights are looked for in ``models/saliency``; or a file there, recognized by its keys.
        dtype: a key of ``DTYPES``, of the stored weights; it computes in the images' dtype, at least float32.
        download: fetch missing weights, where there is an address that offers them.
        options: of the predictor.

    Raises:
        ValueError: no weights, or a file that is damaged, or of no known predictor, or an option that this predictor does not have.
    """
    # Ordinary tensors, whatever mode the node runs in, so that weights can take part in a graph.
    with torch.inference_mode(False), torch.no_grad():
        return _load(choice, dtype, download, options)


def _load(choice: str, dtype: str, download: bool, options: dict[str, Any]) -> SaliencyPredictor:
    if choice in folder_paths.get_filename_list(SALIENCY):
        path = Path(folder_paths.get_full_path_or_raise(SALIENCY, choice))
        state = read_state_dict(path)
        entry = registry.recognize(state)
        if entry is None:
            raise ValueError(_not_recognized(path, list(state)))
        return _learned(entry, state, dtype, options)
    entry = registry.find(choice)
    if entry.weights is None:
        return SaliencyPredictor(_build(entry, None, options))
    found = find_weights(entry)
    if found is None and entry.weights.url is not None:
        if not download:
            raise ValueError(_missing(entry))
        found = _download(entry)
    return _learned(entry, found, dtype, options)


def why_no_weights(choice: str, download: bool) -> str:
    """For before a run, where files are not read: why ``choice`` has no weights, or an empty text where it may have some."""
    files = folder_paths.get_filename_list(SALIENCY)
    entry = None if files else next((each for each in registry.available() if each.name == choice), None)
    if entry is None or entry.weights is None or entry.weights.url is None or download:
        return ""
    folders = [Path(folder) / entry.weights.filename for folder in folder_paths.get_folder_paths(SALIENCY)]
    return "" if any(folder.is_dir() for folder in folders) else _missing(entry)


def _missing(entry: Entry) -> str:
    assert entry.weights is not None
    return (
        f"The weights of {entry.name!r} are not in models/saliency. Switch download_if_missing on to fetch them "
        f"({entry.weights.size}, {entry.weights.license}), or get them from {entry.weights.where} and put them there as "
        f"{entry.weights.filename}."
    )


def find_weights(entry: Entry) -> Any:
    """Return a learned entry's weights in ``models/saliency``: its folder's path, or the state dict of a file; None without.

    A file or folder of the entry's file name (files with any extension) comes first, then any file that is recognized.
    """
    assert entry.weights is not None
    if entry.folder:
        for folder in folder_paths.get_folder_paths(SALIENCY):
            path = Path(folder) / entry.weights.filename
            if (path / "config.json").is_file():
                return path
    stem = Path(entry.weights.filename).stem.lower()
    files = sorted(folder_paths.get_filename_list(SALIENCY), key=lambda file: Path(file).stem.lower() != stem)
    for file in files:
        path = Path(folder_paths.get_full_path_or_raise(SALIENCY, file))
        named = path.stem.lower() == stem
        try:
            state = read_state_dict(path)
        except WeightsError:
            if named:
                raise
            continue  # another predictor's damaged file is not this one's problem
        if named or _fits(entry, state):
            return state
    return None


def _fits(entry: Entry, state: dict[str, Tensor]) -> bool:
    """Whether a file is this entry's. Entries that read the same weights differently share them, and one of them recognizes the file."""
    recognized = registry.recognize(state)
    return recognized is not None and recognized.weights is entry.weights


def _learned(entry: Entry, weights: Any, dtype: str, options: dict[str, Any]) -> SaliencyPredictor:
    wanted = DTYPES[dtype]
    if isinstance(weights, dict) and wanted is not None:
        # Vectors (norms, biases) are small, and in half precision their rounding would cost more than it saves.
        weights = {key: value.to(wanted) if value.is_floating_point() and value.dim() > 1 else value for key, value in weights.items()}
    operations = {} if entry.folder else {"operations": comfy.ops.manual_cast}
    model = _build(entry, weights, options | operations)
    if entry.folder and wanted is not None:
        model = model.to(wanted)
    device, offload = comfy.model_management.get_torch_device(), comfy.model_management.unet_offload_device()
    # Dynamic loading, CoreModelPatcher's, works on the layers of comfy.ops; those of transformers are moved as a whole.
    make = comfy.model_patcher.ModelPatcher if entry.folder else comfy.model_patcher.CoreModelPatcher
    return SaliencyPredictor(model, make(model, load_device=device, offload_device=offload))


def _build(entry: Entry, weights: Any, options: dict[str, Any]) -> SaliencyModel:
    try:
        return registry.load(entry.name, weights, **options)
    except TypeError as error:
        given = ", ".join(sorted(set(options) - {"operations"}))
        if not given:
            raise
        raise ValueError(
            f"The saliency predictor {entry.name!r} does not have all of these options: {given}. Set them to default."
        ) from error


def _download(entry: Entry) -> Any:
    from ..saliency_models.download import download

    assert entry.weights is not None
    bar = comfy.utils.ProgressBar(entry.weights.bytes or 1)

    def progress(done: int, total: int | None) -> None:
        comfy.model_management.throw_exception_if_processing_interrupted()
        bar.update_absolute(done, total or max(done, bar.total))

    path = download(entry.weights, Path(folder_paths.get_folder_paths(SALIENCY)[0]), progress)
    return path if entry.folder else read_state_dict(path)


def _not_recognized(path: Path, keys: list[str]) -> str:
    learned = [entry for entry in registry.available() if entry.recognizes is not None]
    known = "; ".join(f"{entry.name}: {entry.weights.where}" for entry in learned if entry.weights is not None)
    first = f"its first of {len(keys)} keys is {keys[0]!r}" if keys else "it holds no weights"
    return f"{path.name} holds the weights of no saliency predictor that is known here ({first}). Known are {known}."
