"""One workflow for each image: load, sample by one method, score, predict saliency."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from sgool.harness.client import Graph, RunFailed

from ..common.jobs import Job, Record
from .comparison import BEST_OF, EDICT, PLAIN, PUBLISHED, WINNER, CheckpointComparison

HUB = "hub:"
COST = re.compile(r"(\d+) sampler runs, (\d+) of them differentiated, .*?(\d+) model calls")


def graph_of(own: CheckpointComparison, job: Job) -> Graph:
    """The workflow of one job; widgets that are not set here have their node's default. :func:`read_outputs` reads what it gives."""
    prompt = job.prompts[0]
    rewards = {"optimized": ["model", 3] if own.demo else ["reward", 0]}
    graph = {"model": _node("SGOOL_LoadDemoModel")}
    if not own.demo:
        graph = {"model": _node("CheckpointLoaderSimple", ckpt_name=own.checkpoint), "reward": _reward(own.optimized_reward)}
    saliency = {"saliency_model": ["saliency_model", 0]} if own.saliency_model else {}
    if saliency:
        graph["saliency_model"] = _node("SGOOL_LoadSaliencyModel", model_name=own.saliency_model)
    for number, name in enumerate(own.judging_rewards):
        graph[f"reward_{number}"] = _reward(name)
        rewards[f"judging_{number}"] = [f"reward_{number}", 0]
    for name, link in rewards.items():
        graph[f"score_{name}"] = _node("SGOOL_RewardScore", reward=link, images=["image", 0], prompt=prompt)
        graph[name] = _node("PreviewAny", source=[f"score_{name}", 0])
    return {
        **graph,
        "positive": _node("CLIPTextEncode", text=prompt, clip=["model", 1]),
        "negative": _node("CLIPTextEncode", text=own.negative, clip=["model", 1]),
        "latent": _node("EmptyLatentImage", width=own.width, height=own.height, batch_size=1),
        **_sampling(own, job, rewards["optimized"], saliency),
        "image": _node("VAEDecode", samples=["sampled", 0], vae=["model", 2]),
        "preview": _node("PreviewImage", images=["image", 0]),
        "map": _node("SGOOL_PredictSaliency", image=["image", 0], **saliency),
        "overlay": _node("SGOOL_SaliencyOverlay", image=["image", 0], mask=["map", 0]),
        "saliency": _node("PreviewImage", images=["overlay", 0]),
    }


def _node(kind: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": kind, "inputs": inputs}


def _reward(name: str) -> dict[str, Any]:
    return _node("SGOOL_LoadReward", **({"hub_name": name.removeprefix(HUB)} if name.startswith(HUB) else {"reward_name": name}))


def _sampling(own: CheckpointComparison, job: Job, reward: list[Any], saliency: dict[str, Any]) -> Graph:
    inputs: dict[str, Any] = {"model": ["model", 0], "positive": ["positive", 0], "negative": ["negative", 0]}
    inputs |= {"latent_image": ["latent", 0], "seed": job.seed, "steps": own.steps, "cfg": own.cfg}
    inputs |= {"sampler_name": own.sampler, "scheduler": own.schedule}
    if job.method == PLAIN:
        return {"sampled": _node("KSampler", **inputs)}
    # Augmentations come with the published presets; whether there is a salient term sets the two apart.
    salient = {"w_salient": 0.0 if job.method == "DOODL" else 1.0} if job.method in PUBLISHED else {}
    objective = _node("SGOOL_SaliencyCLIPLoss", reward=reward, prompt=job.prompts[0], **salient, **saliency)
    inputs |= {"objective": ["objective", 0], "vae": ["model", 2]}
    graph: Graph = {"objective": objective, "history": _node("PreviewAny", source=["sampled", 3])}
    if job.method == BEST_OF:
        graph["settings"] = _node("SGOOL_Settings", iterations=0, best_of=own.best_of)
        inputs["settings"] = ["settings", 0]
    else:
        if job.method != WINNER:  # which is what a user gets who changes nothing: the node's default preset
            inputs["preset"] = PUBLISHED[0] if job.method == EDICT else job.method
        inputs["preset.iterations"] = own.preset(job.method).settings.iterations
    return {**graph, "sampled": _node("SGOOL_KSampler", **inputs)}


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
