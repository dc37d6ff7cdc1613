"""CLIP score, PickScore and the aesthetic score, and what they share."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_clip import DIM, SIDE, Touch, pictures, tiny_clip, weight, write_clip
from transformers import CLIPImageProcessorPil, CLIPModel, CLIPProcessor, CLIPTokenizer

from g2rpo.rewards import clip
from g2rpo.rewards.aesthetic import load_aesthetic
from g2rpo.rewards.clip_score import load_clip_score
from g2rpo.rewards.pick_score import load_pick_score
from g2rpo.rewards.pictures import to_pil
from g2rpo.rewards.protocol import Reward

TEXTS = ("the red cat", "A circle", "the red cat", "cats; the red cat " * 9)
LAYERS = {"layers.0": (1024, DIM), "layers.2": (128, 1024), "layers.4": (64, 128), "layers.6": (16, 64)} | {
    "layers.7": (1, 16)
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("clip"), "quick_gelu")


def predictor() -> dict[str, torch.Tensor]:
    weights = {f"{name}.weight": weight(f"{name}.weight", shape) for name, shape in LAYERS.items()}
    return weights | {f"{name}.bias": weight(f"{name}.bias", shape[:1]) for name, shape in LAYERS.items()}


def clip_score(folder: Path) -> Reward:
    return load_clip_score("clip_score", weights=folder, device="cpu")


def pick_score(folder: Path) -> Reward:
    return load_pick_score("pick_score", weights=folder, processor=folder, device="cpu")


def aesthetic(folder: Path, state: dict[str, torch.Tensor] | None = None) -> Reward:
    torch.save(predictor() if state is None else state, folder / "predictor.pth")
    return load_aesthetic("aesthetic", weights=folder / "predictor.pth", clip=folder, device="cpu")


LOADERS = (clip_score, pick_score, aesthetic)


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    """The folder once more, for a test that spoils it."""
    return Path(shutil.copytree(folder, tmp_path / "copy"))


def logits(folder: Path, images: torch.Tensor) -> tuple[torch.Tensor, float]:
    """The logits of transformers' own forward and processor, and the factor that makes them of cosines."""
    network = CLIPModel.from_pretrained(folder)
    processor = CLIPProcessor(CLIPImageProcessorPil.from_pretrained(folder), CLIPTokenizer.from_pretrained(folder))
    inputs = processor(
        images=to_pil(images), text=list(TEXTS), padding=True, truncation=True, max_length=77, return_tensors="pt"
    )
    with torch.no_grad():
        return network(**inputs).logits_per_image.diagonal(), network.logit_scale.exp().item()


@pytest.mark.parametrize("size", [(40, 40), (48, 40), (20, 30)])
def test_pick_score_is_the_logit_and_clip_score_the_cosine_of_transformers(size: tuple[int, int], folder: Path):
    images = pictures(*size, 4)
    expected, factor = logits(folder, images)
    assert expected.std() > 1
    torch.testing.assert_close(pick_score(folder).score(images, TEXTS), expected, atol=1e-4, rtol=0)
    torch.testing.assert_close(clip_score(folder).score(images, TEXTS), expected / factor, atol=1e-6, rtol=0)


def test_the_config_decides_the_activation(folder: Path, tmp_path: Path):
    images = pictures(40, 40, 4)
    other = write_clip(tmp_path, "gelu")
    assert (clip_score(other).score(images, TEXTS) - clip_score(folder).score(images, TEXTS)).abs().max() > 1e-3


def test_the_folder_decides_the_preprocessing(folder: Path, tmp_path: Path):
    images = pictures(40, 60, 4)
    squashed = write_clip(tmp_path, "quick_gelu", size={"height": SIDE, "width": SIDE}, do_center_crop=False)
    expected, factor = logits(squashed, images)
    torch.testing.assert_close(clip_score(squashed).score(images, TEXTS), expected / factor, atol=1e-6, rtol=0)
    assert (logits(folder, images)[0] - expected).abs().max() > 0.1


