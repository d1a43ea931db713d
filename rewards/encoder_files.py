"""Load an image-text encoder from the files that transformers saves. Nothing in a folder is ever executed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from ..schema.prompts import quoted
from .encoders import TransformersEncoder
from .preprocessing import Preprocessing

WHERE_FROM = "Copy all of a model's files from its hub page into the folder, for example those of openai/clip-vit-large-patch14."
WANTED_FILES = ["*.json", "*.txt", "spiece.model", "tokenizer.model", "model.safetensors", "model-*.safetensors"]
MODEL_TYPES = ("clip", "siglip")


def load_encoder(folder: Path | str, dtype: torch.dtype = torch.float32) -> TransformersEncoder:
    """Load a CLIP, PickScore, SigLIP or SigLIP 2 (fixed resolution) model from a folder, on the CPU.

    Args:
        folder: holds ``config.json``, ``model.safetensors`` (or its parts with their index), ``preprocessor_config.json`` and the
            tokenizer's files.
        dtype: the precision of the weights.

    Raises:
        ValueError: saying which file is missing, unreadable or of another model, and what to do.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ValueError(f"{folder} is not a folder with config.json, model.safetensors and the tokenizer. {WHERE_FROM}")
    config = model_config(folder)
    preprocessing = read_preprocessing(folder, config["model_type"])
    tokenizer = load_tokenizer(folder)
    # Ordinary tensors, also when a ComfyUI node asks from within inference mode: gradients have to pass through these weights.
    with torch.inference_mode(False), torch.no_grad():
        model = read_model(folder, config["model_type"]).to(dtype)
        return TransformersEncoder(model, tokenizer, preprocessing, name=folder.name)


def download_encoder(name: str, revision: str | None = None) -> Path:
    """Bring a model of the Hugging Face hub into its local cache and return the folder; what is there already is not brought again.

    Only configuration, tokenizer and safetensors files are asked for: no code and no pickles.

    Raises:
        ValueError: if there is no such model, or no way to it.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=WANTED_FILES))
    except HFValidationError as error:
        raise ValueError(
            f"{quoted(name)} is not the name of a model on the hub; such names look like openai/clip-vit-large-patch14."
        ) from error
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise ValueError(
            f"The model {name!r} could not be brought from the hub ({type(error).__name__}). Check its name and the network, or put its "
            "files into a folder in models/rewards and choose that."
        ) from error


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} is not readable JSON ({error}); download the file again. {WHERE_FROM}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds a {type(content).__name__} where a dictionary is expected; download the file again. {WHERE_FROM}")
    return content


def model_config(folder: Path, types: tuple[str, ...] = MODEL_TYPES) -> dict[str, Any]:
    """What ``config.json`` says. Raises ``ValueError`` if it is missing, or of a model that is none of ``types``."""
    path = folder / "config.json"
    if not path.is_file():
        raise ValueError(f"{folder} has no config.json, which says what model it is. {WHERE_FROM}")
    config = _json(path)
    kind = config.get("model_type")
    if kind not in types:
        raise ValueError(
            f"{folder} holds a model of the type {kind!r}. One with a text and an image tower is needed: CLIP, PickScore, SigLIP."
        )
    return config


def read_preprocessing(folder: Path, model_type: str) -> Preprocessing:
    """How the model wants its images. Raises ``ValueError`` if the folder does not say, or in a way that is not supported."""
    config, where = processor_config(folder)
    if "image_processor_type" not in config:
        config = {**config, "image_processor_type": model_type}
    try:
        return Preprocessing.from_config(config)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{where}: {error}") from error


def processor_config(folder: Path) -> tuple[dict[str, Any], Path]:
    """What the folder says of its image processor, and the file it stands in. Raises ``ValueError`` if there is none."""
    path, whole = folder / "preprocessor_config.json", folder / "processor_config.json"
    if path.is_file():
        return _json(path), path
    if whole.is_file() and isinstance(inner := _json(whole).get("image_processor"), dict):
        return inner, whole
    raise ValueError(f"{folder} has no preprocessor_config.json, which says how to resize and normalize images. {WHERE_FROM}")


def load_tokenizer(folder: Path) -> Any:
    """The tokenizer whose files are in a folder. Raises ``ValueError`` if there is none, or it cannot be read."""
    files = ("tokenizer.json", "vocab.json", "spiece.model", "tokenizer.model")
    if not any((folder / file).is_file() for file in files):
        raise ValueError(f"{folder} has no tokenizer (none of {', '.join(files)}), so prompts cannot be read. {WHERE_FROM}")
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    declared = _json(folder / "tokenizer_config.json") if (folder / "tokenizer_config.json").is_file() else {}
    # A tokenizer saved as it is has no class of its own; AutoTokenizer would take the one usual for the model, and its splitting rules.
    generic = declared.get("tokenizer_class") in ("PreTrainedTokenizerFast", "TokenizersBackend") and (folder / "tokenizer.json").is_file()
    try:
        loader = PreTrainedTokenizerFast if generic else AutoTokenizer
        return loader.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # the tokenizers library raises plain Exceptions
        raise ValueError(f"The tokenizer in {folder} could not be read ({error}); download its files again. {WHERE_FROM}") from error


def read_model(folder: Path, model_type: str) -> Any:
    """The model in a folder, every weight of it from there. Raises ``ValueError`` with what is missing or of another model."""
    import transformers

    _check_weights(folder)
    loader: Any = getattr(transformers, {"clip": "CLIPModel", "siglip": "SiglipModel", "siglip2": "Siglip2Model"}[model_type])
    try:
        model, report = loader.from_pretrained(folder, local_files_only=True, use_safetensors=True, output_loading_info=True)
    except (OSError, RuntimeError, ValueError) as error:
        raise ValueError(f"The weights in {folder} do not fit its config.json: {_first_line(error)} {WHERE_FROM}") from error
    missing = sorted(key for key in report["missing_keys"] if not key.endswith("position_ids"))
    if missing:
        raise ValueError(
            f"The weights in {folder} lack {len(missing)} of the model's tensors, {missing[0]} for one: they are of another model, "
            f"or of one of the two towers alone. {WHERE_FROM}"
        )
    return model


def _check_weights(folder: Path) -> None:
    from safetensors import SafetensorError, safe_open

    index = folder / "model.safetensors.index.json"
    if (folder / "model.safetensors").is_file():
        names = ["model.safetensors"]
    elif index.is_file():
        names = sorted(set(map(str, _json(index).get("weight_map", {}).values())))
    else:
        pickled = " Its pytorch_model.bin is not read, since such files can hold code." if (folder / "pytorch_model.bin").is_file() else ""
        raise ValueError(f"{folder} has no model.safetensors.{pickled} {WHERE_FROM}")
    for name in names:
        if not (folder / name).is_file():
            raise ValueError(f"{folder} lacks {name}, a part of the weights that {index.name} names. {WHERE_FROM}")
        try:
            with safe_open(folder / name, framework="pt"):
                pass
        except (SafetensorError, OSError) as error:
            raise ValueError(f"{folder / name} is not a whole safetensors file ({error}); download it again. {WHERE_FROM}") from error


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[:2])
