"""ImageReward against numbers of the original package, and what it does with files that do not fit."""

import hashlib
import json
import math

import numpy as np
import pytest
import torch
from PIL import Image

from g2rpo.rewards.blip import renamed, vision_size
from g2rpo.rewards.image_reward import load_image_reward, preprocess
from g2rpo.rewards.protocol import Reward

WIDTH, DEPTH = 128, 2
CONFIG = {
    "architectures": ["BertModel"],
    "attention_probs_dropout_prob": 0.1,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1,
    "hidden_size": 64,
    "initializer_range": 0.02,
    "intermediate_size": 96,
    "layer_norm_eps": 1e-12,
    "max_position_embeddings": 64,
    "model_type": "bert",
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
    "pad_token_id": 0,
    "type_vocab_size": 2,
    "vocab_size": 21,
    "encoder_width": 128,
    "add_cross_attention": True,
}
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = [*SPECIAL, "a", "red", "blue", "fox", "in", "the", "snow", "##y", "cafe", "&", "amp", ";", ",", "."]
TEXTS = ["a red fox in the snow", "Blue café, snowy & red.", "fox " * 60]
SIZES = [(224, 224), (160, 240), (336, 200)]
# a row a picture, a column a text, by image-reward 1.5 (PyPI) with transformers 4.27.4 and timm 0.6.13: its own
# ImageReward.score with its tokenizer and preprocessing, its ViT made small, the weights those of `weights` below
ORIGINAL = [
    [-10.679340362548828, -10.219525337219238, -10.950490951538086],
    [-10.58305835723877, -10.585775375366211, -10.8716459274292],
    [-9.486437797546387, -9.307635307312012, -9.63444995880127],
]


def shapes():
    """The names and shapes of the original's state dict."""
    text, inner, vision = CONFIG["hidden_size"], CONFIG["intermediate_size"], "blip.visual_encoder"
    linear = {"blip.vision_proj": (256, WIDTH), "blip.text_proj": (256, text)}
    norms = {f"{vision}.norm": WIDTH, "blip.text_encoder.embeddings.LayerNorm": text}
    for block in (f"{vision}.blocks.{number}" for number in range(DEPTH)):
        norms |= {f"{block}.norm1": WIDTH, f"{block}.norm2": WIDTH}
        linear |= {f"{block}.attn.qkv": (3 * WIDTH, WIDTH), f"{block}.attn.proj": (WIDTH, WIDTH)}
        linear |= {f"{block}.mlp.fc1": (4 * WIDTH, WIDTH), f"{block}.mlp.fc2": (WIDTH, 4 * WIDTH)}
    for layer in (f"blip.text_encoder.encoder.layer.{number}" for number in range(CONFIG["num_hidden_layers"])):
        for attention, seen in (("attention", text), ("crossattention", WIDTH)):
            linear |= {f"{layer}.{attention}.self.query": (text, text), f"{layer}.{attention}.self.key": (text, seen)}
            linear |= {
                f"{layer}.{attention}.self.value": (text, seen),
                f"{layer}.{attention}.output.dense": (text, text),
            }
            norms |= {f"{layer}.{attention}.output.LayerNorm": text}
        linear |= {f"{layer}.intermediate.dense": (inner, text), f"{layer}.output.dense": (text, inner)}
        norms |= {f"{layer}.output.LayerNorm": text}
    head = (text, 1024, 128, 64, 16, 1)
    linear |= {f"mlp.layers.{n}": (head[i + 1], head[i]) for i, n in enumerate((0, 2, 4, 6, 7))}
    return {
        f"{vision}.cls_token": (1, 1, WIDTH),
        f"{vision}.pos_embed": (1, 14 * 14 + 1, WIDTH),
        f"{vision}.patch_embed.proj.weight": (WIDTH, 3, 16, 16),
        f"{vision}.patch_embed.proj.bias": (WIDTH,),
        "blip.text_encoder.embeddings.word_embeddings.weight": (CONFIG["vocab_size"], text),
        "blip.text_encoder.embeddings.position_embeddings.weight": (CONFIG["max_position_embeddings"], text),
        **{f"{name}.{kind}": (size,) for name, size in norms.items() for kind in ("weight", "bias")},
        **{f"{name}.weight": shape for name, shape in linear.items()},
        **{f"{name}.bias": shape[:1] for name, shape in linear.items()},
    }


def weights(name, shape):
    """Numbers that follow from the name, as the original was given them."""
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big")
    values = torch.from_numpy(np.random.RandomState(seed).standard_normal(shape)).float()
    if "norm" in name.lower() and name.endswith("weight"):
        return 1 + 0.1 * values
    return values * (0.5 if len(shape) < 2 else 1.5 * math.prod(shape[1:]) ** -0.5)


