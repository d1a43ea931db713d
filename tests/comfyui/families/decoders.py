"""The decoders that ``comfy.sd.VAE`` builds, as narrow as they can be built."""

from __future__ import annotations

import ast
import functools
import inspect
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from unittest import mock

import comfy.ldm.cascade.stage_a
import comfy.ldm.cascade.stage_c_coder
import comfy.ldm.cogvideo.vae
import comfy.ldm.cosmos.vae
import comfy.ldm.genmo.vae.model
import comfy.ldm.lightricks.vae.causal_video_autoencoder
import comfy.ldm.mage_flow.vae
import comfy.ldm.minimax.vae
import comfy.ldm.seedvr.vae
import comfy.ldm.wan.vae
import comfy.ldm.wan.vae2_2
import comfy.pixel_space_convert
import comfy.sd
import comfy.taesd.taehv
import comfy.taesd.taesd
from comfy.ldm.models.autoencoder import AutoencoderKL, AutoencodingEngine
from torch import nn

from .building import fill

KL = {
    "double_z": True,
    "resolution": 32,
    "in_channels": 3,
    "out_ch": 3,
    "ch": 32,
    "num_res_blocks": 1,
    "attn_resolutions": [],
    "dropout": 0.0,
}
REGULARIZER = {"target": "comfy.ldm.models.autoencoder.DiagonalGaussianRegularizer"}
HUNYUAN = {"in_channels": 3, "out_channels": 3, "num_res_blocks": 1, "downsample_match_channel": True, "upsample_match_channel": True}
LTX: dict[str, Any] = {
    "dims": 3,
    "in_channels": 3,
    "out_channels": 3,
    "latent_channels": 128,
    "encoder_blocks": [["res_x", 1], ["compress_all", 1]],
    "decoder_blocks": [["res_x", 1], ["compress_all", {"residual": False}], ["res_x", 1]],
    "encoder_base_channels": 8,
    "decoder_base_channels": 8,
    "norm_layer": "pixel_norm",
    "patch_size": 2,
    "latent_log_var": "uniform",
    "causal_decoder": False,
    "timestep_conditioning": False,
}


@dataclass(frozen=True)
class Decoder:
    """A decoder.

    Attributes:
        make: gives a module with ``decode``.
        channels: of its latent.
        video: whether that is a video's.
        kinks: its slope jumps (rectifiers, clamps), so that differences agree less well.
        size: of its latent's sides.
    """

    make: Callable[[], nn.Module]
    channels: int
    video: bool = False
    kinks: bool = False
    size: int = 4


def engine(
    decoder: str, config: dict[str, Any], encoder: str = "comfy.ldm.modules.diffusionmodules.model.Encoder", **more: Any
) -> nn.Module:
    return AutoencodingEngine(
        regularizer_config=REGULARIZER,
        encoder_config={"target": encoder, "params": config},
        decoder_config={"target": decoder, "params": {**config, **more}},
    )


def kl(**changes: Any) -> nn.Module:
    return AutoencoderKL(ddconfig={**KL, "z_channels": 4, "ch_mult": [1, 2], **changes}, embed_dim=4)


def hunyuan(file: str, channels: list[int], z: int, **changes: Any) -> nn.Module:
    config = {**HUNYUAN, "block_out_channels": channels, "z_channels": z, **changes}
    return engine(f"comfy.ldm.hunyuan_video.{file}.Decoder", config, f"comfy.ldm.hunyuan_video.{file}.Encoder")


def wan(module: Any, **changes: Any) -> nn.Module:
    config = {
        "z_dim": 4,
        "dim_mult": [1, 2, 2],
        "num_res_blocks": 1,
        "attn_scales": [],
        "temperal_downsample": [False, True],
        "dropout": 0.0,
    }
    return module.WanVAE(**{**config, **changes})


def cosmos() -> nn.Module:
    return comfy.ldm.cosmos.vae.CausalContinuousVideoTokenizer(
        z_channels=4,
        latent_channels=4,
        z_factor=1,
        resolution=64,
        in_channels=3,
        out_channels=3,
        channels=8,
        channels_mult=[1, 2, 2],
        num_res_blocks=1,
        attn_resolutions=[],
        dropout=0.0,
        patch_size=4,
        num_groups=1,
        temporal_compression=8,
        spacial_compression=8,
    )


