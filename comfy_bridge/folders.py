"""The pack's own folders under ComfyUI's ``models``."""

from __future__ import annotations

import os

import folder_paths

SALIENCY = "saliency"
REWARDS = "rewards"
TEXTURE = "texture"
SALIENCY_EXTENSIONS = frozenset({".safetensors", ".pth", ".pt"})
REWARD_EXTENSIONS = frozenset({".safetensors", ".pth", ".pt"})
TEXTURE_EXTENSIONS = frozenset({".safetensors", ".pth", ".pt"})

# One file, and nothing else is needed; the help of Load Reward has its license.
EXAMPLE_REWARD, EXAMPLE_SOURCE, EXAMPLE_SIZE = "HPS_v2.1_compressed.pt", "https://huggingface.co/xswu/HPSv2", "3.9 GB"


def register_folder(name: str, extensions: frozenset[str]) -> None:
    """Add ``models/<name>`` to ComfyUI's model folders.

    Folders and extensions that are there already stay, as an ``extra_model_paths.yaml`` or another pack may have come first.
    """
    folder_paths.add_model_folder_path(name, os.path.join(folder_paths.models_dir, name))
    paths, known = folder_paths.folder_names_and_paths[name]
    folder_paths.folder_names_and_paths[name] = (paths, set(known) | extensions)


def register_saliency() -> None:
    """Add ``models/saliency``, where learned saliency predictors are looked for."""
    register_folder(SALIENCY, SALIENCY_EXTENSIONS)


def register_rewards() -> None:
    """Add ``models/rewards``: files, and subfolders that hold one image-text model of transformers each."""
    register_folder(REWARDS, REWARD_EXTENSIONS)


def register_texture() -> None:
    """Add ``models/texture``, where the networks whose features say what a texture is are looked for."""
    register_folder(TEXTURE, TEXTURE_EXTENSIONS)


def register_loras(folder: str | os.PathLike[str]) -> None:
    """Let core's LoRA loaders find the files in ``folder`` as well."""
    folder_paths.add_model_folder_path("loras", os.fspath(folder))


def reward_paths() -> dict[str, str]:
    """Name -> path of each reward below ``models/rewards``: weights files, and folders with a ``config.json``; names are relative paths."""
    register_rewards()
    found: dict[str, str] = {}
    for base in folder_paths.get_folder_paths(REWARDS):
        for folder, subfolders, files in os.walk(base, followlinks=True):
            if "config.json" in files and folder != base:
                found.setdefault(_within(base, folder), folder)
                subfolders.clear()
                continue
            for file in files:
                if os.path.splitext(file)[1].lower() in REWARD_EXTENSIONS:
                    found.setdefault(_within(base, os.path.join(folder, file)), os.path.join(folder, file))
    return dict(sorted(found.items()))


def why_no_reward(name: str, otherwise: str) -> str:
    """Why ``name`` is no reward below ``models/rewards``, with a file to put there and ``otherwise``; empty where it is one."""
    if name in reward_paths():
        return ""
    folder = folder_paths.get_folder_paths(REWARDS)[0]
    missing = "No reward is chosen." if name == "none" else f"There is no {name!r} in models/rewards."
    return (
        f"{missing} Put {EXAMPLE_REWARD} from {EXAMPLE_SOURCE} ({EXAMPLE_SIZE}) into {folder}, press R in the page and choose it in "
        f"reward_name; or {otherwise}. The help of Load Reward lists others."
    )


def _within(base: str, path: str) -> str:
    return os.path.relpath(path, base).replace(os.sep, "/")
