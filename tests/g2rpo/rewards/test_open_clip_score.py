"""CLIP score of a folder in open_clip's format says what the real package says.

The golden cosines are those of open_clip_torch 3.3.0 in fp32 (its own network, pictures and tokenizer, read from such a
folder; torchvision 0.28.0, Pillow 13.0.0, torch 2.13.0) on the weights of tiny_clip.open_clip_state(), with its
tokenizer given tiny_clip.MERGES. At the real size, ViT-H-14-quickgelu with random weights and squashed pictures, the
two agreed to 7e-8; with the whole vocabulary the tokens of 5,000 texts were equal, by either of its tokenizers.
"""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from tiny_clip import VOCABULARY, WIDTHS, Touch, open_clip_state, pictures, weight, write_clip
from tiny_open_clip import load, write
from transformers import BertTokenizer

from g2rpo.rewards.open_clip_format import MEAN, STD, open_clip_pixels

TEXTS = (
    "the red cat",
    "Caf&eacute;, the CAT&amp;#39;s &amp;amp;amp; cr&egrave;me",
    "schÃ¶n —  “the ΟΔΟΣ”\n🐈",  # its last letter is another by open_clip's own tokenizer than by transformers'
    "the red cat and another circle, " * 6,  # more than 77 tokens
)
QUICK = {"model_cfg.quick_gelu": True}
SQUASH = {"mean": list(MEAN), "std": list(STD), "interpolation": "bicubic", "resize_mode": "squash"}
OTHER = {"mean": [0.5, 0.4, 0.6], "std": [0.25, 0.5, 0.3], "interpolation": "bilinear"}
TOLD: dict[str, dict[str, object]] = {
    "squash": QUICK | {"preprocess_cfg": SQUASH},
    "default": {},
    "other": QUICK | {"preprocess_cfg": OTHER, "model_cfg.text_cfg.hf_tokenizer_name": "openai/clip-vit-large-patch14"},
}
GOLDEN = {
    ("squash", (40, 40)): [0.0088127, 0.0499397, -0.3115651, -0.2174005],
    ("squash", (24, 41)): [-0.0259975, 0.0072781, -0.2791611, -0.2192807],
    ("squash", (50, 30)): [-0.0177507, 0.0704678, -0.2676942, -0.1791094],
    ("squash", (16, 16)): [0.0861988, 0.2033770, -0.3510185, -0.1607569],
    ("default", (40, 40)): [0.0074919, 0.0481920, -0.3128926, -0.2190580],
    ("default", (24, 41)): [-0.0548843, 0.0157154, -0.1636181, -0.1468573],
    ("default", (50, 30)): [-0.0390629, 0.0095446, -0.2335385, -0.1808247],
    ("default", (16, 16)): [0.0854267, 0.2034487, -0.3550549, -0.1604002],
    ("other", (40, 40)): [-0.0850413, -0.0730278, -0.2450459, -0.2710051],
    ("other", (24, 41)): [-0.0921343, -0.0769613, -0.1608295, -0.1978007],
    ("other", (50, 30)): [-0.0815359, -0.0926572, -0.2219629, -0.2174573],
    ("other", (16, 16)): [0.0749707, 0.1584383, -0.2185876, -0.1643499],
}


def scores(folder: Path, size: tuple[int, int] = (24, 41)) -> list[float]:
    return load(folder).score(pictures(*size).expand(4, -1, -1, -1), TEXTS).tolist()


def pixels(images: torch.Tensor, side: int, squash: bool) -> torch.Tensor:
    resample = Image.Resampling.BICUBIC
    return open_clip_pixels(images, side=side, squash=squash, resample=resample, mean=(0.0,) * 3, std=(1.0,) * 3)


@pytest.mark.parametrize("name", TOLD)
def test_the_score_is_that_of_the_real_package(name: str, tmp_path: Path):
    reward = load(write(tmp_path, **TOLD[name]))
    assert reward.name == "clip_score"
    for size in (size for case, size in GOLDEN if case == name):
        got = reward.score(pictures(*size).expand(4, -1, -1, -1), TEXTS)
        torch.testing.assert_close(got, torch.tensor(GOLDEN[name, size]), atol=1e-6, rtol=0)


