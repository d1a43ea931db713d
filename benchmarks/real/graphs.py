"""One workflow for each image: load, sample by one method, score, predict saliency."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from sgool.harness.client import Graph, RunFailed
from sgool.harness.object_info import options_of, widget_defaults
from sgool.harness.problems import SetupProblem

from ..common.jobs import Job, Record
from .comparison import BEST_OF, EDICT, PLAIN, PUBLISHED, WINNER, CheckpointComparison

HUB = "hub:"
COST = re.compile(r"(\d+) sampler runs, (\d+) of them differentiated, .*?(\d+) model calls")


class Builder:
    """Makes graphs out of a server's own definitions of its nodes: what is not set here has the node's default.

    Args:
        definition: a node's entry in the server's object_info, by its id.

    Raises:
        SetupProblem: for something that the server does not have: a node, an input, or an option such as a checkpoint.
    """

    def __init__(self, comparison: CheckpointComparison, definition: Callable[[str], dict[str, Any]]) -> None:
        self.comparison, self.definition = comparison, cache(definition)
        for job in comparison.jobs()[: len(comparison.methods)]:
            self.graph(job)  # so that what is missing is said before the first image

    def graph(self, job: Job) -> Graph:
        """The workflow of one job. :func:`read_outputs` reads what it gives."""
        own, node, prompt = self.comparison, self._node, job.prompts[0]
        rewards = {"optimized": ["model", 3] if own.demo else ["reward", 0]}
        graph = {"model": node("SGOOL_LoadDemoModel")}
        if not own.demo:
            graph = {"model": node("CheckpointLoaderSimple", ckpt_name=own.checkpoint), "reward": self._reward(own.optimized_reward)}
        saliency = {"saliency_model": ["saliency_model", 0]} if own.saliency_model else {}
        if saliency:
            graph["saliency_model"] = node("SGOOL_LoadSaliencyModel", model_name=own.saliency_model)
        for number, name in enumerate(own.judging_rewards):
            graph[f"reward_{number}"] = self._reward(name)
            rewards[f"judging_{number}"] = [f"reward_{number}", 0]
        for name, link in rewards.items():
            graph[f"score_{name}"] = node("SGOOL_RewardScore", reward=link, images=["image", 0], prompt=prompt)
            graph[name] = node("PreviewAny", source=[f"score_{name}", 0])
        return {
            **graph,
            "positive": node("CLIPTextEncode", text=prompt, clip=["model", 1]),
            "negative": node("CLIPTextEncode", text=own.negative, clip=["model", 1]),
            "latent": node("EmptyLatentImage", width=own.width, height=own.height, batch_size=1),
            **self._sampling(job, rewards["optimized"], saliency),
            "image": node("VAEDecode", samples=["sampled", 0], vae=["model", 2]),
            "preview": node("PreviewImage", images=["image", 0]),
            "map": node("SGOOL_PredictSaliency", image=["image", 0], **saliency),
            "overlay": node("SGOOL_SaliencyOverlay", image=["image", 0], mask=["map", 0]),
            "saliency": node("PreviewImage", images=["overlay", 0]),
        }

    def _reward(self, name: str) -> dict[str, Any]:
        chosen = {"hub_name": name.removeprefix(HUB)} if name.startswith(HUB) else {"reward_name": name}
        return self._node("SGOOL_LoadReward", **chosen)

    def _sampling(self, job: Job, reward: list[Any], saliency: dict[str, Any]) -> Graph:
        own = self.comparison
        inputs: dict[str, Any] = {"model": ["model", 0], "positive": ["positive", 0], "negative": ["negative", 0]}
        inputs |= {"latent_image": ["latent", 0], "seed": job.seed, "steps": own.steps, "cfg": own.cfg}
        inputs |= {"sampler_name": own.sampler, "scheduler": own.schedule}
        if job.method == PLAIN:
            return {"sampled": self._node("KSampler", **inputs)}
        # Augmentations come with the published presets; whether there is a salient term sets the two apart.
        salient = {"w_salient": 0.0 if job.method == "DOODL" else 1.0} if job.method in PUBLISHED else {}
        objective = self._node("SGOOL_SaliencyCLIPLoss", reward=reward, prompt=job.prompts[0], **salient, **saliency)
        inputs |= {"objective": ["objective", 0], "vae": ["model", 2]}
        graph: Graph = {"objective": objective, "history": self._node("PreviewAny", source=["sampled", 3])}
        if job.method == BEST_OF:
            graph["settings"] = self._node("SGOOL_Settings", iterations=0, best_of=own.best_of)
            inputs["settings"] = ["settings", 0]
        else:
            if job.method != WINNER:  # which is what a user gets who changes nothing: the node's default preset
                inputs["preset"] = PUBLISHED[0] if job.method == EDICT else job.method
            inputs["preset.iterations"] = own.preset(job.method).settings.iterations
        return {**graph, "sampled": self._node("SGOOL_KSampler", **inputs)}

    def _node(self, kind: str, **inputs: Any) -> dict[str, Any]:
        """A node with these inputs, and the default of every other required widget: what its page would show."""
        try:
            parts = self.definition(kind)["input"]
        except KeyError:
            raise SetupProblem(f"it has no node {kind}; has it this version of the pack, and ComfyUI 0.30 or newer?") from None
        known = {**parts.get("required", {}), **parts.get("optional", {})}
        for name, value in inputs.items():
            if name.partition(".")[0] not in known:
                raise SetupProblem(f"its {kind} has no input {name!r}; is it this version of the pack?")
            options = options_of(known[name]) if name in known else []
            if options and not isinstance(value, list) and value not in options:
                raise SetupProblem(f"it offers no {name} {value!r}, only: {', '.join(map(str, options))}")
        return {"class_type": kind, "inputs": {**widget_defaults(parts, inputs), **inputs}}


def read_outputs(comparison: CheckpointComparison, outputs: Mapping[str, dict[str, Any]]) -> Record:
    """The numbers of a finished job: ``scores`` by reward, and ``cost``. Raises RunFailed for a score that is not finite."""
    texts = {name: str(output["text"][0]) for name, output in outputs.items() if "text" in output}
    nodes = {"optimized": "optimized", **{name: f"judging_{number}" for number, name in enumerate(comparison.judging_rewards)}}
    scores = {name: float(texts[node]) for name, node in nodes.items()}
    if not all(map(math.isfinite, scores.values())):
        raise RunFailed("a score is not a number; the image has NaN in it, or the reward's precision does not suffice")
    return {"scores": scores, "cost": cost_of(texts.get("history", ""))}


def cost_of(history: str) -> dict[str, int] | None:
    """What SGOOL KSampler says it spent: ``runs`` of the sampler, ``backwards`` through it, ``calls`` of the model in the runs."""
    found = COST.search(history)
    return dict(zip(("runs", "backwards", "calls"), map(int, found.groups()), strict=True)) if found else None
