"""The stage `evaluate`: a policy of one weight, evaluated on held-out captions, as derived by hand."""

import numpy as np
import pytest
from linear_resources import Channel, Workshop, store_policy

from g2rpo.seeding import noise
from stages.contract.declared_stages import EVALUATE
from stages.disk.tables import read_shard, shard_evaluations, shard_numbers, shard_path
from stages.engine.execute import execute
from stages.evaluate import run
from stages.readings.metrics import evaluation_metrics
from stages.texts.held_out import held_out

OUTPUTS = ("evaluations", "pictures")
ASKED = ("evaluate.rewards=[red, green]", "evaluate.choose_by=red", "evaluate.micro_batch=3", "evaluate.num_steps=[2]")
AHEAD = 7 / 9
"""How far below its noise a picture lies for each word after two steps of v = words sigma: 1 -> 2/3 -> 0."""


def judged(folder, *overrides, weight=0.0, policy=None, number=0, **how):
    shop = Workshop(folder, *ASKED, *overrides, weight=weight, rewards=(Channel(), Channel("green", 1)))
    if policy:
        store_policy(folder / "policy", policy[0], average=policy[1])
    run(shop.job([], OUTPUTS, policy=policy and "policy", number=number, **how), shop.resources)
    return shop


def painted(prompts, words_weight=AHEAD):
    """The pictures that are to come out: three numbers a prompt."""
    words = np.array([len(text.split()) for text in prompts.texts])
    return noise(prompts.seeds, (3,)).numpy() - words_weight * words[:, None]


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """Four captions with two noises, the policy after three rounds; pictures of two captions are kept."""
    return judged(tmp_path_factory.mktemp("evaluate"), "evaluate.num_noises=2", number=3)


def test_each_picture_is_scored_by_every_reward(shop):
    prompts, rows = held_out(shop.params), shop.rows("evaluations")
    assert list(rows) == [(3, name, 2, reward) for name in prompts.ids for reward in ("red", "green")]
    expected = painted(prompts)[:, :2].flatten()
    np.testing.assert_allclose([row["value"] for row in rows.values()], expected, atol=1e-5)
    assert [row["text"] for row in rows.values()] == [text for text in prompts.texts for _ in (0, 1)]
    assert shop.resources.encoded == [prompts.texts]


def test_a_shard_is_a_micro_batch_and_is_charged_its_evaluations(shop):
    folder = shop.folder / "evaluations"
    assert [read_shard(folder, shard).num_rows for shard in shard_numbers(folder)] == [3 * 2, 3 * 2, 2 * 2]
    assert [shard_evaluations(folder, shard) for shard in shard_numbers(folder)] == [3 * 2, 3 * 2, 2 * 2]


def test_pictures_of_captions_spread_evenly_are_kept_as_bytes(shop):
    """Captions 0 and 2 of four, both in the first shard."""
    prompts, pictures = held_out(shop.params), shop.rows("pictures")
    assert list(pictures) == [(3, prompts.ids[row], 2) for row in (0, 2)]
    expected = np.clip(painted(prompts) * 255, 0, 255).round()
    for row, picture in zip((0, 2), pictures.values(), strict=True):
        assert picture["text"] == prompts.texts[row]
        np.testing.assert_allclose(picture["image"], expected[row], atol=1)
    assert shard_numbers(shop.folder / "pictures") == [0]


def test_the_network_is_needed_for_sampling_and_then_the_decoder_and_the_rewards(shop):
    assert shop.resources.needed == [("network",), ("decoder", "rewards")]


def test_every_number_of_steps_has_its_own_values_of_which_the_first_has_the_plain_name(tmp_path):
    """Four steps: 1/7 + (4/21)(6/7) + (4/15)(2/3) + (2/5)(2/5) below the noise for each word."""
    shop = judged(tmp_path, "evaluate.num_steps=[2, 4]")
    prompts, means = held_out(shop.params), evaluation_metrics(tmp_path)
    assert set(means) == {"red", "green", "red/steps_4", "green/steps_4"}
    assert means["red"] == pytest.approx(painted(prompts)[:, 0].mean(), abs=1e-5)
    four = painted(prompts, 1 / 7 + 24 / 147 + 8 / 45 + 4 / 25)[:, 0].mean()
    assert means["red/steps_4"] == pytest.approx(four, abs=1e-5)


def test_the_noise_depends_on_the_caption_and_not_on_the_run(tmp_path):
    first, other = judged(tmp_path / "0"), judged(tmp_path / "1", "run.seed=5")
    assert first.read("evaluations").equals(other.read("evaluations"))


@pytest.mark.parametrize(("average", "judged_by"), [(0.5, 0.5), (None, 0.25)])
def test_the_average_of_the_weights_is_evaluated_where_one_is_kept(tmp_path, average, judged_by):
    """One step from sigma = 1: the picture is (1 - weight) noise - words."""
    shop = judged(tmp_path, "evaluate.num_steps=[1]", policy=(0.25, average))
    prompts = held_out(shop.params)
    words = np.array([len(text.split()) for text in prompts.texts])
    expected = (1 - judged_by) * noise(prompts.seeds, (3,)).numpy()[:, 0] - words
    values = [row["value"] for key, row in shop.rows("evaluations").items() if key[3] == "red"]
    np.testing.assert_allclose(values, expected, atol=1e-5)


def test_only_what_is_missing_is_made(tmp_path):
    shop = judged(tmp_path)
    before = {shard: shard_path(tmp_path / "evaluations", shard).stat().st_mtime_ns for shard in (0, 1)}
    shard_path(tmp_path / "evaluations", 1).unlink()
    run(shop.job([], OUTPUTS), shop.resources)
    after = {shard: shard_path(tmp_path / "evaluations", shard).stat().st_mtime_ns for shard in (0, 1)}
    assert after[0] == before[0]
    assert after[1] != before[1]


def test_fewer_numbers_of_steps_leave_no_old_shard_behind(tmp_path):
    names = ("judge_a", "judge_b")  # execute wants the digest of each
    for steps in ("[2, 4]", "[4]"):
        overrides = (
            f"evaluate.rewards=[{', '.join(names)}]",
            "evaluate.choose_by=judge_a",
            f"evaluate.num_steps={steps}",
        )
        shop = Workshop(tmp_path, *overrides, rewards=map(Channel, names))
        execute(EVALUATE, tmp_path, {"policy": tmp_path / "base"}, shop.params, shop.resources, number=0)
    assert set(shop.read("evaluations")["num_steps"].to_pylist()) == {4}
    assert shop.read("pictures").num_rows == 2
