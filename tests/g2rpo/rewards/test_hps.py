"""HPS v2.1 in this process says what the real package says.

The golden scores are those of hpsv2 1.2.0 (its own network, pictures and tokenizer, in fp32; torchvision 0.28.0, torch
2.13.0) on the weights of tiny_clip.open_clip_state(), with its tokenizer given tiny_clip.MERGES. At the real size,
ViT-H-14 with random weights, the two agreed to 4e-8; with the whole vocabulary the tokens of 20,000 texts were equal.
"""

import json
import shutil
from pathlib import Path

import pytest
import torch
from tiny_clip import LETTERS, SIDE, Touch, open_clip_state, pictures, write_clip
from transformers import CLIPTokenizer

from g2rpo.rewards.hps import MEAN, STD, clean_text, from_open_clip, hps_pixels, load_hps

TEXTS = (
    "the red cat",
    "Caf&eacute;, the CAT&amp;#39;s &amp;amp;amp; cr&egrave;me",
    "schÃ¶n —  “the cat’s”\n🐈",
    "the red cat and another circle, " * 6,  # more than 77 tokens
)
GOLDEN = {
    (40, 40): [0.0011604, 0.124213, -0.3296041, -0.2086842],
    (24, 40): [-0.0222192, -0.0872468, -0.2794351, -0.2651805],
    (50, 30): [0.1136819, 0.0512774, -0.3729188, -0.3544894],
    (16, 16): [0.1026924, 0.2518481, -0.2279821, -0.173076],
}


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(tmp_path_factory.mktemp("weights"), {"epoch": 1, "state_dict": open_clip_state()})


def saved(folder: Path, state: object) -> Path:
    torch.save(state, folder / "hps.pt")
    return folder / "hps.pt"


def changed(clip: Path, folder: Path, tower: str, **values: object) -> Path:
    """A copy of the folder whose config.json says something else of a tower."""
    shutil.copytree(clip, folder)
    config = json.loads((folder / "config.json").read_text())
    config[f"{tower}_config"] |= values
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def scores(weights: Path, clip: Path) -> list[float]:
    return load_hps("hps", weights=weights, clip=clip, device="cpu").score(pictures(40, 40, 4), TEXTS).tolist()


@pytest.mark.parametrize("size", GOLDEN)
def test_the_score_is_that_of_the_real_package(size: tuple[int, int], weights: Path, clip: Path):
    reward = load_hps("hps", weights=weights, clip=clip, device="cpu")
    got = reward.score(pictures(*size).expand(4, -1, -1, -1), TEXTS)
    torch.testing.assert_close(got, torch.tensor(GOLDEN[size]), atol=1e-6, rtol=0)
    assert reward.name == "hps"
    assert not got.requires_grad


def test_a_batch_scores_as_its_pictures_one_by_one(weights: Path, clip: Path):
    images = pictures(40, 40, 4)
    reward = load_hps("hps", weights=weights, clip=clip, device="cpu")
    alone = torch.cat([reward.score(images[i : i + 1], TEXTS[i : i + 1]) for i in range(4)])
    torch.testing.assert_close(torch.tensor(scores(weights, clip)), alone, atol=1e-6, rtol=0)


def test_a_wide_picture_lies_between_black_bars():
    seen = hps_pixels(torch.ones(1, 3, 10, 20), side=8)
    black, white = -torch.tensor(MEAN) / torch.tensor(STD), (1 - torch.tensor(MEAN)) / torch.tensor(STD)
    for row, colour in enumerate([black] * 2 + [white] * 4 + [black] * 2):
        torch.testing.assert_close(seen[0, :, row], colour[:, None].expand(3, 8))


def test_an_odd_bar_is_thicker_below_and_a_picture_of_the_right_length_is_padded_too():
    rows = hps_pixels(torch.ones(1, 3, 5, 8), side=8)[0, 0, :, 0] > 0
    assert rows.tolist() == [False] + [True] * 5 + [False] * 2


def test_a_picture_too_slim_for_a_row_has_one():
    assert hps_pixels(torch.ones(1, 3, 1, 40), side=8).shape == (1, 3, 8, 8)


def test_pictures_are_rounded_to_8_bits():
    seen = [hps_pixels(torch.full((1, 3, SIDE, SIDE), level / 255), side=SIDE) for level in (100.0, 100.4, 100.6)]
    assert torch.equal(seen[0], seen[1])
    assert not torch.equal(seen[0], seen[2])


def test_a_text_is_cleaned_as_the_package_does_it():
    assert clean_text("<a> &amp;amp;amp; b") == "<a> &amp; b"  # twice, where the text has a sign that HTML has
    assert clean_text(" Caf&eacute;  &amp;amp;\nCrÃ¨me “x” ") == 'café & crème "x"'


def test_the_checkpoint_may_be_a_plain_state_dict_in_half_precision(weights: Path, clip: Path, tmp_path: Path):
    halves = {name: value.half() for name, value in open_clip_state().items()}
    half = load_hps("hps", weights=saved(tmp_path, halves), clip=clip, device="cpu")
    assert {value.dtype for value in half.module.parameters()} == {torch.float32}
    assert half.score(pictures(40, 40, 4), TEXTS).tolist() == pytest.approx(scores(weights, clip), abs=5e-3)


def test_the_old_end_of_text_of_published_configs_means_the_highest_token(weights: Path, clip: Path, tmp_path: Path):
    assert scores(weights, changed(clip, tmp_path / "old", "text", eos_token_id=2)) == scores(weights, clip)