@pytest.mark.parametrize(
    ("size", "golden"),
    [((40, 40), [0.0507776, 0.0740572]), ((24, 40), [0.2085195, 0.0587353])],
)
def test_the_aesthetic_score_is_that_of_a_published_package(size: tuple[int, int], golden: list[float], folder: Path):
    # AestheticsPredictorV2Linear of simple-aesthetics-predictor 0.1.2 under transformers 5.23.0, same weights by name
    got = aesthetic(folder).score(pictures(*size, 2), ["a", "b"])
    torch.testing.assert_close(got, torch.tensor(golden), atol=1e-6, rtol=0)


def test_the_aesthetic_score_ignores_the_text(folder: Path):
    reward, images = aesthetic(folder), pictures(40, 40, 4)
    assert torch.equal(reward.score(images, TEXTS), reward.score(images, TEXTS[::-1]))


def test_a_predictor_may_be_a_safetensors_file(copy: Path):
    save_file(predictor(), copy / "predictor.safetensors")
    reward = load_aesthetic("aesthetic", weights=copy / "predictor.safetensors", clip=copy, device="cpu")
    assert torch.equal(reward.score(pictures(40, 40), ["a"]), aesthetic(copy).score(pictures(40, 40), ["a"]))


@pytest.mark.parametrize("load", LOADERS)
def test_a_batch_scores_as_its_pictures_one_by_one(load: Callable[[Path], Reward], folder: Path):
    images, reward = pictures(40, 40, 4), load(folder)
    alone = torch.cat([load(folder).score(images[i : i + 1], TEXTS[i : i + 1]) for i in range(4)])
    got = reward.score(images, TEXTS)
    torch.testing.assert_close(got, alone, atol=1e-6 if load is not pick_score else 1e-4, rtol=0)
    assert got.shape == (4,)
    assert got.dtype == torch.float32
    assert not got.requires_grad
    assert reward.name == load.__name__


@pytest.mark.parametrize("load", LOADERS)
def test_the_network_is_frozen_in_fp32_and_stays_so_under_autocast(load: Callable[[Path], Reward], folder: Path):
    images, reward = pictures(40, 40, 4), load(folder)
    assert {(value.dtype, value.requires_grad) for value in reward.module.parameters()} == {(torch.float32, False)}
    assert not any(part.training for part in reward.module.modules())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        lowered = reward.score(images, TEXTS)
    assert torch.equal(lowered, reward.score(images, TEXTS))


def counted(reward: Reward) -> list[tuple[int, ...]]:
    calls: list[tuple[int, ...]] = []
    reward.module.text_model.register_forward_hook(lambda _module, args, _out: calls.append(tuple(args[0].shape)))
    return calls


def test_the_features_of_a_text_are_computed_once_and_alone(folder: Path):
    reward = clip_score(folder)
    calls = counted(reward)
    first = reward.score(pictures(40, 40, 4), TEXTS)
    assert [shape[0] for shape in calls] == [1, 1, 1]
    assert torch.equal(reward.score(pictures(40, 40, 4), TEXTS), first)
    reward.score(pictures(40, 40, 2), ["the red cat", "another"])
    assert len(calls) == 4


