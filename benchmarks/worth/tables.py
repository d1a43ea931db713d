"""Results as a frame with a row for each image, and as tables of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import pandas as pd
from PIL import Image

from ..common.jobs import Job, Store
from ..common.markdown import table
from ..common.statistics import holm, p_text, paired, share
from .prompts import CHUNK

HEAD = ("method", "right, % (95 %)", "model calls", "gradients", "CPU s", "points (95 %)", "gained / lost", "p", "p, Holm", "reward")
MEANS = ["calls", "gradients", "seconds", "similarity"]
IMAGE = ["number", "prompt"]  # what tells the images of one method apart


def frame(store: Store, jobs: Iterable[Job], count: int, names: Mapping[str, str]) -> pd.DataFrame:
    """A row for each of the first ``count`` prompts under each seed and method, with its image's file and place in it. ``names``: of the
    jobs' methods. Methods of which images are missing are left out."""
    rows = []
    for record in store.of(jobs):
        about = {"method": names[record["method"]], "number": record["seed_number"], "image": record["image"]}
        first = record["place"] * CHUNK
        rows += [{**about, "place": first + column, "column": column, **row} for column, row in enumerate(record["rows"])]
    if not rows:
        return pd.DataFrame()
    found = pd.DataFrame(rows).query("place < @count")
    return found[found.groupby("method").method.transform("size") == len(found[IMAGE].drop_duplicates())]


def image_of(store: Store, image: str, column: int) -> Image.Image:
    """The image of a row."""
    with Image.open(store.folder / image) as strip:
        return strip.crop((column * strip.height, 0, (column + 1) * strip.height, strip.height))


def rights(images: pd.DataFrame) -> pd.DataFrame:
    """Which are right: a row for each prompt and seed, a column for each method."""
    return images.pivot(index=IMAGE, columns="method", values="right")[[*images.method.unique()]].astype(bool)


def comparison_table(images: pd.DataFrame, base: str) -> str:
    """One line a method: how many are right, what they cost, and how they differ from ``base`` on the same images."""
    right, means = rights(images), images.groupby("method").mean(numeric_only=True).reindex(columns=MEANS)  # older folders lack some
    pairs = {name: paired(right[name], right[base]) for name in right if name != base}
    corrected = dict(zip(pairs, holm([pair.p for pair in pairs.values()]), strict=True))
    lines = []
    for name in right:
        mean, against = means.loc[name], [*pairs[name].cells(), p_text(corrected[name])] if name in pairs else [""] * 4
        cost = [f"{mean.calls:.0f}", f"{mean.gradients:.0f}", f"{mean.seconds:.2f}"]
        lines.append([name, share(right[name].sum(), len(right)), *cost, *against, f"{mean.similarity:.3f}"])
    return table([f"{cell}, against {base}" if cell.startswith("points") else cell for cell in HEAD], lines)


def kinds_table(images: pd.DataFrame) -> str:
    """Per cent right by kind of prompt, and of all, what is right in them."""
    kinds = images.pivot_table("right", "method", "kind", sort=False)
    parts = images.groupby("method", sort=False)[["objects", "count", "relation"]].mean().rename(columns={"objects": "objects there"})
    shares = (100 * kinds.join(parts)).round().astype(int)
    return table(["method", *shares], shares.reset_index().to_numpy().tolist())
