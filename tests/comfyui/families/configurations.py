"""The smallest configuration of each of ComfyUI's model classes that its network takes, and the conditioning that it needs.

Keys are the class names in ``comfy.supported_models.models``. Values beside the class's own ``unet_config`` are what core's
``model_detection.py`` would read from a checkpoint, with narrower layers. ``deep`` has the family's published number of blocks.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

Config = dict[str, Any]


@dataclass(frozen=True)
class Family:
    """One model class: how to build it small, and what to call it with.

    Attributes:
        config: what the network is built from, beside the class's own ``unet_config``.
        deep: what differs with the family's real number of blocks.
        context: tokens and channels of the conditioning.
        options: further entries of the conditioning; ``(shape)`` tuples become random tensors.
        size: height and width of the latent; for videos frames, height and width.
        group: which network class it is; the fast tests take one of each group.
        channels: of the latent, where they are not the latent format's.
        sound: shape of the sound's latent, for networks of video and sound.
        alone: the network takes no batch.
    """

    config: Config
    deep: Config = field(default_factory=dict)
    context: tuple[int, int] = (5, 16)
    options: Config = field(default_factory=dict)
    size: tuple[int, ...] = (8, 8)
    group: str = ""
    channels: int | None = None
    sound: tuple[int, ...] = ()
    alone: bool = False


UNET: Config = {
    "image_size": 32,
    "use_spatial_transformer": True,
    "legacy": False,
    "in_channels": 4,
    "out_channels": 4,
    "model_channels": 32,
    "num_res_blocks": [1, 1],
    "channel_mult": [1, 2],
    "context_dim": 16,
    "num_head_channels": 8,
    "num_heads": -1,
    "transformer_depth": [1, 1],
    "transformer_depth_output": [1, 1, 1, 1],
    "transformer_depth_middle": 1,
    "use_linear_in_transformer": False,
    "use_temporal_attention": False,
    "adm_in_channels": None,
}
REAL_UNET: Config = {
    "num_res_blocks": [2, 2, 2, 2],
    "channel_mult": [1, 2, 4, 4],
    "transformer_depth": [1, 1, 1, 1, 1, 1, 0, 0],
    "transformer_depth_output": [1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0],
}
SDXL_UNET: Config = {
    "num_res_blocks": [2, 2, 2],
    "channel_mult": [1, 2, 4],
    "transformer_depth": [0, 0, 2, 2, 10, 10],
    "transformer_depth_output": [0, 0, 0, 2, 2, 2, 10, 10, 10],
    "transformer_depth_middle": 10,
}


TEMPORAL: Config = {
    "use_temporal_attention": True,
    "use_temporal_resblock": True,
    "extra_ff_mix_layer": True,
    "use_spatial_context": True,
    "merge_strategy": "learned_with_images",
    "merge_factor": 0.0,
    "video_kernel_size": [3, 1, 1],
    "group": "VideoUNet",
    "num_classes": "sequential",
}


def unet(deep: Config | None = None, **changes: Any) -> Family:
    options, width, group = changes.pop("options", {}), changes.pop("tokens", 16), changes.pop("group", "UNetModel")
    return Family({**UNET, **changes}, deep or REAL_UNET, (5, width), options, group=group)


def sdxl(**changes: Any) -> Family:
    return unet(SDXL_UNET, num_classes="sequential", adm_in_channels=1536 + 16, options={"pooled_output": (1, 16)}, **changes)


FLUX: Config = {
    "in_channels": 16,
    "out_channels": 16,
    "hidden_size": 32,
    "num_heads": 2,
    "axes_dim": [4, 6, 6],
    "mlp_ratio": 2.0,
    "theta": 10000,
    "qkv_bias": True,
    "txt_ids_dims": [],
    "patch_size": 2,
    "context_in_dim": 16,
    "vec_in_dim": 16,
    "depth": 2,
    "depth_single_blocks": 2,
    "guidance_embed": True,
    "yak_mlp": False,
    "txt_norm": False,
}
FLUX_DEEP: Config = {"depth": 19, "depth_single_blocks": 38}
POOLED: Config = {"pooled_output": (1, 16)}
HUNYUAN: Config = {
    "in_channels": 16,
    "out_channels": 16,
    "patch_size": [1, 2, 2],
    "axes_dim": [4, 6, 6],
    "hidden_size": 32,
    "num_heads": 2,
    "mlp_ratio": 2.0,
    "depth": 2,
    "depth_single_blocks": 2,
    "theta": 256,
    "qkv_bias": True,
    "context_in_dim": 16,
    "vec_in_dim": 16,
    "guidance_embed": True,
    "byt5": False,
    "meanflow": False,
    "use_cond_type_embedding": False,
    "vision_in_dim": None,
    "meanflow_sum": False,
}
HUNYUAN_DEEP: Config = {"depth": 20, "depth_single_blocks": 40}


def hunyuan(**changes: Any) -> Family:
    size = changes.pop("size", (2, 4, 4))
    options = changes.pop("options", POOLED)
    return Family({**HUNYUAN, **changes}, HUNYUAN_DEEP, options=options, size=size, group="HunyuanVideo")


WAN: Config = {
    "dim": 32,
    "ffn_dim": 48,
    "freq_dim": 16,
    "text_dim": 16,
    "num_heads": 2,
    "num_layers": 2,
    "patch_size": (1, 2, 2),
    "window_size": (-1, -1),
    "qk_norm": True,
    "cross_attn_norm": True,
    "eps": 1e-6,
    "in_dim": 16,
    "out_dim": 16,
}


def wan(group: str = "WanModel", deep: Config | None = None, options: Config | None = None, **changes: Any) -> Family:
    return Family({**WAN, **changes}, deep or {"num_layers": 30}, options=options or {}, size=(2, 4, 4), group=group)


COSMOS: Config = {
    "max_img_h": 240,
    "max_img_w": 240,
    "max_frames": 128,
    "in_channels": 16,
    "out_channels": 16,
    "patch_spatial": 2,
    "patch_temporal": 1,
    "model_channels": 32,
    "num_blocks": 2,
    "num_heads": 2,
    "concat_padding_mask": True,
    "crossattn_emb_channels": 16,
    "pos_emb_cls": "rope3d",
    "pos_emb_interpolation": "crop",
    "use_adaln_lora": True,
    "adaln_lora_dim": 8,
    "extra_per_block_abs_pos_emb": False,
}
COSMOS1: Config = {
    **COSMOS,
    "block_config": "FA-CA-MLP",
    "block_x_format": "THWBD",
    "pos_emb_learnable": False,
    "affline_emb_norm": True,
    "extra_per_block_abs_pos_emb": True,
    "extra_per_block_abs_pos_emb_type": "learnable",
}
COSMOS2: Config = {**COSMOS, "pos_emb_learnable": True, "min_fps": 1, "max_fps": 30, "rope_enable_fps_modulation": False}
LUMINA: Config = {
    "patch_size": 2,
    "in_channels": 16,
    "dim": 32,
    "cap_feat_dim": 16,
    "n_layers": 2,
    "n_refiner_layers": 1,
    "qk_norm": True,
    "n_heads": 2,
    "n_kv_heads": 2,
    "axes_dims": [4, 6, 6],
    "axes_lens": [300, 512, 512],
    "rope_theta": 10000.0,
    "ffn_dim_multiplier": 1.0,
    "multiple_of": 16,
}
Z_IMAGE: Config = {**LUMINA, "dim": 256, "axes_dims": [32, 48, 48], "z_image_modulation": True, "time_scale": 1000.0, "rope_theta": 256.0}
LTX: Config = {
    "in_channels": 128,
    "num_layers": 2,
    "attention_head_dim": 16,
    "num_attention_heads": 2,
    "cross_attention_dim": 32,
    "caption_channels": 16,
}
COGVIDEO: Config = {
    "num_attention_heads": 2,
    "attention_head_dim": 64,
    "time_embed_dim": 16,
    "num_layers": 2,
    "in_channels": 16,
    "patch_size": 2,
    "text_embed_dim": 16,
    "use_rotary_positional_embeddings": True,
}
KANDINSKY: Config = {
    "in_text_dim": 16,
    "in_text_dim2": 16,
    "time_dim": 16,
    "model_dim": 32,
    "ff_dim": 48,
    "axes_dims": (4, 6, 6),
    "num_text_blocks": 1,
    "num_visual_blocks": 2,
}
OMNIGEN: Config = {
    "hidden_size": 32,
    "num_layers": 2,
    "num_refiner_layers": 1,
    "num_attention_heads": 2,
    "num_kv_heads": 2,
    "multiple_of": 16,
    "axes_dim_rope": (4, 6, 6),
    "axes_lens": (300, 512, 512),
    "in_channels": 16,
}
HIDREAM_O1: Config = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 16,
    "rope_dims": [4, 2, 2],
}
HIDREAM_O1_VISION: Config = {"hidden_size": 32, "num_heads": 2, "intermediate_size": 48, "depth": 1, "num_position_embeddings": 16}
PIXEL_DIT: Config = {
    "num_groups": 2,
    "hidden_size": 32,
    "pixel_hidden_size": 8,
    "pixel_attn_hidden_size": 32,
    "pixel_num_groups": 2,
    "patch_depth": 2,
    "pixel_depth": 1,
    "patch_size": 8,
    "txt_embed_dim": 16,
    "txt_max_length": 32,
}
RADIANCE: Config = {
    "patch_size": 8,
    "nerf_hidden_size": 8,
    "nerf_mlp_ratio": 2,
    "nerf_depth": 2,
    "nerf_max_freqs": 4,
    "nerf_tile_size": 512,
    "nerf_final_head_type": "conv",
    "nerf_embedder_dtype": None,
    "use_x0": True,
    "use_sequential_txt_ids": False,
    "in_channels": 3,
    "out_channels": 3,
}
CHROMA: Config = {
    **{k: v for k, v in FLUX.items() if k not in ("guidance_embed", "yak_mlp", "txt_norm")},
    "in_channels": 64,
    "out_channels": 64,
    "in_dim": 64,
    "out_dim": 32,
    "hidden_dim": 32,
    "n_layers": 2,
    "vec_in_dim": None,
}

FAMILIES: dict[str, Family] = {
    "SD15": unet(),
    "SD20": unet(use_linear_in_transformer=True),
    "SD21UnclipL": unet(use_linear_in_transformer=True, num_classes="sequential", adm_in_channels=1536),
    "SD21UnclipH": unet(use_linear_in_transformer=True, num_classes="sequential", adm_in_channels=2048),
    "SDXL": sdxl(use_linear_in_transformer=True),
    "SDXLRefiner": unet(
        SDXL_UNET, use_linear_in_transformer=True, num_classes="sequential", adm_in_channels=1280 + 16, options={"pooled_output": (1, 16)}
    ),
    "SSD1B": sdxl(use_linear_in_transformer=True),
    "KOALA_700M": sdxl(use_linear_in_transformer=True),
    "KOALA_1B": sdxl(use_linear_in_transformer=True),
    "Segmind_Vega": sdxl(use_linear_in_transformer=True),
    "SD15_instructpix2pix": unet(in_channels=8),
    "SDXL_instructpix2pix": sdxl(use_linear_in_transformer=True, in_channels=8),
    "LotusD": unet(use_linear_in_transformer=True, num_classes="sequential", adm_in_channels=4),
    "Stable_Zero123": unet(in_channels=8, context_dim=768, tokens=772),
    "SD_X4Upscaler": unet(
        use_linear_in_transformer=True,
        in_channels=7,
        num_classes=1000,
        channel_mult=[1, 2, 2, 2],
        num_res_blocks=[1] * 4,
        transformer_depth=[1] * 4,
        transformer_depth_output=[1] * 8,
    ),
    "Stable_Cascade_C": Family(
        {"c_cond": 32, "c_hidden": [32, 32], "nhead": [2, 2], "blocks": [[1, 1], [1, 1]], "c_clip_text": 16, "c_clip_text_pooled": 16},
        {"blocks": [[8, 24], [24, 8]]},
        options=POOLED,
        group="StageC",
    ),
    "Stable_Cascade_B": Family(
        {
            "c_cond": 32,
            "c_hidden": [16, 32, 32, 32],
            "nhead": [-1, -1, 2, 2],
            "blocks": [[1, 1, 1, 1], [1, 1, 1, 1]],
            "block_repeat": [[1, 1, 1, 1], [1, 1, 1, 1]],
            "c_clip": 16,
        },
        {"blocks": [[2, 6, 28, 6], [6, 28, 6, 2]], "block_repeat": [[1, 1, 1, 1], [3, 3, 2, 2]]},
        options={"pooled_output": (1, 1, 16)},
        size=(32, 32),
        group="StageB",
    ),
    "SV3D_u": unet(use_linear_in_transformer=True, in_channels=8, adm_in_channels=256, **TEMPORAL),
    "SV3D_p": unet(use_linear_in_transformer=True, in_channels=8, adm_in_channels=1280, **TEMPORAL),
    "SVD_img2vid": unet(use_linear_in_transformer=True, in_channels=8, adm_in_channels=768, **TEMPORAL),
    "SD3": Family(
        {
            "depth": 2,
            "patch_size": 2,
            "out_channels": 16,
            "input_size": None,
            "adm_in_channels": 16,
            "pos_embed_max_size": 8,
            "num_patches": 64,
            "qk_norm": "rms",
            "context_embedder_config": {"target": "torch.nn.Linear", "params": {"in_features": 16, "out_features": 128}},
        },
        {"depth": 24, "context_embedder_config": {"target": "torch.nn.Linear", "params": {"in_features": 16, "out_features": 1536}}},
        options=POOLED,
        group="MMDiT",
    ),
    "AuraFlow": Family(
        {"dim": 32, "n_heads": 2, "n_layers": 2, "n_double_layers": 1, "cond_seq_dim": 16, "global_conddim": 32, "max_seq": 64},
        {"n_layers": 36, "n_double_layers": 4},
        group="AuraFlow",
    ),
    "PixArtAlpha": Family(
        {
            "num_heads": 2,
            "patch_size": 2,
            "hidden_size": 48,
            "in_channels": 4,
            "depth": 2,
            "pe_interpolation": 1,
            "caption_channels": 16,
            "micro_condition": True,
        },
        {"depth": 28},
        options={"width": 64, "height": 64},
        size=(64, 64),
        group="PixArtMS",
    ),
    "PixArtSigma": Family(
        {
            "num_heads": 2,
            "patch_size": 2,
            "hidden_size": 32,
            "in_channels": 4,
            "depth": 2,
            "pe_interpolation": 1,
            "caption_channels": 16,
            "micro_condition": False,
        },
        {"depth": 28},
        size=(64, 64),
        group="PixArtMS",
    ),
    "HunyuanDiT": Family(
        {"hidden_size": 32, "num_heads": 2, "depth": 2, "text_states_dim": 16, "text_states_dim_t5": 16, "text_len": 5, "text_len_t5": 5},
        {"depth": 40},
        options={"conditioning_mt5xl": (1, 5, 16), "attention_mask": "ones", "attention_mask_mt5xl": "ones"},
        group="HunYuanDiT",
    ),
    "HunyuanDiT1": Family(
        {
            "hidden_size": 32,
            "num_heads": 2,
            "depth": 2,
            "text_states_dim": 16,
            "text_states_dim_t5": 16,
            "text_len": 5,
            "text_len_t5": 5,
            "size_cond": True,
            "use_style_cond": True,
        },
        {"depth": 40},
        options={"conditioning_mt5xl": (1, 5, 16), "attention_mask": "ones", "attention_mask_mt5xl": "ones"},
        group="HunYuanDiT",
    ),
    "Flux": Family(FLUX, FLUX_DEEP, options=POOLED, group="Flux"),
    "FluxSchnell": Family({**FLUX, "guidance_embed": False}, FLUX_DEEP, options=POOLED, group="Flux"),
    "FluxInpaint": Family({**FLUX, "in_channels": 96}, FLUX_DEEP, options=POOLED, group="Flux"),
    "LongCatImage": Family({**FLUX, "guidance_embed": False, "vec_in_dim": None}, {"depth": 10, "depth_single_blocks": 20}, group="Flux"),
    "Flux2": Family(
        {
            **FLUX,
            "axes_dim": [4, 4, 4, 4],
            "in_channels": 128,
            "out_channels": 128,
            "patch_size": 1,
            "global_modulation": True,
            "mlp_silu_act": True,
            "qkv_bias": False,
            "ops_bias": False,
            "txt_ids_dims": [3],
            "vec_in_dim": None,
            "default_ref_method": "index",
            "ref_index_scale": 10.0,
        },
        {"depth": 8, "depth_single_blocks": 48},
        size=(4, 4),
        group="Flux2",
    ),
    "Lens": Family(
        {
            "num_layers": 2,
            "attention_head_dim": 16,
            "num_attention_heads": 2,
            "enc_hidden_dim": 16,
            "axes_dims_rope": (4, 6, 6),
            "multi_layer_encoder_feature": False,
            "selected_layer_index": (0,),
        },
        {"num_layers": 48},
        size=(4, 4),
        group="Lens",
    ),
    "GenmoMochi": Family(
        {
            "depth": 2,
            "patch_size": 2,
            "num_heads": 2,
            "hidden_size_x": 32,
            "hidden_size_y": 16,
            "mlp_ratio_x": 384.0,  # the network takes no other width than 12288 here
            "mlp_ratio_y": 2.0,
            "learn_sigma": False,
            "in_channels": 12,
            "qk_norm": True,
            "qkv_bias": False,
            "out_bias": True,
            "attn_drop": 0.0,
            "posenc_preserve_area": True,
            "use_t5": True,
            "t5_feat_dim": 16,
            "t5_token_length": 5,
            "timestep_scale": 1000.0,
            "attend_to_padding": False,
        },
        {"depth": 48},
        options={"attention_mask": "ones"},
        size=(2, 4, 4),
        group="Mochi",
    ),
    "LTXV": Family(LTX, {"num_layers": 28}, options={"attention_mask": "ones"}, size=(2, 4, 4), group="LTXV"),
    "LTXAV": Family(
        {
            **LTX,
            "audio_cross_attention_dim": 32,
            "audio_attention_head_dim": 16,
            "audio_num_attention_heads": 2,
            "connector_attention_head_dim": 16,
            "connector_num_attention_heads": 2,
            "connector_num_layers": 1,
        },
        {"num_layers": 48},
        context=(5, 32),
        options={"attention_mask": "ones"},
        size=(2, 4, 4),
        group="LTXAV",
        sound=(8, 3, 16),
    ),
    "MiniMaxH3": Family(
        {
            "hidden_size": 32,
            "num_layers": 2,
            "token_refiner_num_layers": 1,
            "num_attention_heads": 2,
            "attention_head_dim": 16,
            "ffn_hidden_size": 48,
            "text_dim": 16,
            "timestep_input_dim": 16,
            "time_embed_hidden_size": 16,
            "time_embed_dim": 16,
            "rope_inv_freq_len": 2,
        },
        {"num_layers": 50, "token_refiner_num_layers": 2},
        size=(2, 4, 4),
        group="MiniMaxH3",
        channels=24,
        sound=(32, 2, 5),
        alone=True,
    ),
    "HunyuanVideo": hunyuan(),
    "HunyuanVideoI2V": hunyuan(in_channels=33),
    "HunyuanVideoSkyreelsI2V": hunyuan(in_channels=32),
    "HunyuanVideo15": hunyuan(
        in_channels=65,
        out_channels=32,
        patch_size=[1, 1, 1],
        vision_in_dim=16,
        vec_in_dim=None,
        guidance_embed=False,
        byt5=True,
        use_cond_type_embedding=True,
        meanflow_sum=True,
        options={**POOLED, "conditioning_byt5small": (1, 5, 1472)},
    ),
    "HunyuanVideo15_SR_Distilled": hunyuan(
        in_channels=98,
        out_channels=32,
        patch_size=[1, 1, 1],
        vision_in_dim=16,
        vec_in_dim=None,
        guidance_embed=False,
        byt5=True,
        use_cond_type_embedding=True,
        meanflow_sum=True,
        options={**POOLED, "conditioning_byt5small": (1, 5, 1472)},
    ),
    "HunyuanImage21": hunyuan(
        in_channels=64,
        out_channels=64,
        patch_size=[1, 1],
        axes_dim=[8, 8],
        vec_in_dim=None,
        byt5=True,
        meanflow=True,
        size=(4, 4),
        options={**POOLED, "conditioning_byt5small": (1, 5, 1472)},
    ),
    "HunyuanImage21Refiner": hunyuan(in_channels=128, out_channels=64, patch_size=[1, 1, 1], vec_in_dim=None, options={}),
    "CosmosT2V": Family(COSMOS1, {"num_blocks": 28}, size=(2, 4, 4), group="Cosmos"),
    "CosmosI2V": Family({**COSMOS1, "in_channels": 17}, {"num_blocks": 28}, size=(2, 4, 4), group="Cosmos"),
    "CosmosT2IPredict2": Family(COSMOS2, {"num_blocks": 28}, size=(1, 4, 4), group="CosmosPredict2"),
    "CosmosI2VPredict2": Family({**COSMOS2, "in_channels": 17}, {"num_blocks": 28}, size=(2, 4, 4), group="CosmosPredict2"),
    "Anima": Family({**COSMOS2, "crossattn_emb_channels": 1024}, {"num_blocks": 28}, context=(5, 1024), size=(1, 4, 4), group="Anima"),
    "Lumina2": Family(LUMINA, {"n_layers": 26}, group="Lumina2"),
    "ZImage": Family(Z_IMAGE, {"n_layers": 30}, group="Lumina2"),
    "ZImagePixelSpace": Family(
        {
            **Z_IMAGE,
            "patch_size": 8,
            "in_channels": 3,
            "decoder_in_channels": 192,
            "decoder_hidden_size": 16,
            "decoder_num_res_blocks": 2,
            "decoder_max_freqs": 4,
            "use_x0": True,
        },
        {"n_layers": 30, "decoder_num_res_blocks": 4},
        size=(16, 16),
        group="ZImagePixelSpace",
    ),
    "PixelDiTT2I": Family(PIXEL_DIT, {"patch_depth": 14, "pixel_depth": 2}, size=(16, 16), group="PixelDiT"),
    "PiD": Family(
        {
            **PIXEL_DIT,
            "lq_hidden_dim": 8,
            "lq_num_res_blocks": 1,
            "patch_size": 16,
            "lq_latent_channels": 16,
            "latent_spatial_down_factor": 8,
        },
        {"patch_depth": 14, "pixel_depth": 2, "lq_num_res_blocks": 4},
        options={"lq_latent": (1, 16, 1, 1), "degrade_sigma": (1,)},
        size=(32, 32),
        group="PiD",
    ),
    "WAN21_T2V": wan(),
    "WAN21_CausalAR_T2V": wan("CausalWan"),
    "WAN21_I2V": wan(in_dim=36, deep={"num_layers": 40}),
    "WAN21_FunControl2V": wan(in_dim=48),
    "WAN21_Camera": wan("CameraWan", in_dim=32),
    "WAN22_Camera": wan("CameraWan", in_dim=36),
    "WAN21_Vace": wan("VaceWan", vace_layers=2, vace_in_dim=96, deep={"num_layers": 30, "vace_layers": 15}),
    "WAN21_HuMo": wan("HumoWan", audio_token_num=4),
    "WAN22_S2V": wan("S2VWan", audio_dim=8, num_audio_token=2, audio_inject_layers=[0, 1]),
    "WAN22_Animate": wan("AnimateWan", in_dim=36, motion_encoder_dim=16),
    "WAN22_T2V": wan(in_dim=48, out_dim=48),
    "WAN21_SCAIL": wan("SCAILWan", in_dim=20),
    "WAN21_SCAIL2": wan("SCAILWan", in_dim=20),
    "WAN22_WanDancer": wan("WanDancer", in_dim=36, audio_inject_layers=[0, 1], music_dim=16, music_heads=2, music_latent_dim=16),
    "HiDream": Family(
        {
            "attention_head_dim": 16,
            "axes_dims_rope": [8, 4, 4],
            "caption_channels": [16, 16],
            "max_resolution": [16, 16],
            "in_channels": 16,
            "llama_layers": [0, 1, 1],
            "num_attention_heads": 2,
            "num_routed_experts": 2,
            "num_activated_experts": 1,
            "num_layers": 1,
            "num_single_layers": 1,
            "out_channels": 16,
            "patch_size": 2,
            "text_emb_dim": 16,
        },
        {"num_layers": 16, "num_single_layers": 32, "llama_layers": [*range(32), *[1] * 16]},
        options={**POOLED, "conditioning_llama3": (1, 32, 5, 16)},
        group="HiDream",
    ),
    "HiDreamO1": Family(
        {"text_config_overrides": HIDREAM_O1, "vision_config_overrides": HIDREAM_O1_VISION},
        {"text_config_overrides": {**HIDREAM_O1, "num_hidden_layers": 36}},
        options={"text_input_ids": [11, 12, 13, 14, 151673]},  # the last is the token that stands for the time step
        size=(64, 64),
        group="HiDreamO1",
    ),
    "Chroma": Family(CHROMA, {**FLUX_DEEP, "n_layers": 5}, group="Chroma"),
    "ChromaRadiance": Family({**CHROMA, **RADIANCE}, {**FLUX_DEEP, "n_layers": 5, "nerf_depth": 4}, size=(16, 16), group="ChromaRadiance"),
    "SeedVR2": Family(
        {
            "vid_dim": 64,
            "heads": 2,
            "head_dim": 32,
            "num_layers": 2,
            "mm_layers": 1,
            "norm_eps": 1e-5,
            "mlp_type": "swiglu",
            "vid_out_norm": True,
            "txt_in_dim": 16,
            "rope_dim": 24,
        },
        {"num_layers": 32, "mm_layers": 10},
        options={"condition": (1, 17, 2, 4, 4)},
        size=(2, 4, 4),
        group="SeedVR2",
    ),
    "Omnigen2": Family(
        {**OMNIGEN, "text_feat_dim": 16, "timestep_scale": 1000.0},
        {"num_layers": 32, "num_refiner_layers": 2},
        options={"attention_mask": "ones"},
        group="Omnigen2",
    ),
    "Boogu": Family(
        {**OMNIGEN, "num_double_stream_layers": 1, "instruction_feat_dim": 16},
        {"num_layers": 32, "num_double_stream_layers": 8, "num_refiner_layers": 2},
        options={"attention_mask": "ones"},
        group="Boogu",
    ),
    "MageFlow": Family(
        {"num_layers": 2, "attention_head_dim": 16, "num_attention_heads": 2, "joint_attention_dim": 16, "axes_dims_rope": (4, 6, 6)},
        {"num_layers": 12},
        size=(4, 4),
        group="MageFlow",
    ),
    "QwenImage": Family(
        {"num_layers": 2, "attention_head_dim": 16, "num_attention_heads": 2, "joint_attention_dim": 16, "axes_dims_rope": (4, 6, 6)},
        {"num_layers": 60},
        size=(1, 8, 8),
        group="QwenImage",
    ),
    "JoyImage": Family(
        {
            "in_channels": 16,
            "hidden_size": 32,
            "patch_size": [1, 2, 2],
            "num_layers": 2,
            "num_attention_heads": 2,
            "text_dim": 16,
            "rope_dim_list": [4, 6, 6],
        },
        {"num_layers": 20},
        size=(1, 8, 8),
        group="JoyImage",
    ),
    "Ideogram4": Family(
        {
            "in_channels": 128,
            "num_layers": 2,
            "num_attention_heads": 2,
            "attention_head_dim": 16,
            "intermediate_size": 48,
            "adaln_dim": 16,
            "llm_features_dim": 16,
            "mrope_section": [4, 2, 2],
        },
        {"num_layers": 34},
        size=(4, 4),
        group="Ideogram4",
    ),
    "Krea2": Family(
        {
            "features": 32,
            "tdim": 16,
            "txtdim": 16,
            "heads": 2,
            "kvheads": 2,
            "multiplier": 2,
            "layers": 2,
            "txtlayers": 2,
            "txtheads": 2,
            "txtkvheads": 2,
        },
        {"layers": 28},
        context=(5, 32),
        size=(1, 8, 8),
        group="Krea2",
    ),
    "Kandinsky5": Family(
        {**KANDINSKY, "visual_embed_dim": 132},
        {"num_visual_blocks": 32, "num_text_blocks": 2},
        options=POOLED,
        size=(2, 4, 4),
        group="Kandinsky5",
    ),
    "Kandinsky5Image": Family(
        {**KANDINSKY, "visual_embed_dim": 64, "axes_dims": (4, 6, 6)},
        {"num_visual_blocks": 50, "num_text_blocks": 2},
        options=POOLED,
        group="Kandinsky5",
    ),
    "ErnieImage": Family(
        {
            "hidden_size": 32,
            "num_attention_heads": 2,
            "num_layers": 2,
            "ffn_hidden_size": 48,
            "text_in_dim": 16,
            "rope_axes_dim": (4, 6, 6),
        },
        {"num_layers": 36},
        size=(4, 4),
        group="ErnieImage",
    ),
    "CogVideoX_T2V": Family(COGVIDEO, {"num_layers": 30}, size=(2, 4, 4), group="CogVideoX"),
    "CogVideoX_I2V": Family({**COGVIDEO, "in_channels": 32}, {"num_layers": 30}, size=(2, 4, 4), group="CogVideoX"),
    "CogVideoX_Inpaint": Family({**COGVIDEO, "in_channels": 48}, {"num_layers": 30}, size=(2, 4, 4), group="CogVideoX"),
}
NOT_IMAGES = {
    "StableAudio": "audio",
    "StableAudio3": "audio",
    "ACEStep": "audio",
    "ACEStep15": "audio",
    "Hunyuan3Dv2": "3D shapes",
    "Hunyuan3Dv2_1": "3D shapes",
    "Hunyuan3Dv2mini": "3D shapes",
    "TripoSplat": "3D Gaussians",
    "RT_DETR_v4": "object detection",
    "SAM3": "segmentation",
    "SAM31": "segmentation",
    "DepthAnything3": "depth estimation",
}
# Image and video models without a row in the table, and why.
NOT_MEASURED = {
    "WAN21_FlowRVS": "it uses no noise: refused with a sentence",
}
