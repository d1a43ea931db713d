"""What README promises about messages and images."""

from __future__ import annotations

import re

from sgool.harness.pack import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
SOURCES = ("comfy_bridge", "nodes", "latent_optimization", "guidance", "rewards", "saliency_models")


def test_what_troubleshooting_quotes_is_what_the_pack_says() -> None:
    table = README[README.index("| it says |") :].partition("\n\n")[0]
    quoted = [line.split(" | ")[0].removeprefix("| ") for line in table.splitlines()[2:]]
    assert len(quoted) > 5
    said = "\n".join(path.read_text(encoding="utf-8") for folder in SOURCES for path in (ROOT / folder).rglob("*.py"))
    assert [text for text in quoted if text not in said] == []


def test_every_image_names_the_command_that_makes_it() -> None:
    images = re.findall(r"^!\[[^]]*\]\(([^)]*)\)\n\n(.*)$", README, re.M)
    assert len(images) == README.count("![") > 0
    assert [path for path, below in images if not below.startswith("`python run.py ")] == []
    benches = {path.stem for path in (ROOT / "benchmarks").glob("*.py")}
    assert set(re.findall(r"python run\.py bench (\w+)", README)) - {"NAME"} <= benches
    assert [path for path, _ in images if not (ROOT / path).is_file()] == []
