"""Images for the node's preview while a run goes on."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import comfy.cli_args
import torch
from PIL import Image
from torch import Tensor

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
    return ("JPEG", whole, size * min(2, len(shown[0])))


def to_shown(decoded: Sequence[Tensor]) -> list[Tensor]:
    """The images to show of what was decoded, ``(n, 3, H, W)`` each: all frames of one video, the middle frame of each of several."""
    return list(decoded[0]) if len(decoded) == 1 else [frames[len(frames) // 2] for frames in decoded]


class Live:
    """What the preview of an optimization shows: its images, what is salient in them, and the losses so far.

    ``wanted`` says whether it shows any. While noises are searched these are the best so far, then the iterate's. Rescoring, which looks at
    old iterates, changes nothing.
    """

    def __init__(self) -> None:
        self._shown: dict[int, Judged] = {}
        self._lowest: dict[int, float] = {}
        self.wanted = wanted()

    def told(self, progress: Progress, history: History, judged: Mapping[int, Judged]) -> Preview | None:
        """The preview after a candidate or an iteration, which ``judged`` shows."""
        if not self.wanted or progress.phase == "rescore":
            return None
        for index, each in judged.items():
            loss = progress.losses[index]
            better = math.isfinite(loss) and loss < self._lowest.get(index, math.inf)
            if better:
                self._lowest[index] = loss
            if better or progress.phase != "search" or index not in self._shown:
                kept = each.frames[Frames().numbers(len(each.frames))].cpu()
                self._shown[index] = Judged(kept, None if each.salient is None else each.salient.cpu())
        in_order = [shown for _, shown in sorted(self._shown.items())]
        images = to_shown([frames for frames, _ in in_order])
        overlaid = [overlay(frames, map_[None])[0] for frames, map_ in in_order if map_ is not None]
        return to_preview([images, overlaid if len(overlaid) == len(images) else []], loss_strip(history, 512, 110))