def mochi() -> nn.Module:
    """Core's class with a decoder of fewer channels; the class takes no sizes."""
    source = comfy.ldm.genmo.vae.model
    module = source.VideoVAE.__new__(source.VideoVAE)
    nn.Module.__init__(module)
    module.decoder = source.Decoder(
        out_channels=3,
        base_channels=32,
        channel_multipliers=[1, 1, 1, 1],
        temporal_expansions=[1, 2, 3],
        spatial_expansions=[2, 2, 2],
        num_res_blocks=[1] * 5,
        latent_dim=12,
        has_attention=[False] * 5,
        padding_mode="replicate",
        output_norm=False,
        causal=True,
    )
    return module


def mage() -> nn.Module:
    source = comfy.ldm.mage_flow.vae
    narrow = functools.partial(source.DConvDenoiser, hidden_size=32, hidden_size_x=8, num_blocks=3, num_cond_blocks=2)
    with mock.patch.object(source, "DConvDenoiser", narrow), mock.patch.object(source, "DConvEncoder", nn.Identity):
        return source.MageVAE()


def minimax() -> nn.Module:
    source = comfy.ldm.minimax.vae
    with mock.patch.object(source, "ViT3DDecoder", functools.partial(source.ViT3DDecoder, num_layers=2, heads=2, dim_head=16)):
        return source.MiniMaxH3VideoVAE(ch=32, ch_mult=(1,) * 6, num_res_blocks=1)


def seedvr() -> nn.Module:
    source = comfy.ldm.seedvr.vae
    shallow = functools.partialmethod(source.VideoAutoencoderKL.__init__, layers_per_block=1)
    with (
        mock.patch.object(source, "BYTEDANCE_BLOCK_OUT_CHANNELS", (32,) * 4),
        mock.patch.object(source.VideoAutoencoderKL, "__init__", shallow),
    ):
        return source.VideoAutoencoderKLWrapper()


DECODERS: dict[str, Decoder] = {
    "SD (AutoencoderKL)": Decoder(kl, 4),
    "Flux (AutoencodingEngine)": Decoder(
        lambda: engine("comfy.ldm.modules.diffusionmodules.model.Decoder", {**KL, "z_channels": 4, "ch_mult": [1, 2]}), 4
    ),
    "SVD (VideoDecoder)": Decoder(
        lambda: engine(
            "comfy.ldm.modules.temporal_ae.VideoDecoder",
            {**KL, "z_channels": 4, "ch_mult": [1, 2]},
            video_kernel_size=[3, 1, 1],
            alpha=0.0,
        ),
        4,
    ),
    "TAESD": Decoder(lambda: comfy.taesd.taesd.TAESD(latent_channels=4), 4, kinks=True),
    "Stable Cascade A": Decoder(lambda: comfy.ldm.cascade.stage_a.StageA(bottleneck_blocks=1, c_hidden=16), 4),
    "Stable Cascade C previewer": Decoder(comfy.ldm.cascade.stage_c_coder.StageC_coder, 16),
    "pixel space": Decoder(comfy.pixel_space_convert.PixelspaceConversionVAE, 3),
    "HunyuanImage 2.1": Decoder(lambda: hunyuan("vae", [32, 64], 8, ffactor_spatial=2), 8),
    "HunyuanImage 2.1 refiner": Decoder(
        lambda: hunyuan("vae_refiner", [32, 32, 64], 8, ffactor_spatial=4, ffactor_temporal=2, refiner_vae=False), 8, video=True
    ),
    "HunyuanVideo (conv3d)": Decoder(lambda: kl(ch_mult=[1, 2], conv3d=True, time_compress=2), 4, video=True),
    "CogVideoX": Decoder(
        lambda: comfy.ldm.cogvideo.vae.AutoencoderKLCogVideoX(
            block_out_channels=(32, 32, 32), latent_channels=4, layers_per_block=1, groups=8, temporal_compression_ratio=4
        ),
        4,
        video=True,
    ),
    "Cosmos": Decoder(cosmos, 4, video=True),
    "Wan 2.1": Decoder(lambda: wan(comfy.ldm.wan.vae, dim=8), 4, video=True),
    "Wan 2.2": Decoder(lambda: wan(comfy.ldm.wan.vae2_2, dim=8, dec_dim=8), 4, video=True),
    "LTXV": Decoder(lambda: comfy.ldm.lightricks.vae.causal_video_autoencoder.VideoVAE(config=LTX), 128, video=True),
    "TAEHV": Decoder(lambda: comfy.taesd.taehv.TAEHV(latent_channels=16, latent_format=None), 16, video=True, kinks=True),
    "Mochi": Decoder(mochi, 12, video=True, size=2),
    "Mage": Decoder(mage, 128),
    "MiniMax H3": Decoder(minimax, 24, video=True, kinks=True),
    "SeedVR2": Decoder(seedvr, 16, video=True),
}

