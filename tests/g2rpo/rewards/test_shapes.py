"""The rewards of the world behind one protocol, and how well the judges judge."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from g2rpo.rewards import shapes as rewards
from g2rpo.rewards.shapes import REWARDS, load_reward
from g2rpo.shapes.captions import captions, tokens
from g2rpo.shapes.judges import load_judge, new_judge
from g2rpo.shapes_build.figures import render_images, truth_figures

JUDGES = ("judge_a", "judge_b")
TEXTS = captions()[::9]


@pytest.fixture(scope="module")
def table() -> dict[str, dict[str, float]]:
    return truth_figures([load_reward(name) for name in REWARDS], repeats=1, seed=50)


@pytest.mark.parametrize("name", REWARDS)
def test_a_reward_gives_one_number_a_picture(name: str):
    reward = load_reward(name)
    values = reward.score(render_images(TEXTS, seed=0), TEXTS)
    assert reward.name == name
    assert values.shape == (len(TEXTS),)
    assert values.dtype == torch.float32
    assert not values.requires_grad


@pytest.mark.parametrize("name", REWARDS)
def test_too_few_texts_are_refused(name: str):
    with pytest.raises(ValueError, match="got 81 pictures and 80 texts"):
        load_reward(name).score(render_images(TEXTS, seed=0), TEXTS[:-1])


@pytest.mark.parametrize("name", [*JUDGES, *rewards.RULES])
def test_a_text_that_cannot_be_judged_is_refused(name: str):
    with pytest.raises(ValueError, match="shapes world"):
        load_reward(name).score(render_images(["a red circle"], seed=0), ["a red dragon"])


def test_an_unknown_reward_is_refused_with_the_names_of_the_others():
    with pytest.raises(ValueError, match="judge_a, judge_b, rule_soft, rule_strict, clean_pixels"):
        load_reward("judge_c")


@pytest.mark.parametrize("name", [*JUDGES, "rule_soft"])
def test_pictures_of_another_size_are_refused(name: str):
    with pytest.raises(ValueError, match=r"\(n, 3, 16, 16\), got \(1, 3, 32, 32\)"):
        load_reward(name).score(torch.zeros(1, 3, 32, 32), ["a red circle"])


@pytest.mark.long
@pytest.mark.parametrize("name", JUDGES)
def test_a_judge_tells_true_from_wrong(name: str, table: dict[str, dict[str, float]]):
    assert table["true pictures"][name] > 0.85
    assert abs(table["true pictures, another caption"][name]) < 0.1
    assert table["true pictures, a near miss"][name] < 0.6


@pytest.mark.parametrize("name", JUDGES)
def test_a_judge_ranks_the_true_caption_first_among_all(name: str):
    judge = load_judge(name)
    texts = captions()[::2]
    with torch.no_grad():
        seen = functional.normalize(judge.see(render_images(texts, seed=21)), dim=1)
        read = functional.normalize(judge.read(torch.tensor(tokens(captions()))), dim=1)
    first = [captions()[i] for i in (seen @ read.T).argmax(dim=1).tolist()]
    assert np.mean([one == two for one, two in zip(first, texts, strict=True)]) > 0.7


def test_the_rule_accepts_truth_and_rejects_the_rest(table: dict[str, dict[str, float]]):
    assert table["true pictures"]["rule_strict"] >= 0.97
    assert table["true pictures, another caption"]["rule_strict"] <= 0.03
    assert table["true pictures, a near miss"]["rule_strict"] == 0.0


def test_the_judges_are_two_architectures():
    names = [{type(module).__name__ for module in new_judge(name).modules()} for name in JUDGES]
    assert "Conv2d" in names[0]
    assert "GRU" in names[1]
    assert "GRU" not in names[0]
    assert "MultiheadAttention" in names[1]
    assert "MultiheadAttention" not in names[0]


@pytest.mark.parametrize("name", JUDGES)
def test_a_judge_judges_a_row_alike_alone_and_in_a_batch(name: str):
    images = render_images(TEXTS, seed=0)
    together = load_reward(name).score(images, TEXTS)
    alone = load_reward(name).score(images[:1], TEXTS[:1])
    assert torch.allclose(together[:1], alone, atol=1e-5)


def test_both_rules_read_the_same_pictures_once(monkeypatch: pytest.MonkeyPatch):
    calls: list[int] = []
    parse = rewards.parse
    monkeypatch.setattr(rewards, "parse", lambda pictures: (calls.append(len(pictures)), parse(pictures))[1])
    images = render_images(TEXTS, seed=123)
    soft = load_reward("rule_soft").score(images, TEXTS)
    strict = load_reward("rule_strict").score(images, TEXTS)
    assert calls == [len(TEXTS)]
    assert torch.equal(strict, (soft == 1).float())
    load_reward("rule_soft").score(images[:5], TEXTS[:5])
    assert calls == [len(TEXTS), 5]


def test_the_rule_forgets_pictures_that_were_changed_in_place():
    images = render_images(["a red circle"], seed=0)
    reward = load_reward("rule_strict")
    assert reward.score(images, ["a red circle"]).item() == 1.0
    images.zero_()
    assert reward.score(images, ["a red circle"]).item() == 0.0


def test_clean_pixels_by_hand():
    # a quarter of the pixels red by one step of 255 in one channel, a quarter black, the rest background
    picture = torch.empty(1, 3, 16, 16)
    picture[:] = torch.tensor([20.0, 20.0, 28.0])[None, :, None, None]
    picture[:, :, :8, :8] = torch.tensor([225.0, 46.0, 45.0])[None, :, None, None]
    picture[:, :, 8:, 8:] = 0.0
    far = (20**2 + 20**2 + 28**2) ** 0.5  # from black to the background
    (value,) = load_reward("clean_pixels").score(picture / 255, ["a red circle"]).tolist()
    assert value == pytest.approx(-(1 + far) / 4 / 255, abs=1e-6)


def test_clean_pixels_reads_no_text_and_tells_artefacts_from_true_pictures():
    images = render_images(TEXTS, seed=0)
    reward = load_reward("clean_pixels")
    values = reward.score(images, TEXTS)
    assert torch.equal(values, reward.score(images, ["a blue square"] * len(TEXTS)))
    speckled = images + 0.1 * torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    assert (reward.score(speckled.clamp(0, 1), TEXTS) < values - 0.05).all()
    assert -0.04 < float(values.mean()) < -0.03
