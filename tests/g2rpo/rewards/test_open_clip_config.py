"""open_clip_config.json: what it leaves out is the package's default, and what is no plain CLIP is refused.

The keys and defaults are those of CLIPVisionCfg, CLIPTextCfg and PreprocessCfg of open_clip_torch 3.3.0.
"""

import json
from pathlib import Path

import pytest
from tiny_clip import SIDE, pictures
from tiny_open_clip import load, write

from g2rpo.rewards.open_clip_config import read_open_clip

TOWER = {
    "mlp_ratio": 4.0,
    "ls_init_value": None,
    "final_ln_after_pool": False,
    "output_tokens": False,
    "act_kwargs": None,
    "norm_kwargs": None,
    "block_type": None,
    "qk_norm": False,
    "scaled_cosine_attn": False,
    "scale_heads": False,
    "scale_attn_inner": False,
    "scale_attn": False,
    "scale_fc": False,
}
VISION = TOWER | {
    "patch_dropout": 0.0,
    "attentional_pool": False,
    "attn_pooler_queries": 256,
    "attn_pooler_heads": 8,
    "no_ln_pre": False,
    "pos_embed_type": "learnable",
    "pool_type": "tok",
    "timm_model_name": None,
    "timm_model_pretrained": False,
    "timm_pool": "avg",
    "timm_proj": "linear",
    "timm_proj_bias": False,
    "timm_drop": 0.0,
    "timm_drop_path": None,
}
TEXT = TOWER | {
    "hf_tokenizer_name": None,
    "tokenizer_mode": None,
    "tokenizer_kwargs": None,
    "embed_cls": False,
    "pad_id": 0,
    "eos_id": 2,
    "no_causal_mask": False,
    "pool_type": "argmax",
    "proj_bias": False,
    "proj_type": "linear",
    "hf_model_name": None,
    "hf_model_pretrained": True,
    "hf_proj_type": "mlp",
    "hf_pooler_type": "mean_pooler",
}
CLIP = {
    "quick_gelu": False,
    "custom_text": False,
    "init_logit_scale": 2.6592,
    "init_logit_bias": None,
    "nonscalar_logit_scale": False,
    "output_dict": False,
}
PICTURES = {"size": [SIDE, SIDE], "mode": "RGB", "interpolation": None, "resize_mode": "shortest", "fill_color": 0}
SPELLED = (
    {f"model_cfg.vision_cfg.{key}": value for key, value in VISION.items()}
    | {f"model_cfg.text_cfg.{key}": value for key, value in TEXT.items()}
    | {f"model_cfg.{key}": value for key, value in CLIP.items()}
    | {f"preprocess_cfg.{key}": value for key, value in PICTURES.items()}
    | {"preprocess_cfg.mean": None, "preprocess_cfg.std": None}
)


def test_the_packages_defaults_may_be_spelled_out(tmp_path: Path):
    images = pictures(24, 41)
    bare = load(write(tmp_path / "bare")).score(images, ["the red cat"])
    spelled = load(write(tmp_path / "spelled", **SPELLED)).score(images, ["the red cat"])
    assert spelled.tolist() == bare.tolist()


def test_what_is_not_told_is_the_packages_default(tmp_path: Path):
    bare = {"model_cfg": {"embed_dim": 512, "vision_cfg": {}, "text_cfg": {}}}
    (tmp_path / "open_clip_config.json").write_text(json.dumps(bare))
    config = read_open_clip(tmp_path).config
    text, vision = config.text_config, config.vision_config
    assert (text.max_position_embeddings, text.vocab_size, text.eos_token_id) == (77, 49408, 49407)
    for tower, width, heads in ((text, 512, 8), (vision, 768, 12)):
        assert (tower.hidden_size, tower.intermediate_size) == (width, 4 * width)
        assert (tower.num_attention_heads, tower.num_hidden_layers, tower.hidden_act) == (heads, 12, "gelu")
    assert (vision.image_size, vision.patch_size, config.projection_dim) == (224, 16, 512)


