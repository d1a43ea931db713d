"""Images for the node's preview while a run goes on."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import comfy.cli_args
import torch
from PIL import Image
from torch import Tensor

from ..image_ops.resize import shrink
from ..latent_optimization.frames import Frames
from ..latent_optimization.history import History
from ..latent_optimization.judged_images import Judged
from ..latent_optimization.loss_strip import loss_strip
from ..latent_optimization.recorder import Progress
from ..saliency_models.drawing import overlay, to_pil

MOST = 4
Preview = tuple[str, Image.Image, int]


def wanted() -> bool:
    """Whether previews are on (ComfyUI's setting *Live preview method*, or ``--preview-method``)."""
    return bool(comfy.cli_args.args.preview_method != comfy.cli_args.LatentPreviewMethod.NoPreviews)


def to_preview(rows: Sequence[Sequence[Tensor]], below: Image.Image | None = None) -> Preview | None:
    """Images ``(3, H, W)`` in [0, 1] of one size, up to four of each row, as ``ProgressBar.update_absolute`` takes them.

    A single image has those of the other rows beside it, several have them below. ``None`` without any image, or where previews are off.
    """
    shown = [list(row[:MOST]) for row in rows if len(row)]
    if not shown or not wanted():
        return None
    if all(len(row) == 1 for row in shown):
        shown = [[image for row in shown for image in row]]
    size: int = comfy.cli_args.args.preview_size
    whole = to_pil(torch.cat([torch.cat(row, dim=2) for row in shown], dim=1).float())
    if max(whole.size) < size // 2:  # a tiny image is shown pixel by pixel rather than blurred by the page
        factor = size // (2 * max(whole.size)) + 1
        whole = whole.resize((whole.width * factor, whole.height * factor), Image.Resampling.NEAREST)
    if below is not None:
        joined = Image.new("RGB", (whole.width, whole.height + below.height * whole.width // below.width), "white")
        joined.paste(whole)
        joined.paste(below.resize((whole.width, joined.height - whole.height)), (0, whole.height))
        whole = joined
    return ("JPEG", whole, min(_widest(len(shown[0])), max(whole.size)))  # core enlarges to this: nothing to see in it, and slow


def _widest(across: int) -> int:
    """Pixels of a preview with so many images beside each other."""
    size: int = comfy.cli_args.args.preview_size
    return size * min(2, across)


def to_shown(decoded: Sequence[Tensor]) -> list[Tensor]:
    """The images to show of what was decoded, ``(n, 3, H, W)`` each: all frames of one video, the middle frame of each of several."""
    return list(decoded[0]) if len(decoded) == 1 else [frames[len(frames) // 2] for frames in decoded]


class Live:
    """What the preview of an optimization shows: its images, what is salient in them, and the losses so far.

    While noises are searched these are the best so far, then the iterate's. Rescoring, which looks at old iterates, changes nothing.

    Attributes:
        wanted: whether it shows any.
        changed: whether there is something that was not drawn yet.
    """

    def __init__(self) -> None:
        self._shown: dict[int, Judged] = {}
        self._lowest: dict[int, float] = {}
        self.wanted, self.changed = wanted(), False

    def told(self, progress: Progress, judged: Mapping[int, Judged]) -> None:
        """A candidate or an iteration is done, which ``judged`` shows."""
        if not self.wanted or progress.phase == "rescore":
            return
        self.changed = True
        for index, each in judged.items():
            loss = progress.losses[index]
            better = math.isfinite(loss) and loss < self._lowest.get(index, math.inf)
            if better:
                self._lowest[index] = loss
            if better or progress.phase != "search" or index not in self._shown:
                kept = shrink(each.frames[Frames().numbers(len(each.frames))], comfy.cli_args.args.preview_size).cpu()
                self._shown[index] = Judged(kept, None if each.salient is None else each.salient.cpu())

    def draw(self, history: History) -> Preview | None:
        """The preview of what was told, and of the losses in ``history``."""
        self.changed = False
        in_order = [shown for _, shown in sorted(self._shown.items())]
        images = to_shown([frames for frames, _ in in_order])
        side = _widest(len(images)) // max(1, min(MOST, len(images)))
        overlaid = [overlay(shrink(frames, side), map_[None])[0] for frames, map_ in in_order if map_ is not None]
        images = [shrink(image[None], side)[0] for image in images]
        return to_preview([images, overlaid if len(overlaid) == len(images) else []], loss_strip(history, 512, 110))
