"""One workflow for each image: load, sample by one method, score, predict saliency."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from sgool.harness.client import Graph, RunFailed
from sgool.harness.problems import SetupProblem

from ..common.jobs import Job
from .comparison import BEST_OF, EDICT, PLAIN, PUBLISHED, WINNER, Comparison

HUB = "hub:"
Definitions = Mapping[str, dict[str, Any]]
ALWAYS = (
    "CLIPTextEncode",
    "EmptyLatentImage",
    "KSampler",
    "VAEDecode",
    "PreviewImage",
    "PreviewAny",
    "SGOOL_SaliencyCLIPLoss",
    "SGOOL_KSampler",
    "SGOOL_Settings",
    "SGOOL_CLIPScore",
    "SGOOL_PredictSaliency",
    "SGOOL_SaliencyOverlay",
)
# DOODL as released: 16 random cutouts of the image, of which the best counts. SGOOL takes them over (docs/method.md).
PUBLISHED_VIEWS = {"views": "cutouts", "augmentation_count": 16, "reduce": "minimum"}


def node_types(comparison: Comparison) -> tuple[str, ...]:
    """Every node that the comparison's graphs are made of."""
    loaders = ["SGOOL_LoadDemoModel", "SGOOL_DemoJudge"] if comparison.demo else ["CheckpointLoaderSimple", "SGOOL_LoadCLIPScorer"]
    if comparison.judging_scorers and comparison.demo:
        loaders.append("SGOOL_LoadCLIPScorer")
    if comparison.saliency_model:
        loaders.append("SGOOL_LoadSaliencyModel")
    return (*loaders, *ALWAYS)


class Builder:
    """Makes graphs out of a server's own definitions of its nodes: what is not set here has the node's default.

    Raises:
        SetupProblem: by :meth:`check`, for something that the server does not have.
    """

    def __init__(self, comparison: Comparison, definitions: Definitions) -> None:
        self.comparison = comparison
        self.definitions = definitions

    def check(self) -> None:
        """Compare the names in the comparison with what the server offers."""
        comparison = self.comparison
        wanted = [("KSampler", "sampler_name", comparison.sampler), ("KSampler", "scheduler", comparison.scheduler)]
        wanted += [("SGOOL_KSampler", "preset", name) for name in PUBLISHED if name in comparison.methods]
        if not comparison.demo:
            wanted.append(("CheckpointLoaderSimple", "ckpt_name", comparison.checkpoint))
        scorers = [*comparison.judging_scorers, *([] if comparison.demo else [comparison.optimized_scorer])]
        wanted += [("SGOOL_LoadCLIPScorer", "scorer_name", name) for name in scorers if not name.startswith(HUB)]
        if comparison.saliency_model:
            wanted.append(("SGOOL_LoadSaliencyModel", "model_name", comparison.saliency_model))
        for node, widget, value in wanted:
            options = self._options(node, widget)
            if value not in options:
                raise SetupProblem(f"it offers no {widget} {value!r}, only: {', '.join(map(str, options)) or 'none'}")

    def graph(self, job: Job) -> Graph:
        """The workflow of one job. :func:`read_outputs` reads what it gives."""
        graph = self._loaders()
        graph["positive"] = self._node("CLIPTextEncode", text=job.prompts[0], clip=["model", 1])
        graph["negative"] = self._node("CLIPTextEncode", text=self.comparison.negative, clip=["model", 1])
        graph["latent"] = self._node("EmptyLatentImage", width=self.comparison.width, height=self.comparison.height, batch_size=1)
        graph |= self._sampling(job)
        graph["image"] = self._node("VAEDecode", samples=["sampled", 0], vae=["model", 2])
        graph["preview"] = self._node("PreviewImage", images=["image", 0])
        saliency = {"saliency_model": ["saliency_model", 0]} if self.comparison.saliency_model else {}
        graph["map"] = self._node("SGOOL_PredictSaliency", image=["image", 0], **saliency)
        graph["overlay"] = self._node("SGOOL_SaliencyOverlay", image=["image", 0], mask=["map", 0])
        graph["saliency"] = self._node("PreviewImage", images=["overlay", 0])
        scorers = {"optimized": self._optimized_scorer()}
        scorers |= {f"judging_{number}": [f"scorer_{number}", 0] for number in range(len(self.comparison.judging_scorers))}
        for name, link in scorers.items():
            graph[f"score_{name}"] = self._node("SGOOL_CLIPScore", clip_scorer=link, images=["image", 0], prompt=job.prompts[0])
            graph[name] = self._node("PreviewAny", source=[f"score_{name}", 0])
        if self.comparison.demo:
            graph["judge"] = self._node("SGOOL_DemoJudge", images=["image", 0], prompt=job.prompts[0])
        return graph

    def _loaders(self) -> Graph:
        graph: Graph = {}
        if self.comparison.demo:
            graph["model"] = self._node("SGOOL_LoadDemoModel")
        else:
            graph["model"] = self._node("CheckpointLoaderSimple", ckpt_name=self.comparison.checkpoint)
            graph["scorer"] = self._scorer(self.comparison.optimized_scorer)
        for number, name in enumerate(self.comparison.judging_scorers):
            graph[f"scorer_{number}"] = self._scorer(name)
        if self.comparison.saliency_model:
            graph["saliency_model"] = self._node("SGOOL_LoadSaliencyModel", model_name=self.comparison.saliency_model)
        return graph

    def _scorer(self, name: str) -> dict[str, Any]:
        if name.startswith(HUB):
            return self._node("SGOOL_LoadCLIPScorer", hub_name=name.removeprefix(HUB))
        return self._node("SGOOL_LoadCLIPScorer", scorer_name=name)

    def _optimized_scorer(self) -> list[Any]:
        return ["model", 3] if self.comparison.demo else ["scorer", 0]

    def _sampling(self, job: Job) -> Graph:
        comparison = self.comparison
        common = {
            "model": ["model", 0],
            "seed": job.seed,
            "steps": comparison.steps,
            "cfg": comparison.cfg,
            "sampler_name": comparison.sampler,
            "scheduler": comparison.scheduler,
            "positive": ["positive", 0],
            "negative": ["negative", 0],
            "latent_image": ["latent", 0],
        }
        if job.method == PLAIN:
            return {"sampled": self._node("KSampler", **common)}
        ours = {**common, "objective": ["objective", 0], "vae": ["model", 2]}
        graph: Graph = {"objective": self._objective(job)}
        if job.method == BEST_OF:
            graph["settings"] = self._node("SGOOL_Settings", iterations=0, best_of=comparison.best_of)
            ours["settings"] = ["settings", 0]
        else:
            if job.method != WINNER:  # which is what a user gets who changes nothing: the node's default preset
                ours["preset"] = PUBLISHED[0] if job.method == EDICT else job.method
            ours["preset.iterations"] = comparison.preset(job.method).settings.iterations
        graph["sampled"] = self._node("SGOOL_KSampler", **ours)
        graph["history"] = self._node("PreviewAny", source=["sampled", 3])
        return graph

    def _objective(self, job: Job) -> dict[str, Any]:
        settings: dict[str, Any] = {}
        if job.method in PUBLISHED:
            settings = {**PUBLISHED_VIEWS, "w_salient": 0.0 if job.method == "DOODL" else 1.0}
        if self.comparison.saliency_model:
            settings["saliency_model"] = ["saliency_model", 0]
        return self._node("SGOOL_SaliencyCLIPLoss", clip_scorer=self._optimized_scorer(), prompt=job.prompts[0], **settings)

    def _node(self, kind: str, **inputs: Any) -> dict[str, Any]:
        return {"class_type": kind, "inputs": {**widget_defaults(self.definitions[kind]["input"], inputs), **inputs}}

    def _options(self, kind: str, widget: str) -> list[Any]:
        parts = self.definitions[kind]["input"]
        return options_of({**parts.get("required", {}), **parts.get("optional", {})}[widget])


