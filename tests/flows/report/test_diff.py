"""Two runs side by side, whose numbers are written by hand."""

from types import SimpleNamespace

import numpy as np
import pytest
from handmade import begun, finish, judge
from PIL import Image

from flows.report.diff import Side, _number, _short, _sparks, _thinned, compared

OTHER = (
    "run.seed=1",
    "rollout.steps=[0]",
    "score.rewards=[judge_b]",
    "integrate.reward_weights={judge_b: 1.0}",
)

pytestmark = pytest.mark.usefixtures("own_store")


def trained(*overrides, means=(0.25, 0.75), reward="judge_a", held_out=(0.25, 0.75, 0.5)):
    """A run that was trained on a reward, judged on tuning captions after each round and on test ones before all."""
    run, params = begun(*overrides)
    for number, mean in enumerate(held_out):
        judge(run, params, number, rule_soft=[mean])
        if number < len(means):
            changed = {"reward/judge_a/mean": None, f"reward/{reward}/mean": means[number]}
            finish(run, changed | {"evaluations": 1000.0 + number})
    judge(run, params, 0, "test", rule_soft=[0.125])
    return run, params


def test_a_side_has_all_parameters_and_origins_but_where_its_prompts_lie():
    run, _ = trained("run.seed=3")
    values = Side(run).values
    assert (values["run.seed"], values["rollout.steps"], values["report.split"]) == (3, [0, 1], "test")
    assert {name for name in values if name.startswith("origins.")} > {"origins.policy"}
    assert "prompts.path" not in values


def test_a_curve_has_a_value_a_round_and_none_for_a_reward_that_was_not_trained():
    side = Side(trained()[0])
    assert side.curve("judge_a") == [0.25, 0.75]
    assert side.curve("judge_b") == []


def test_the_held_out_rewards_are_those_judged_during_the_run():
    history = Side(trained()[0]).held_out
    assert {number: means["rule_soft"] for number, means in history.items()} == {0: 0.25, 1: 0.75, 2: 0.5}


def test_the_figures_are_of_base_last_and_best_policy_where_they_were_judged_for_the_report():
    run, params = trained()
    assert Side(run).figures == {
        **{"rounds": 2.0, "best round": 1.0, "evaluations": 2001.0},
        **{f"test {name}, base": 0.0 for name in ("judge_a", "judge_b", "rule_strict")},
        "test rule_soft, base": 0.125,
    }
    judge(run, params, 2, "test", rule_soft=[0.5])
    judge(run, params, 1, "test", rule_soft=[0.625])
    figures = Side(run).figures
    assert (figures["test rule_soft, last"], figures["test rule_soft, best"]) == (0.5, 0.625)


def test_two_runs_are_told_by_what_differs_their_curves_and_figures_and_leave_a_page(tmp_path):
    (one, _), (other, _) = trained(), trained(*OTHER, reward="judge_b", means=(0.5, 1.0, 0.75))
    told = compared((one.key, other.key[:8]), tmp_path / "out").splitlines()
    rows = [line.split() for line in told]
    assert rows[0] == [one.key, other.key]
    assert ["run.seed", "0", "1"] in rows
    assert ["score.rewards", "['judge_a']", "['judge_b']"] in rows
    assert not any(line.startswith("update.learning_rate") for line in told)
    assert f"judge_a, {one.key[:8]}    ▁█  0.250 to 0.750" in told
    assert f"judge_a, {other.key[:8]}      not trained on it" in told
    assert any(line.startswith(f"judge_b, {other.key[:8]}    ▁█▄  0.500 to ") for line in told)
    assert ["rounds", "2", "3"] in rows
    assert ["evaluations", "2,001", "3,003"] in rows
    assert ["test", "rule_soft,", "base", "0.1250", "0.1250"] in rows
    assert told[-1] == str(tmp_path / "out/diff.html")
    page = (tmp_path / "out/diff.html").read_text()
    assert f"<h1>Runs {one.key} and {other.key}</h1>" in page
    assert "<td>run.seed</td><td>0</td><td>1</td>" in page
    assert "<td>test rule_soft, base</td><td>0.125</td><td>0.125</td>" in page
    picture = np.asarray(Image.open(tmp_path / "out/curves.png").convert("RGB"))
    assert picture.shape == (round(2.6 * 2 * 110), 11 * 110, 3)  # two trained rewards, four held out: two rows of three
    rest_of_three = picture[:, -picture.shape[1] // 3 :]
    assert (rest_of_three < 200).any(axis=(1, 2)).sum() > 100


def test_of_two_like_runs_no_parameter_differs(tmp_path):
    run, _ = begun()
    assert "no parameter differs" in compared((run.key, run.key), tmp_path).splitlines()


def test_two_runs_that_have_done_nothing_yet_are_told_apart_by_their_parameters(tmp_path):
    keys = [begun(f"run.seed={seed}")[0].key for seed in range(2)]
    told = [line.split() for line in compared(keys, tmp_path).splitlines()]
    assert ["run.seed", "0", "1"] in told
    assert ["rounds", "0.0000", "0.0000"] in told
    assert (tmp_path / "curves.png").is_file()


def test_a_run_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(ValueError, match="A run is required whose key begins with '0123'"):
        compared(("0123", "0123"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_bars_lie_between_the_least_and_the_most_of_both_runs():
    sides = [
        SimpleNamespace(run=SimpleNamespace(key=key * 8), curve=lambda _, values=values: values)
        for key, values in {"a": [0.0, 0.5], "b": [0.25, 1.0]}.items()
    ]
    assert _sparks(sides, "r") == [
        "r, aaaaaaaa    ▁▄  0.000 to 0.500",
        "r, bbbbbbbb    ▂█  0.250 to 1.000",
    ]


def test_a_round_whose_reward_is_no_finite_number_has_a_question_mark():
    def sparks(*values):
        return _sparks([SimpleNamespace(run=SimpleNamespace(key="a" * 8), curve=lambda _: list(values))], "r")[0]

    assert sparks(0.0, float("nan"), float("inf"), 1.0) == "r, aaaaaaaa    ▁??█  0.000 to 1.000"
    assert sparks(float("nan")) == "r, aaaaaaaa    ?  nan to nan"


def test_a_long_curve_is_thinned_to_forty_means():
    assert _thinned([float(n) for n in range(80)]) == [2 * n + 0.5 for n in range(40)]
    assert _thinned([1.0, 2.0]) == [1.0, 2.0]
    assert _thinned([]) == []


@pytest.mark.parametrize(
    ("value", "told"), [(18 * "x", 18 * "x"), (19 * "x", 17 * "x" + "…"), ([0, 1], "[0, 1]"), (None, "None")]
)
def test_a_value_is_told_in_eighteen_letters(value, told):
    assert _short(value) == told


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (None, ""),
        (0.0, "0.0000"),
        (0.53125, "0.5312"),
        (1.0, "1"),
        (-2.0, "-2"),
        (1234567.0, "1,234,567"),
        (1.5, "1.5000"),
    ],
)
def test_counts_are_told_whole_and_other_numbers_with_four_places(value, told):
    assert _number(value) == told