def test_a_squashed_picture_is_all_there_and_a_cropped_one_is_its_middle():
    stripes = torch.zeros(1, 3, 8, 16)
    stripes[..., :4] = 1.0  # a white bar left, as wide as a quarter
    assert pixels(stripes, 8, squash=True)[0, 0, 0].gt(0.5).tolist() == [True] * 2 + [False] * 6
    assert pixels(stripes, 8, squash=False)[0, 0, 0].gt(0.5).tolist() == [False] * 8
    assert pixels(stripes.mT, 8, squash=True)[0, 0, :, 0].gt(0.5).tolist() == [True] * 2 + [False] * 6


def test_an_odd_margin_is_halved_to_the_even_number():
    row = torch.arange(7.0).expand(1, 3, 4, 7) / 255  # a margin of 3 around 4: 1.5, so 2 left of it
    assert (pixels(row, 4, squash=False)[0, 0, 0] * 255).tolist() == [2.0, 3.0, 4.0, 5.0]


def test_safetensors_win_and_half_precision_is_read(tmp_path: Path):
    folder = write(tmp_path)
    (folder / "open_clip_pytorch_model.bin").write_bytes(b"junk")
    save_file({name: value.half() for name, value in open_clip_state().items()}, folder / "open_clip_model.safetensors")
    reward = load(folder)
    assert {(value.dtype, value.requires_grad) for value in reward.module.parameters()} == {(torch.float32, False)}
    assert scores(folder) == pytest.approx(GOLDEN["default", (24, 41)], abs=5e-3)


def test_of_both_formats_that_of_open_clip_is_read(tmp_path: Path):
    folder = write(write_clip(tmp_path, "quick_gelu"))
    assert scores(folder) == pytest.approx(GOLDEN["default", (24, 41)], abs=1e-6)
    whole = scores(folder)
    (folder / "open_clip_pytorch_model.bin").unlink()
    assert scores(folder) != pytest.approx(whole, abs=1e-2)


def test_weights_of_open_clip_without_its_config_are_not_guessed_at(tmp_path: Path):
    folder = write(write_clip(tmp_path))
    for name in ("open_clip_config.json", "model.safetensors"):
        (folder / name).unlink()
    with pytest.raises(ValueError, match="transformers' format.*open_clip weights only"):
        load(folder)


def scaled(state: dict[str, torch.Tensor]) -> None:
    state["visual.transformer.resblocks.0.ls_1.gamma"] = torch.ones(WIDTHS["vision"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("visual.proj"), "missing: visual_projection.weight"),
        (scaled, r"ls_1.gamma \(1 unknown of 63\).*a plain CLIP of open_clip"),
        (lambda state: state.update(logit_scale=torch.ones(1)), "of another shape: logit_scale"),
        (lambda state: state.update(positional_embedding=weight("p", (12, 16))), r"position_embedding.weight \(12, 16"),
    ],
)
def test_weights_that_do_not_fit_the_config_are_refused(
    change: Callable[[dict[str, torch.Tensor]], object], message: str, tmp_path: Path
):
    state = open_clip_state()
    change(state)
    torch.save(state, write(tmp_path) / "open_clip_pytorch_model.bin")
    with pytest.raises(ValueError, match=message):
        load(tmp_path)


@pytest.mark.parametrize(
    "key", ["text_cfg.vocab_size", "text_cfg.context_length", "embed_dim", "vision_cfg.image_size"]
)
def test_a_config_of_a_far_larger_network_than_the_weights_takes_no_memory(key: str, tmp_path: Path):
    folder = write(tmp_path, **{f"model_cfg.{key}": 10**9})
    with pytest.raises(ValueError, match=r"Weights of [0-9,]{14,} numbers are required by the CLIP in the config, got"):
        load(folder)


def test_weights_that_would_run_code_are_refused_and_not_run(tmp_path: Path):
    torch.save({"logit_scale": Touch(tmp_path / "run")}, write(tmp_path) / "open_clip_pytorch_model.bin")
    with pytest.raises(ValueError, match="cannot be read as one"):
        load(tmp_path)
    assert not (tmp_path / "run").exists()


def test_a_tokenizer_of_another_kind_or_none_is_refused(tmp_path: Path):
    folder = write(tmp_path / "model")
    BertTokenizer(vocab={word: number for number, word in enumerate(VOCABULARY)}).save_pretrained(tmp_path / "bert")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(tmp_path / "bert" / name, folder / name)
    with pytest.raises(ValueError, match="A tokenizer of 521 tokens whose end of text is 520 is required"):
        load(folder)
    (folder / "tokenizer.json").unlink()
    with pytest.raises(ValueError, match="vocab.json and merges.txt are required"):
        load(folder)