def pictures():
    random = np.random.RandomState(7)
    coarse = [random.randint(0, 256, (height // 8, width // 8, 3), dtype=np.uint8) for height, width in SIZES]
    return [torch.from_numpy(array.repeat(8, 0).repeat(8, 1)).permute(2, 0, 1)[None] / 255 for array in coarse]


def state_dict():
    state = {name: weights(name, shape) for name, shape in shapes().items()}
    return state | {"blip.text_encoder.embeddings.position_ids": torch.arange(64)[None]}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("image_reward")
    torch.save(state_dict(), folder / "ImageReward.pt")
    (folder / "med_config.json").write_text(json.dumps(CONFIG))
    (folder / "bert").mkdir()
    (folder / "bert" / "vocab.txt").write_text("\n".join(WORDS) + "\n")
    return {
        "weights": folder / "ImageReward.pt",
        "config": folder / "med_config.json",
        "tokenizer": folder / "bert",
        "device": "cpu",
    }


@pytest.fixture(scope="module")
def reward(files):
    return load_image_reward("image_reward", **files)


@pytest.mark.parametrize("number", range(len(SIZES)))
def test_it_scores_as_the_original_package(reward, number):
    scores = reward.score(pictures()[number].expand(len(TEXTS), -1, -1, -1), TEXTS)
    assert scores.tolist() == pytest.approx(ORIGINAL[number], abs=2e-5)


def test_a_row_is_scored_alike_alone_and_in_a_batch(reward):
    images = torch.cat([pictures()[0], pictures()[0].flip(2)])
    together = reward.score(images, TEXTS[:2])
    assert together[1].item() == pytest.approx(reward.score(images[1:], TEXTS[1:2]).item(), abs=1e-5)
    assert together[1] != reward.score(images[:1], TEXTS[1:2])


def test_it_is_a_frozen_reward_in_its_own_units(reward):
    scores = reward.score(pictures()[0].requires_grad_(), TEXTS[:1])
    assert isinstance(reward, Reward)
    assert (reward.name, scores.dtype, scores.requires_grad) == ("image_reward", torch.float32, False)
    assert not any(parameter.requires_grad for parameter in reward.module.parameters())
    assert not any(module.training for module in reward.module.modules())


def test_only_the_first_35_tokens_are_read(reward):
    ends = ["fox " * 33 + "red", "fox " * 33 + "blue", "fox " * 32 + "red", "fox " * 32 + "blue"]
    one, two, three, four = reward.score(pictures()[0].expand(4, -1, -1, -1), ends).tolist()
    assert one == two
    assert three != four


@pytest.mark.parametrize(
    ("size", "box"), [((448, 224), (112, 0, 336, 224)), ((224, 336), (0, 56, 224, 280)), ((227, 224), (2, 0, 226, 224))]
)
def test_preprocessing_cuts_the_middle_of_the_longer_side(size, box):
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))
    assert torch.equal(preprocess(picture), preprocess(picture.crop(box)))


def test_a_white_picture_is_normalised_by_the_numbers_of_clip():
    white = preprocess(Image.new("RGB", (300, 500), "white"))
    assert white.shape == (3, 224, 224)
    assert white[:, 5, 7].tolist() == pytest.approx([1.930336, 2.074884, 2.145900], abs=1e-5)


def test_the_full_size_is_read_from_the_state_dict():
    names = {f"visual_encoder.blocks.{number}.norm1.bias": torch.zeros(1) for number in range(24)}
    assert vision_size(names | {"visual_encoder.cls_token": torch.zeros(1, 1, 1024)}) == (1024, 24)


def test_what_only_training_used_is_left_out():
    assert renamed({"vision_proj.weight": torch.zeros(1), "text_encoder.embeddings.position_ids": torch.zeros(1)}) == {}


def test_too_few_texts_are_refused(reward):
    with pytest.raises(ValueError, match="got 1 pictures and 3 texts"):
        reward.score(pictures()[0], TEXTS)


@pytest.mark.parametrize("file", ["weights", "config", "tokenizer"])
def test_a_missing_file_is_refused_by_name(files, tmp_path, file):
    with pytest.raises(ValueError, match=r"(required|must be).*nothing_here"):
        load_image_reward("image_reward", **files | {file: tmp_path / "nothing_here"})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda state: {"visual.proj": state["blip.vision_proj.bias"]},
            "blip.visual_encoder.cls_token.*got visual.proj",
        ),
        (lambda state: {name: value for name, value in state.items() if name[:3] != "mlp"}, r"mlp\.layers\.0\.weight"),
        (lambda state: state | {"mlp.layers.7.bias": torch.zeros(3)}, r"mlp\.layers\.7\.bias"),
        (lambda state: state | {"blip.text_encoder.pooler.dense.bias": torch.zeros(3)}, r"text\.pooler\.dense\.bias"),
    ],
)
def test_weights_that_do_not_fit_are_refused(files, tmp_path, change, message):
    torch.save(change(state_dict()), tmp_path / "other.pt")
    with pytest.raises(ValueError, match=message):
        load_image_reward("image_reward", **files | {"weights": tmp_path / "other.pt"})


@pytest.mark.parametrize("key", ["intermediate_size", "max_position_embeddings"])
def test_a_configuration_of_a_far_larger_network_than_the_weights_takes_no_memory(files, tmp_path, key):
    (tmp_path / "med_config.json").write_text(json.dumps(CONFIG | {key: 10**9}))
    with pytest.raises(ValueError, match=r"Weights of [0-9,]{14,} numbers are required by .*med_config.json, got"):
        load_image_reward("image_reward", **files | {"config": tmp_path / "med_config.json"})


def test_weights_that_would_run_code_are_refused(files, tmp_path):
    torch.save({"blip": pytest.approx}, tmp_path / "code.pt")
    with pytest.raises(ValueError, match="code.pt"):
        load_image_reward("image_reward", **files | {"weights": tmp_path / "code.pt"})


def test_a_tokenizer_with_other_words_is_refused(files, tmp_path):
    (tmp_path / "vocab.txt").write_text("\n".join([*WORDS, "dragon"]) + "\n")
    with pytest.raises(ValueError, match="21 words.*got 22.*bert-base-uncased"):
        load_image_reward("image_reward", **files | {"tokenizer": tmp_path})


@pytest.mark.parametrize(("text", "message"), [("{", "JSON is required in"), ("{}", "must have vocab_size")])
def test_a_configuration_that_says_too_little_is_refused(files, tmp_path, text, message):
    (tmp_path / "med_config.json").write_text(text)
    with pytest.raises(ValueError, match=message):
        load_image_reward("image_reward", **files | {"config": tmp_path / "med_config.json"})