def options_of(definition: list[Any]) -> list[Any]:
    """What a combo widget offers, in any of the forms that ComfyUI's object_info has."""
    kind, details = definition[0], definition[1] if len(definition) > 1 else {}
    options = kind if isinstance(kind, list) else details.get("options", ())
    return [option["key"] if isinstance(option, dict) else option for option in options]


def widget_defaults(inputs: dict[str, Any], chosen: Mapping[str, Any]) -> dict[str, Any]:
    """The default of every required widget of a node: what its page would show. Sockets have none.

    Args:
        inputs: the node's, of object_info.
        chosen: values of some: those that a widget shows depend on which of its options is chosen.
    """
    found: dict[str, Any] = {}
    for name, entry in inputs.get("required", {}).items():
        details, options = entry[1] if len(entry) > 1 else {}, options_of(entry)
        if "default" in details:
            found[name] = details["default"]
        elif options:
            found[name] = options[0]
        for option in details.get("options", ()):
            if isinstance(option, dict) and option["key"] == chosen.get(name, found.get(name)):
                shown = widget_defaults(option["inputs"], {})
                found |= {f"{name}.{inner}": value for inner, value in shown.items()}
    return found


def read_outputs(comparison: Comparison, outputs: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """The numbers and texts of a finished job: ``scores`` by scorer, ``optimized``, ``history`` and, with a judge, ``verdict``.

    Raises RunFailed for a score that is not finite.
    """

    def number_of(node: str) -> float:
        value = float(outputs[node]["text"][0])
        if not math.isfinite(value):
            raise RunFailed("a score is not a number; the image has NaN in it, or the scorer's precision does not suffice")
        return value

    read: dict[str, Any] = {
        "optimized": number_of("optimized"),
        "scores": {name: number_of(f"judging_{number}") for number, name in enumerate(comparison.judging_scorers)},
        "history": str(outputs["history"]["text"][0]) if "history" in outputs else "",
    }
    if "judge" in outputs:
        read["verdict"] = str(outputs["judge"]["text"][0])
    return read