def test_texts_seen_longest_ago_are_forgotten(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(clip, "KEPT_TEXTS", 2)
    reward = clip_score(folder)
    calls = counted(reward)
    for text, total in (("a", 1), ("b", 2), ("a", 2), ("c", 3), ("a", 3), ("b", 4)):
        reward.score(pictures(40, 40), [text])
        assert len(calls) == total
    assert reward.score(pictures(40, 40, 4), ["d", "e", "f", "g"]).shape == (4,)


@pytest.mark.parametrize("load", LOADERS)
def test_too_few_texts_are_refused(load: Callable[[Path], Reward], folder: Path):
    with pytest.raises(ValueError, match="got 4 pictures and 3 texts"):
        load(folder).score(pictures(40, 40, 4), TEXTS[:3])


def test_weights_in_half_precision_are_read(copy: Path):
    state = {name: value.half() for name, value in load_file(copy / "model.safetensors").items()}
    images, expected = pictures(40, 40, 4), clip_score(copy).score(pictures(40, 40, 4), TEXTS)
    config = (copy / "config.json").read_text()
    (copy / "config.json").write_text(config.replace('"float32"', '"float16"'))
    save_file(state, copy / "model.safetensors", metadata={"format": "pt"})
    half = clip_score(copy)
    assert {value.dtype for value in half.module.parameters()} == {torch.float32}
    torch.testing.assert_close(half.score(images, TEXTS), expected, atol=5e-3, rtol=0)


def test_pickled_weights_are_refused_and_not_run(copy: Path):
    (copy / "model.safetensors").unlink()
    torch.save({"logit_scale": Touch(copy / "run")}, copy / "pytorch_model.bin")
    with pytest.raises(ValueError, match="pytorch_model.bin, .*which is pickled and could run code"):
        clip_score(copy)
    assert not (copy / "run").exists()


def test_weights_that_cannot_be_read_are_refused(copy: Path):
    (copy / "model.safetensors").write_bytes(b"junk")
    with pytest.raises(ValueError, match="cannot be read as such"):
        clip_score(copy)


@pytest.mark.parametrize("load", LOADERS)
@pytest.mark.parametrize("missing", ["config.json", "model.safetensors", "preprocessor_config.json"])
def test_a_folder_with_a_hole_is_refused(load: Callable[[Path], Reward], missing: str, copy: Path):
    (copy / missing).unlink()
    required = "Weights in safetensors are" if missing == "model.safetensors" else f"{missing} is"
    with pytest.raises(ValueError, match=f"{required} required in .*, got "):
        load(copy)


def test_a_folder_without_a_tokenizer_is_refused(copy: Path):
    (copy / "tokenizer.json").unlink()
    with pytest.raises(ValueError, match="vocab.json and merges.txt are required"):
        clip_score(copy)


def test_a_tokenizer_with_more_tokens_than_the_network_is_refused(copy: Path):
    tokenizer = CLIPTokenizer.from_pretrained(copy)
    tokenizer.add_tokens(["<new>"])
    tokenizer.save_pretrained(copy)
    with pytest.raises(ValueError, match="A tokenizer of 521 tokens .* got 522 tokens and end of text 520"):
        clip_score(copy)


def test_a_folder_in_open_clip_format_only_is_refused_by_that_name(copy: Path):
    (copy / "model.safetensors").rename(copy / "open_clip_pytorch_model.bin")
    with pytest.raises(ValueError, match="transformers' format.*open_clip weights only"):
        clip_score(copy)


def test_the_config_of_another_kind_of_model_is_refused(copy: Path):
    (copy / "config.json").write_text('{"model_type": "siglip"}')
    with pytest.raises(ValueError, match="got model_type 'siglip'"):
        clip_score(copy)


def test_preprocessing_for_another_size_is_refused(tmp_path: Path):
    folder = write_clip(tmp_path, crop_size={"height": SIDE + 8, "width": SIDE})
    with pytest.raises(ValueError, match="pictures of 32x32 is required by the network, got 40x32"):
        clip_score(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("logit_scale"), "missing: logit_scale"),
        (lambda state: state.update(extra=torch.zeros(2)), "left over: extra"),
        (lambda state: state.update({"text_projection.weight": torch.zeros(3, 3)}), r"shape: text_.* \(3, 3\) for"),
    ],
)
def test_weights_that_do_not_fit_the_config_are_refused(
    change: Callable[[dict[str, torch.Tensor]], object], message: str, copy: Path
):
    state = dict(tiny_clip().state_dict())
    change(state)
    save_file(state, copy / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=message):
        pick_score(copy)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("layers.7.bias"), "layers.7.bias missing for"),
        (lambda state: state.update({"layers.8.bias": torch.zeros(1)}), r"layers.8.bias \(1,\) for none"),
        (lambda state: state.update({"layers.0.weight": torch.zeros(1024, 768)}), r"\(1024, 768\) for \(1024, 24\)"),
    ],
)
def test_a_predictor_that_does_not_fit_is_refused(
    change: Callable[[dict[str, torch.Tensor]], object], message: str, copy: Path
):
    state = predictor()
    change(state)
    with pytest.raises(ValueError, match=message):
        aesthetic(copy, state)
