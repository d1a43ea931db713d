"""Images side by side: a row for each prompt and seed, a column for each method, where people would look below each."""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from .plan import Job
from .results import Results, write
from .table import order, right, score, scorers, title

TILE, GAP, LINE = 224, 8, 18
ROWS_A_SHEET = 6
INK, FAINT, PAPER, RIGHT, WRONG = (32, 34, 38), (130, 132, 136), (250, 250, 248), (36, 140, 84), (200, 70, 50)


def write_sheets(results: Results) -> list[Path]:
    """Draw every prompt and seed that has an image, a few on each sheet, and return the files."""
    plan = results.plan
    methods = order(plan.methods)
    rows: dict[tuple[int, int], dict[str, Job]] = {}
    for job in plan.jobs():
        if "image" in results.records.get(job.key, {}):
            rows.setdefault((job.prompt_index, job.seed_number), {})[job.method] = job
    keys = sorted(rows)
    written = []
    for number, start in enumerate(range(0, len(keys), ROWS_A_SHEET), start=1):
        sheet = _sheet(results, methods, [rows[key] for key in keys[start : start + ROWS_A_SHEET]])
        path = results.folder / "sheets" / f"sheet-{number:02d}.jpg"
        contents = io.BytesIO()
        sheet.save(contents, "JPEG", quality=90)
        write(path, contents.getvalue())
        written.append(path)
    for old in set((results.folder / "sheets").glob("sheet-*.jpg")) - set(written):
        old.unlink()
    return written


def _sheet(results: Results, methods: list[str], rows: list[dict[str, Job]]) -> Image.Image:
    plan = results.plan
    captions = len(scorers(plan)) * LINE
    height = LINE + GAP + 2 * TILE + captions + GAP
    sheet = Image.new("RGB", (GAP + len(methods) * (TILE + GAP), len(rows) * height + GAP), PAPER)
    pen = ImageDraw.Draw(sheet)
    for number, row in enumerate(rows):
        top = GAP + number * height
        job = next(iter(row.values()))
        heading = f"{job.prompt_index + 1}. {job.prompt}   (seed {job.seed})"
        pen.text((GAP, top), _shortened(pen, heading, sheet.width - 2 * GAP, 14), INK, _font(14))
        for column, method in enumerate(methods):
            corner = GAP + column * (TILE + GAP), top + LINE + 2
            if method in row:
                _cell(sheet, corner, results, row[method])
            else:
                pen.text((corner[0], corner[1] + TILE // 2), f"{title(plan, method)}: none", FAINT, _font(12))
    return sheet


def _cell(sheet: Image.Image, corner: tuple[int, int], results: Results, job: Job) -> None:
    record, plan = results.records[job.key], results.plan
    pen = ImageDraw.Draw(sheet)
    left, top = corner
    for offset, name in ((0, "image"), (TILE, "saliency")):
        sheet.paste(_tile(results.folder / record[name]), (left, top + offset))
    if plan.demo:
        pen.rectangle((left, top, left + TILE - 1, top + TILE - 1), outline=RIGHT if right(record) else WRONG, width=3)
    label = title(plan, job.method)
    width = pen.textlength(label, _font(12))
    pen.rectangle((left + 3, top + 3, left + 11 + width, top + 20), fill=PAPER)
    pen.text((left + 7, top + 4), label, INK, _font(12))
    for number, scorer in enumerate(scorers(plan)):
        text = f"{score(record, scorer):.2f}  {'optimized' if scorer == 'optimized' else scorer}"
        shown = _shortened(pen, text, TILE, 12)
        pen.text((left, top + 2 * TILE + 2 + number * LINE), shown, FAINT if scorer == "optimized" else INK, _font(12))


def _tile(path: Path) -> Image.Image:
    """An image fitted into a tile; small ones enlarged so that their pixels are seen."""
    tile = Image.new("RGB", (TILE, TILE), PAPER)
    if not path.exists():
        return tile
    with Image.open(path) as opened:
        image = opened.convert("RGB")
    scale = TILE / max(image.size)
    size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    image = image.resize(size, Image.Resampling.NEAREST if scale > 2 else Image.Resampling.LANCZOS)
    tile.paste(image, ((TILE - size[0]) // 2, (TILE - size[1]) // 2))
    return tile


def _shortened(pen: ImageDraw.ImageDraw, text: str, width: int, size: int) -> str:
    if pen.textlength(text, _font(size)) <= width:
        return text
    while text and pen.textlength(f"{text} ...", _font(size)) > width:
        text = text[:-1]
    return f"{text} ..."


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