def test_a_fraction_of_the_hidden_width_is_cut_off(tmp_path: Path):
    big = {"width": 1664, "head_width": 104, "mlp_ratio": 4.9231}  # of ViT-bigG-14
    config = read_open_clip(write(tmp_path, **{f"model_cfg.vision_cfg.{key}": value for key, value in big.items()}))
    assert config.config.vision_config.intermediate_size == 8192
    assert config.config.vision_config.num_attention_heads == 16


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("model_cfg.text_cfg.hf_model_name", "xlm-roberta-base"),
        ("model_cfg.text_cfg.no_causal_mask", True),
        ("model_cfg.text_cfg.pool_type", "last"),
        ("model_cfg.text_cfg.embed_cls", True),
        ("model_cfg.text_cfg.proj_type", "none"),
        ("model_cfg.text_cfg.proj_bias", True),
        ("model_cfg.text_cfg.tokenizer_kwargs", {"clean": "canonicalize"}),
        ("model_cfg.text_cfg.tokenizer_mode", "clips"),
        ("model_cfg.text_cfg.norm_kwargs", {"eps": 1e-6}),
        ("model_cfg.text_cfg.future", 1),
        ("model_cfg.vision_cfg.timm_model_name", "vit_base"),
        ("model_cfg.vision_cfg.layers", [3, 4, 6, 3]),
        ("model_cfg.vision_cfg.pool_type", "avg"),
        ("model_cfg.vision_cfg.attentional_pool", True),
        ("model_cfg.vision_cfg.pos_embed_type", "sin_cos_2d"),
        ("model_cfg.vision_cfg.no_ln_pre", True),
        ("model_cfg.vision_cfg.final_ln_after_pool", True),
        ("model_cfg.vision_cfg.ls_init_value", 1e-5),
        ("model_cfg.vision_cfg.act_kwargs", {"approximate": "tanh"}),
        ("model_cfg.vision_cfg.block_type", "custom"),
        ("model_cfg.vision_cfg.qk_norm", True),
        ("model_cfg.vision_cfg.scale_fc", True),
        ("model_cfg.vision_cfg.image_size", [32, 48]),
        ("model_cfg.custom_text", True),
        ("model_cfg.init_logit_bias", -10),
        ("model_cfg.quick_gelu", "yes"),
        ("model_cfg.embed_dim", 0),
        ("model_cfg.multimodal_cfg", {"width": 512}),
        ("preprocess_cfg.resize_mode", "longest"),
        ("preprocess_cfg.interpolation", "random"),
        ("preprocess_cfg.mode", "L"),
        ("preprocess_cfg.mean", [0.5]),
        ("preprocess_cfg.std", [0.5, 0.0, 0.5]),
        ("preprocess_cfg.crop", 0.9),
    ],
)
def test_what_is_no_plain_clip_is_refused_by_the_key(path: str, value: object, tmp_path: Path):
    with pytest.raises(ValueError, match=rf"plain CLIP is required in .*, got {path}[ .].*Name the folder"):
        load(write(tmp_path, **{path: value}))


@pytest.mark.parametrize(("path", "value"), [("text_cfg.heads", 3), ("vision_cfg.head_width", 12)])
def test_a_head_that_is_not_whole_is_refused(path: str, value: int, tmp_path: Path):
    with pytest.raises(ValueError, match=rf"should be a multiple of {path.split('.')[1]} {value}.*Name the folder"):
        load(write(tmp_path, **{f"model_cfg.{path}": value}))


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"model_cfg": null}'])
def test_a_config_that_is_none_is_refused(content: str, tmp_path: Path):
    (write(tmp_path) / "open_clip_config.json").write_text(content)
    with pytest.raises(ValueError, match="open_clip_config.json of a plain CLIP is required in"):
        load(tmp_path)
