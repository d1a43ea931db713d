"""Stop, show images, and go on with those that somebody picks."""

from __future__ import annotations

import uuid
from typing import Any

import torch
from comfy_api.latest import io

from ..comfy_bridge import questions
from ..comfy_bridge.picking import pick

questions.add_routes()
ONE_BATCH = "Pick takes one batch of {what}, but got a list of {count}. Make one batch of them, as with Batch Images or Batch Latents."


class Pick(io.ComfyNode):
    """Somebody's choice among the images of a batch."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SGOOL_Pick",
            display_name="SGOOL Pick",
            category="SGOOL/sampling",
            description="Stops the run and shows the images; the run goes on with those that you click, or, when the time is over or where "
            "nobody can be asked (a script, a page that was closed), with the best.",
            search_aliases=["sgool", "pick", "choose", "select", "pause", "stop", "image chooser", "preview chooser", "cherry pick"],
            inputs=[
                io.Latent.Input("latent", tooltip="The latents of the images, such as SGOOL Best of N's LATENT."),
                io.Image.Input(
                    "images", tooltip="The images that are shown, one for each latent; of videos all frames, one after another."
                ),
                io.Float.Input(
                    "scores",
                    optional=True,
                    force_input=True,
                    tooltip="Of each image: shown with it, and the higher, the better. Without scores the first images are the best.",
                ),
                io.Int.Input("keep", default=1, min=1, max=1000, tooltip="How many of the best it goes on with where nobody picks."),
                io.Int.Input(
                    "seconds",
                    default=60,
                    min=0,
                    max=86400,
                    tooltip="How long it waits; each click gives that time anew. 0 does not ask and takes the best.",
                ),
            ],
            outputs=[
                io.Latent.Output(display_name="LATENT", tooltip="Those picked, in their order."),
                io.Image.Output(display_name="images", tooltip="Their images."),
                io.Int.Output(
                    display_name="numbers",
                    is_output_list=True,
                    tooltip="Of each one picked: its place in the batch, from 0, as core counts.",
                ),
            ],
            is_input_list=True,
            is_output_node=True,
        )

    @classmethod
    def fingerprint_inputs(cls, *, seconds: list[Any], **_: Any) -> str:
        """New each time where somebody is asked: who queues a graph again wants to be asked again."""
        return uuid.uuid4().hex if seconds[0] != 0 and questions.can_be_asked() else ""

    @classmethod
    def execute(
        cls,
        *,
        latent: list[dict[str, Any]],
        images: list[torch.Tensor],
        keep: list[int],
        seconds: list[int],
        scores: list[float] | None = None,
    ) -> io.NodeOutput:
        for what, given in (("latents", latent), ("images", images)):
            if len(given) > 1:
                raise ValueError(ONE_BATCH.format(what=what, count=len(given)))
        found = pick(latent[0], images[0], scores, keep[0], seconds[0])
        return io.NodeOutput(found.latent, found.images, found.numbers)


NODES: list[type[io.ComfyNode]] = [Pick]
