"""Reading weights files that come from strangers, and putting them into a model without leaving anything out.

A PyTorch checkpoint is a pickle, and a pickle can run code. Here it is only ever read with ``weights_only=True``, which refuses
everything but tensors and plain containers; safetensors files cannot hold code at all and are preferred where both lie side by side.
"""

from __future__ import annotations

import pickle
import re
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

M = TypeVar("M", bound=nn.Module)


class WeightsError(ValueError):
    """A weights file, or a state dict, that is not what it should be; the message says what to do."""


class MismatchError(WeightsError):
    """A state dict whose keys or shapes are not those of the model that it was given to."""


def read_state_dict(path: str | Path) -> dict[str, Tensor]:
    """Read a weights file into a flat dictionary of tensors on the CPU. No code in the file is ever run.

    Of ``name.safetensors`` and ``name.pth`` beside each other the former is read, whichever was asked for. A checkpoint that wraps
    its weights as "state_dict", "model_state_dict", "model" or "student_model" is unwrapped, and a leading "module." is taken off.

    Raises:
        WeightsError: no such file, a web page or pointer in its place, a truncated file, a pickle with more than tensors in it.
    """
    path = Path(path)
    safer = path.with_suffix(".safetensors")
    if path.suffix.lower() != ".safetensors" and safer.is_file():
        path = safer
    if not path.is_file():
        raise WeightsError(f"There is no weights file at {path}. Download it there, or choose a file that exists.")
    _refuse_stand_ins(path)
    loaded = _read_safetensors(path) if path.suffix.lower() == ".safetensors" else _read_pickle(path)
    return _flat(loaded, path)


def weight_shapes(path: str | Path) -> dict[str, tuple[int, ...]]:
    """Name -> shape of the weights in a file, by which its kind is recognized; nothing where it cannot be read.

    Of safetensors and of what PyTorch has written since 1.6 only the headers are read.
    """
    path = Path(path)
    try:
        if path.suffix.lower() == ".safetensors":
            from safetensors import safe_open

            with safe_open(path, framework="pt") as file:
                return {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118  (no mapping)
        loaded = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
        return {key: tuple(value.shape) for key, value in _flat(loaded, path).items()}
    except Exception:  # whatever a damaged or unfriendly file does: reading it in earnest says what is wrong
        return {}


def _refuse_stand_ins(path: Path) -> None:
    with path.open("rb") as file:
        start = file.read(64).lstrip()
    if not start:
        raise WeightsError(f"The weights file {path} is empty: its download failed. Delete it and download it again.")
    if start.startswith(b"<"):
        raise WeightsError(
            f"{path} is a web page, not a weights file: some hosts show a page before a large download. "
            "Open the link in a browser, confirm the download, and replace the file."
        )
    if start.startswith(b"version https://git-lfs"):
        raise WeightsError(f"{path} is a Git LFS pointer, not the weights. Run git lfs pull, or download the file from its page.")


def _read_safetensors(path: Path) -> Any:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path, device="cpu")
    except SafetensorError as error:
        raise WeightsError(
            f"{path} is not a whole safetensors file ({error}): it is truncated, or another format under that name. Download it again."
        ) from error


def _read_pickle(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        named = re.search(r"\bglobal:? ([\w.]+)", str(error), re.IGNORECASE)
        if named is None:
            raise WeightsError(
                f"{path} is not a PyTorch weights file, or not a plain one, and was not loaded. Download it again."
            ) from error
        raise WeightsError(
            f"{path} holds more than tensors: loading it could run code ({named[1]}), so it was refused. Do not use this file; get the "
            "weights from their authors, or as .safetensors."
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, IndexError, AttributeError, TypeError, UnicodeDecodeError) as error:
        raise WeightsError(
            f"{path} could not be read ({_first_line(error)}): it is truncated or damaged. Delete it and download it again."
        ) from error


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:160]


def _flat(loaded: Any, path: Path) -> dict[str, Tensor]:
    for wrapper in ("state_dict", "model_state_dict", "model", "student_model"):
        if isinstance(loaded, Mapping) and isinstance(loaded.get(wrapper), Mapping):
            loaded = loaded[wrapper]
    if not isinstance(loaded, Mapping) or not loaded or not all(isinstance(value, Tensor) for value in loaded.values()):
        raise WeightsError(f"{path} is not a dictionary of named weights. Expected a state dict as PyTorch's state_dict() returns it.")
    state = {str(key): value for key, value in loaded.items()}
    if all(key.startswith("module.") for key in state):
        state = {key.removeprefix("module."): value for key, value in state.items()}
    return state


def build_with_weights(make: Callable[[], M], state: Mapping[str, Tensor], name: str = "") -> M:
    """Make a model without storage and give it the tensors of ``state`` as its weights, strictly.

    The weights keep their dtype and are not copied. Batch norms' step counters, which prediction never reads, may be missing. Messages
    call it ``name``, the model's own or its class's.

    Raises:
        MismatchError: a key that the model lacks, a missing one, or one of another shape.
    """
    with torch.device("meta"):
        model = make()
    expected = model.state_dict()
    counters = {key: torch.zeros((), dtype=torch.long) for key in expected if key.endswith("num_batches_tracked") and key not in state}
    _check(name or getattr(model, "name", "") or type(model).__name__, expected, {**state, **counters})
    model.load_state_dict({**state, **counters}, strict=True, assign=True)
    return model.requires_grad_(False).eval()


def _check(name: str, expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> None:
    missing = [key for key in expected if key not in found]
    surplus = [key for key in found if key not in expected]
    reshaped = [key for key in expected if key in found and expected[key].shape != found[key].shape]
    if not (missing or surplus or reshaped):
        return
    parts = []
    if missing:
        parts.append(f"{len(missing)} of its {len(expected)} weights are missing (first {missing[0]!r})")
    if surplus:
        parts.append(f"{len(surplus)} are unknown to it (first {surplus[0]!r})")
    if reshaped:
        key = reshaped[0]
        shapes = f"{tuple(found[key].shape)} instead of {tuple(expected[key].shape)}"
        parts.append(f"{len(reshaped)} have another shape (first {key!r}: {shapes})")
    raise MismatchError(f"These are not the weights of {name!r}: {', '.join(parts)}.")


def working_dtype(model: nn.Module, images: Tensor) -> torch.dtype:
    """Return the dtype to run ``model`` in: that of the images if its layers cast their weights, else that of its weights."""
    for module in model.modules():
        if getattr(module, "comfy_cast_weights", False):
            return images.dtype
        weight = getattr(module, "weight", None)
        if isinstance(weight, Tensor):
            return weight.dtype
    return images.dtype
