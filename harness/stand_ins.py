"""Let ComfyUI start where only the wrong builds of torchvision and torchaudio exist.

On Linux both are published as CUDA builds alone, which do not load beside a CPU build of torch. ComfyUI imports both at start-up, yet
needs only torchvision's Python code, and torchaudio for audio nodes alone. Nothing here acts where the real thing loads.
This belongs to development and is never imported by the pack.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

_libraries: list[Any] = []  # a torch.library.Library undoes its definitions when it is collected


class _DeclareOperators(importlib.abc.MetaPathFinder):
    """Declares torchvision's operators just before torchvision is first imported, where its native library does not load.

    Its Python part registers shape functions for them, which fails for operators nobody has declared.
    """

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> None:
        if fullname != "torchvision":
            return
        sys.meta_path.remove(self)
        spec = importlib.machinery.PathFinder.find_spec("torchvision")
        if spec is not None and spec.origin is not None and not _loads(Path(spec.origin).parent):
            declare_operators()


def _loads(folder: Path) -> bool:
    """Whether torchvision's native library in ``folder`` loads beside the torch of this environment."""
    import torch

    if sys.platform == "win32":  # builds match there, and the library is only found through folders that torchvision adds
        return True
    for library in [*folder.glob("_C.so"), *folder.glob("_C.*.so"), *folder.glob("_C.dylib")]:
        try:
            torch.ops.load_library(str(library))
        except OSError:
            return False
        return True
    return False


def declare_operators() -> None:
    """Declare the schemas of the two operators for which torchvision registers fake implementations."""
    import torch

    library = torch.library.Library("torchvision", "DEF")  # kept alive in _libraries
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _libraries.append(library)


class _Absent(ModuleType):
    """A module with nothing in it: any attribute is such a module again, and calling one says what is missing."""

    def __getattr__(self, name: str) -> _Absent:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Absent(f"{self.__name__}.{name}")

    def __call__(self, *args: object, **kwargs: object) -> None:
        raise RuntimeError(f"{self.__name__} was called, but torchaudio is not installed in this development environment.")


class _AbsentTorchaudio(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Last in line of the finders: reached only when no real torchaudio is installed."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname.split(".", maxsplit=1)[0] != "torchaudio":
            return None
        return importlib.machinery.ModuleSpec(fullname, self, is_package=True)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        module = _Absent(spec.name)
        module.__version__ = "0"  # type: ignore[attr-defined]
        return module

    def exec_module(self, module: ModuleType) -> None:
        """There is nothing to execute."""


def install() -> None:
    """Put both stand-ins in place for this process. Imports neither torch nor torchvision by itself; calling it twice is harmless."""
    if any(type(finder).__name__ == _AbsentTorchaudio.__name__ for finder in sys.meta_path):
        return
    if "torchvision" not in sys.modules:
        sys.meta_path.insert(0, _DeclareOperators())
    sys.meta_path.append(_AbsentTorchaudio())