def test_the_tokenizer_may_be_in_two_files(weights: Path, clip: Path, tmp_path: Path):
    folder = changed(clip, tmp_path / "two", "text")
    whole = json.loads((folder / "tokenizer.json").read_text())["model"]
    (folder / "tokenizer.json").unlink()
    (folder / "vocab.json").write_text(json.dumps(whole["vocab"]))
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *(" ".join(pair) for pair in whole["merges"])]))
    assert scores(weights, folder) == scores(weights, clip)


@pytest.mark.parametrize("name", [name for name in open_clip_state() if "blocks.1" not in name])
def test_a_checkpoint_that_lacks_a_name_is_refused(name: str, clip: Path, tmp_path: Path):
    state = open_clip_state()
    del state[name]
    with pytest.raises(ValueError, match="missing"):
        load_hps("hps", weights=saved(tmp_path, state), clip=clip, device="cpu")


@pytest.mark.parametrize(
    "name",
    ["visual.attn_pool.query", "transformer.resblocks.0.ls_1.gamma", "module.logit_scale", "attn.in_proj_weight"],
)
def test_an_unknown_name_is_refused(name: str, clip: Path, tmp_path: Path):
    weights = saved(tmp_path, open_clip_state() | {name: torch.zeros(3)})
    with pytest.raises(ValueError, match=f"{name} .1 unknown of 63"):
        load_hps("hps", weights=weights, clip=clip, device="cpu")


def test_a_deeper_network_than_the_config_says_is_refused(clip: Path, tmp_path: Path):
    state = open_clip_state()
    state |= {name.replace("blocks.1", "blocks.2"): value for name, value in state.items() if "blocks.1" in name}
    with pytest.raises(ValueError, match="left over: text_model.encoder.layers.2"):
        load_hps("hps", weights=saved(tmp_path, state), clip=clip, device="cpu")


@pytest.mark.parametrize("name", ["text_projection", "visual.conv1.weight", "ln_final.bias"])
def test_another_shape_is_refused(name: str, clip: Path, tmp_path: Path):
    state = open_clip_state()
    state[name] = state[name][:-1]
    with pytest.raises(ValueError, match="of another shape"):
        load_hps("hps", weights=saved(tmp_path, state), clip=clip, device="cpu")


@pytest.mark.parametrize("tower", ["text", "vision"])
@pytest.mark.parametrize("values", [{"hidden_act": "quick_gelu"}, {"layer_norm_eps": 1e-6}])
def test_another_architecture_is_refused(
    tower: str, values: dict[str, object], weights: Path, clip: Path, tmp_path: Path
):
    with pytest.raises(ValueError, match="hidden_act gelu and layer_norm_eps 1e-05 is required"):
        load_hps("hps", weights=weights, clip=changed(clip, tmp_path / "other", tower, **values), device="cpu")


def test_another_end_of_text_is_refused(weights: Path, clip: Path, tmp_path: Path):
    with pytest.raises(ValueError, match="whose end of text is 7 is required"):
        load_hps("hps", weights=weights, clip=changed(clip, tmp_path / "eos", "text", eos_token_id=7), device="cpu")


def test_a_tokenizer_of_another_vocabulary_is_refused(weights: Path, clip: Path, tmp_path: Path):
    folder = changed(clip, tmp_path / "small", "text")
    tokens = [*LETTERS, "<|startoftext|>", "<|endoftext|>"]
    CLIPTokenizer(vocab={token: i for i, token in enumerate(tokens)}, merges=[]).save_pretrained(folder)
    with pytest.raises(ValueError, match="end of text is 520 is required by the network, got 258 tokens"):
        load_hps("hps", weights=weights, clip=folder, device="cpu")


@pytest.mark.parametrize("missing", ["config.json", "tokenizer.json"])
def test_a_folder_without_config_or_tokenizer_is_refused(missing: str, weights: Path, clip: Path, tmp_path: Path):
    folder = changed(clip, tmp_path / "holes", "text")
    (folder / missing).unlink()
    with pytest.raises(ValueError, match="required in"):
        load_hps("hps", weights=weights, clip=folder, device="cpu")


@pytest.mark.parametrize("content", [b"not a checkpoint", None])
def test_a_checkpoint_that_is_none_is_refused(content: bytes | None, clip: Path, tmp_path: Path):
    if content:
        (tmp_path / "hps.pt").write_bytes(content)
    with pytest.raises(ValueError, match="A checkpoint .*is required at"):
        load_hps("hps", weights=tmp_path / "hps.pt", clip=clip, device="cpu")


def test_a_checkpoint_that_would_run_code_is_refused_and_not_run(clip: Path, tmp_path: Path):
    with pytest.raises(ValueError, match="cannot be read as one"):
        load_hps("hps", weights=saved(tmp_path, {"logit_scale": Touch(tmp_path / "run")}), clip=clip, device="cpu")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("state", [[torch.zeros(3)], {"state_dict": {"epoch": 3}}])
def test_a_checkpoint_with_something_else_is_refused(state: object, clip: Path, tmp_path: Path):
    with pytest.raises(ValueError, match="is required at"):
        load_hps("hps", weights=saved(tmp_path, state), clip=clip, device="cpu")


def test_the_conversion_keeps_every_number():
    state = open_clip_state()
    converted = from_open_clip(state)
    assert sum(value.numel() for value in converted.values()) == sum(value.numel() for value in state.values())
