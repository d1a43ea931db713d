"""The pack's own folders under ComfyUI's ``models``."""

from __future__ import annotations

import os

import folder_paths

SALIENCY = "saliency"
CLIP_SCORERS = "clip_scorers"
SALIENCY_EXTENSIONS = frozenset({".safetensors", ".pth", ".pt"})


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


def register_clip_scorers() -> None:
    """Add ``models/clip_scorers``, whose subfolders hold one image-text model of transformers each."""
    register_folder(CLIP_SCORERS, frozenset({"folder"}))  # as core marks "diffusers", whose entries are folders too


def clip_scorer_folders() -> dict[str, str]:
    """Name -> path of each folder with a ``config.json`` below ``models/clip_scorers``; the name is the path within it."""
    register_clip_scorers()
    found: dict[str, str] = {}
    for base in folder_paths.get_folder_paths(CLIP_SCORERS):
        for folder, subfolders, files in os.walk(base, followlinks=True):
            if "config.json" in files and folder != base:
                found.setdefault(os.path.relpath(folder, base).replace(os.sep, "/"), folder)
                subfolders.clear()
    return dict(sorted(found.items()))
