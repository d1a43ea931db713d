"""Write ``locales/LANGUAGE/``, which ComfyUI's page reads, from ``harness/translations/LANGUAGE.json``: ``python run.py locales``.

A translation stands once in ``translations``: a text or a node's name by its English, the name of an input or output by its id (or by
``SGOOL_Node.id`` where one node means something else). What a node has is asked of the node, so that nothing is listed by hand.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .problems import exit_with

ROOT = Path(__file__).resolve().parent.parent
TRANSLATIONS = ROOT / "harness" / "translations"
LANGUAGES = ("ja", "ko", "zh")
DYNAMIC = "COMFY_DYNAMICCOMBO_V3"
AFTER_GENERATE = "control_after_generate"
Info = Mapping[str, Mapping[str, Any]]


@dataclass
class Translations:
    """One language's ``translations`` file, and what was asked of it.

    Attributes: ``missing``, the keys that it lacks, and ``used``, those that it has, each as ``section: key``.
    """

    sections: Mapping[str, Mapping[str, str]]
    missing: list[str] = field(default_factory=list)
    used: set[str] = field(default_factory=set)

    def __call__(self, section: str, *keys: str) -> str:
        """The translation of the first of ``keys`` that has one; an empty text, noted as missing, where none has."""
        for key in keys:
            if self.sections[section].get(key):
                self.used.add(f"{section}: {key}")
                return self.sections[section][key]
        self.missing.append(f"{section}: {keys[-1]}")
        return ""

    def stale(self) -> list[str]:
        """Keys that no node asks for any more, after every node has been translated."""
        return sorted({f"{section}: {key}" for section, texts in self.sections.items() for key in texts} - self.used)


def read(language: str) -> Translations:
    """The translations into ``language``, such as ``ko``."""
    return Translations(json.loads((TRANSLATIONS / f"{language}.json").read_text(encoding="utf-8")))


def inputs_of(inputs: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, str, str]]:
    """Key in the locale, id, and tooltip of each input that the page shows, those inside of dynamic combos too.

    The page looks an input ``rule.where`` up as ``rule_where``.
    """
    for group in ("required", "optional"):
        for name, spec in (inputs.get(group) or {}).items():
            options = spec[1] if len(spec) > 1 else {}
            yield before + name, name, options.get("tooltip") or ""
            if options.get(AFTER_GENERATE):
                yield AFTER_GENERATE, AFTER_GENERATE, ""
            if spec[0] == DYNAMIC:
                for option in options["options"]:
                    yield from inputs_of(option["inputs"], f"{before}{name}_")


def translated_inputs(node: str, inputs: Mapping[str, Any], say: Translations) -> dict[str, dict[str, str]]:
    """The inputs of one node. One key may stand for widgets of several options: then their tooltips are joined."""
    made: dict[str, dict[str, str]] = {}
    for key, name, tooltip in inputs_of(inputs):
        entry = made.setdefault(key, {"name": say("names", f"{node}.{key}", name)})
        text = say("texts", tooltip) if tooltip else ""
        if text and text not in entry.get("tooltip", ""):
            entry["tooltip"] = f"{entry['tooltip']} / {text}" if "tooltip" in entry else text
    return made


def translated_outputs(node: str, info: Mapping[str, Any], say: Translations) -> dict[str, dict[str, str]]:
    """The outputs of one node by their index. Those that are called as their type are translated by the page."""
    made: dict[str, dict[str, str]] = {}
    for index, (kind, name, tooltip) in enumerate(zip(info["output"], info["output_name"], info["output_tooltips"] or [], strict=True)):
        named = {} if name == kind else {"name": say("names", f"{node}.{name}", name)}
        made[str(index)] = {**named, **({"tooltip": say("texts", tooltip)} if tooltip else {})}
    return made


def locale_of(infos: Info, say: Translations) -> dict[str, Any]:
    """What ``main.json`` (everything but ``nodeDefs``) and ``nodeDefs.json`` hold. ``infos`` is what ``/object_info`` says of our nodes."""
    nodes: dict[str, Any] = {}
    for node, info in sorted(infos.items()):
        nodes[node] = {
            "display_name": say("nodes", info["display_name"]),
            "description": say("texts", info["description"]),
            "inputs": translated_inputs(node, info["input"], say),
            "outputs": translated_outputs(node, info, say),
        }
    categories = sorted({part for info in infos.values() for part in info["category"].split("/")})
    return {"nodeCategories": {part: say("categories", part) for part in categories}, "nodeDefs": nodes}


def our_nodes() -> Info:
    """The nodes of the pack as the server describes them, without a server."""
    import sgool

    async def listed() -> list[Any]:
        return list(await (await sgool.comfy_entrypoint()).get_node_list())

    return {node.define_schema().node_id: node.GET_NODE_INFO_V1() for node in asyncio.run(listed())}


def main(_: list[str]) -> int:
    """Write the locales; say what has no translation yet, which stays in English, or is no longer needed."""
    infos = our_nodes()
    problems = 0
    for language in LANGUAGES:
        say = read(language)
        made = locale_of(infos, say)
        folder = ROOT / "locales" / language
        folder.mkdir(parents=True, exist_ok=True)
        nodes = made.pop("nodeDefs")
        for name, document in (("main", made), ("nodeDefs", nodes)):
            text = json.dumps(without_gaps(document), ensure_ascii=False, indent=1) + "\n"
            (folder / f"{name}.json").write_text(text, encoding="utf-8", newline="\n")
        for what, keys in (("lacks", sorted(set(say.missing))), ("has no use for", say.stale())):
            problems += len(keys)
            for key in keys:
                print(f"harness/translations/{language}.json {what} {key}")
    return 1 if problems else 0


def without_gaps(document: Any) -> Any:
    """The same without what has no translation, for which the page shows the English."""
    if not isinstance(document, dict):
        return document
    return {key: without_gaps(value) for key, value in document.items() if value not in ("", {})}


if __name__ == "__main__":
    exit_with(main)
