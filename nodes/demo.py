"""The demo model as nodes: it needs no download and runs on a CPU, to try the pack out and to measure it.

And photographs to try saliency on.
"""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..comfy_bridge.folders import register_loras
from ..comfy_bridge.layout import from_image, to_image
from ..comfy_bridge.rewards import load_reward
from ..demo.judging import Verdict, judge_images
from ..demo.loader import load_clip, load_judge, load_model, load_vae, reward_folder
from ..demo.photographs import NAMES
from ..demo.photographs import photograph as read_photograph
from ..demo.weights import LORAS
from .sockets import Reward

register_loras(LORAS)

EXAMPLE = "a small red circle left of a large blue ring and a green cross"
NO_PROMPT = f"The judge needs the prompt that was asked for, such as '{EXAMPLE}'."


class LoadDemoModel(io.ComfyNode):
    """MODEL, CLIP, VAE and reward of the demo model."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SGOOL_LoadDemoModel",
            display_name="Load Demo Model",
            category="SGOOL/demo",
            description="Loads the miniature text-to-image model that comes with the pack: 64 x 64 images of one to three colored "
            f"shapes, for prompts such as '{EXAMPLE}'. Nothing is downloaded, and a CPU is enough.",
            search_aliases=["sgool demo", "demo model", "miniature model", "checkpoint", "toy model"],
            inputs=[],
            outputs=[
                io.Model.Output(tooltip="The denoiser, an eps model. Its latents have 16 channels; Empty Latent Image at 64 x 64 fits."),
                io.Clip.Output(tooltip="Its text encoder. It knows 29 words; others are read as one unknown word."),
                io.Vae.Output(tooltip="Its autoencoder."),
                Reward.Output(display_name="reward", tooltip="A small CLIP trained on the same world, for the objective."),
            ],
        )

    @classmethod
    def execute(cls) -> io.NodeOutput:
        return io.NodeOutput(load_model(), load_clip(), load_vae(), load_reward(reward_folder()))


class DemoJudge(io.ComfyNode):
    """Says whether images of the demo model show what was asked."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SGOOL_DemoJudge",
            display_name="Demo Judge",
            category="SGOOL/demo",
            description="An object detector for images of the demo model: says which objects it sees and whether that is what the "
            "prompt asked for. It has nothing in common with the reward and is never optimized against, so it can tell whether an "
            "optimization helped or only fooled its reward.",
            search_aliases=["sgool judge", "verdict", "detector", "evaluate", "benchmark"],
            inputs=[
                io.Image.Input("images", tooltip="Images of the demo model, 64 x 64."),
                io.String.Input("prompt", default=EXAMPLE, multiline=True, tooltip="What was asked for; one prompt, or one a line."),
            ],
            outputs=[
                io.Float.Output(display_name="share_right", tooltip="The share of the images that are wholly right, 0 to 1."),
                io.String.Output(display_name="verdict", tooltip="What the judge sees, a line an image."),
            ],
            is_output_node=True,
        )

    @classmethod
    def validate_inputs(cls, prompt: str | None = None) -> bool | str:
        return prompt is None or bool(prompt.strip()) or NO_PROMPT  # a connected input is None here

    @classmethod
    def execute(cls, images: Any, prompt: str) -> io.NodeOutput:
        images = from_image(images).float().cpu()
        if images.shape[-2:] != (64, 64):
            raise ValueError(
                f"The judge was given images of {images.shape[-1]} x {images.shape[-2]}; it only knows the demo model's 64 x 64."
            )
        prompts = [line.strip() for line in prompt.splitlines() if line.strip()]
        if not prompts:
            raise ValueError(NO_PROMPT)
        verdicts = judge_images(load_judge(), images, prompts)
        text = "\n".join(describe(verdict) for verdict in verdicts)
        return io.NodeOutput(sum(v.right for v in verdicts) / len(verdicts), text, ui={"text": (text,)})


class DemoPhotograph(io.ComfyNode):
    """A photograph that comes with the pack."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SGOOL_DemoPhotograph",
            display_name="Demo Photograph",
            category="SGOOL/demo",
            description="A photograph that comes with the pack, to try saliency on. Put Load Image in its place for your own.",
            search_aliases=["example image", "sample image", "test image", "astronaut"],
            inputs=[io.Combo.Input("photograph", options=list(NAMES), default=NAMES[0], tooltip="Which photograph.")],
            outputs=[io.Image.Output(tooltip="The photograph, 300 to 512 pixels high.")],
        )

    @classmethod
    def execute(cls, photograph: str) -> io.NodeOutput:
        return io.NodeOutput(to_image(read_photograph(photograph)))


def describe(verdict: Verdict) -> str:
    """One line: right or what is wrong, and what is seen."""
    seen = ", ".join(f"{o.size} {o.color} {o.shape}" for o in verdict.seen) or "nothing"
    wrong = [
        text
        for fine, text in (
            (verdict.objects, "an object or attribute is wrong or missing"),
            (verdict.count, "another number of objects"),
            (verdict.relation or not verdict.objects, "not where it should be"),
        )
        if not fine
    ]
    return f"{'right' if verdict.right else 'wrong: ' + '; '.join(wrong)} (sees {seen})"


NODES: list[type[io.ComfyNode]] = [LoadDemoModel, DemoJudge, DemoPhotograph]