# What ``comfy.sd.VAE`` makes of a file, and the decoder above that stands for it, or why there is none.
ARCHITECTURES = {
    "temporal_ae.VideoDecoder": "SVD (VideoDecoder)",
    "taesd.TAESD": "TAESD",
    "StageA": "Stable Cascade A",
    "StageC_coder": "Stable Cascade C previewer",
    "vae.VideoAutoencoderKLWrapper": "SeedVR2",
    "vae.MageVAE": "Mage",
    "vae.Decoder": "HunyuanImage 2.1",
    "vae_refiner.Decoder": "HunyuanImage 2.1 refiner",
    "AutoencoderKL": "SD (AutoencoderKL)",
    "model.Decoder": "Flux (AutoencodingEngine)",
    "model.VideoVAE": "Mochi",
    "causal_video_autoencoder.VideoVAE": "LTXV",
    "vae.AutoencoderKLCogVideoX": "CogVideoX",
    "vae.CausalContinuousVideoTokenizer": "Cosmos",
    "vae2_2.WanVAE": "Wan 2.2",
    "vae.WanVAE": "Wan 2.1",
    "pixel_space_convert.PixelspaceConversionVAE": "pixel space",
    "taehv.TAEHV": "TAEHV",
    "vae.MiniMaxH3VideoVAE": "MiniMax H3",
}
NOT_IMAGES = {
    "AudioOobleckVAE": "sound",
    "music_dcae_pipeline.MusicDCAE": "sound",
    "autoencoder.AudioAutoencoder": "sound",
    "audio_vae.AudioVAE": "sound",
    "vae_sa3.SA3AudioVAE": "sound",
    "audio_vae.MiniMaxH3AudioVAE": "sound",
    "vae.ShapeVAE": "3D shapes",
    "vae.OctreeGaussianDecoder": "3D Gaussians",
}


def architectures() -> set[str]:
    """What ``comfy.sd.VAE`` makes of a file, read from its source: classes, and of an AutoencodingEngine its decoder's."""
    found = set()
    for node in ast.walk(ast.parse(textwrap.dedent(inspect.getsource(comfy.sd.VAE.__init__)))):
        if not isinstance(node, ast.Assign) or ast.unparse(node.targets[0]) != "self.first_stage_model":
            continue
        if not isinstance(node.value, ast.Call) or ast.unparse(node.value.func) == "self.first_stage_model.eval":
            continue
        name = ast.unparse(node.value.func)
        configs = [keyword.value for keyword in node.value.keywords if keyword.arg == "decoder_config"]
        if name == "AutoencodingEngine":
            assert isinstance(configs[0], ast.Dict)
            name = ast.literal_eval(configs[0].values[0])
        found.add(".".join(name.split(".")[-2:]))
    return found


def build(name: str) -> nn.Module:
    module = DECODERS[name].make().eval().requires_grad_(False)
    fill(module, 3)
    for key, buffer in module.named_buffers():
        if "per_channel_statistics" in key:  # which core reads from the file
            buffer.fill_(1.0 if "std" in key else 0.0)
    return module
