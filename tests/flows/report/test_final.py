"""The report of a run whose numbers are written by hand."""

import csv
import json

import numpy as np
import pytest
from handmade import TEXTS, begun, finish, first_value, forge, images, judge, without
from manifests import manifest
from PIL import Image

from flows.report.final import FinalEvaluations, Report, measure, write_report
from stages.contract.declared_stages import STAGES
from stages.disk.tables import PROMPTS, arrow, write_shard
from stages.store.manifest import write_manifest

TWO_REWARDS = ("score.rewards=[judge_a, rule_soft]", "integrate.reward_weights={judge_a: 3.0, rule_soft: 1.0}")

pytestmark = pytest.mark.usefixtures("own_store")


def made(*overrides, best=1):
    """A run of two rounds and one more than is asked for, judged on all captions; and where its evaluations lie."""
    run, params = begun("run.seed=7", *TWO_REWARDS, *overrides)
    for number in range(4):
        judge(run, params, number, rule_soft=[0.75 if number == best else 0.25 + number / 16])
        judge(run, params, number, "test", judge_a=[0.25, 0.25 + number / 4], rule_soft=[0.5, 0.5])
    for number in range(3):
        finish(run, {"reward/judge_a/mean": 0.5, "reward/rule_soft/mean": 0.9 + number / 100, "evaluations": 100.4})
    for stage, evaluations in {"rollout": 8, "complete": 12}.items():
        write_manifest(run.round_folder(0), STAGES[stage], manifest(STAGES[stage], evaluations=evaluations))
    prompts = {"prompt_id": list("abcd"), "text": TEXTS, "split": ["train"] * 4, "metadata": ["{}"] * 4}
    write_shard(
        run.round_folder(0) / "prompts", 0, PROMPTS, arrow(PROMPTS, prompts | {"noise_seed": range(4)}), stamp="1"
    )
    run.begin_session({"git_commit": "c0ffee"})
    return run, params


def rows(path):
    with path.open() as file:
        return list(csv.DictReader(file))


def test_a_training_leaves_base_last_and_best_in_the_run_itself():
    run, params = made()
    judged = FinalEvaluations.within(run, params)
    names = {"base": judged.base, "aligned": judged.aligned, "best": judged.best}
    assert {name: path.relative_to(run.path / "evaluations").name for name, path in names.items()} == {
        "base": "0000-test",
        "aligned": "0002-test",  # the third round is more than is asked for
        "best": "0001-test",
    }
    assert judged.best_round == 1
    assert judged.all(2) == {0: judged.base, 1: judged.best, 2: judged.aligned}


@pytest.mark.parametrize(("best", "folder"), [(0, "base"), (1, "best"), (2, "aligned")])
def test_an_evaluation_of_its_own_writes_beside_the_run_and_no_policy_twice(tmp_path, best, folder):
    run, params = made(best=best)
    judged = FinalEvaluations.outside(run, params, tmp_path)
    assert (judged.base, judged.aligned, judged.best) == (tmp_path / "base", tmp_path / "aligned", tmp_path / folder)
    assert judged.best_round == best
    assert judged.all(2) == {0: tmp_path / "base", 2: tmp_path / "aligned"} | {best: tmp_path / folder}


def test_the_figures_of_a_run_are_those_of_the_rounds_that_were_asked_for():
    run, params = made()
    report = measure(run, params, FinalEvaluations.within(run, params))
    zero = {"judge_b": 0.0, "rule_strict": 0.0}
    assert report.base == {"judge_a": 0.25, "rule_soft": 0.5} | zero
    assert report.aligned == {"judge_a": 0.5, "rule_soft": 0.5} | zero
    assert report.best == {"judge_a": 0.375, "rule_soft": 0.5} | zero
    links = {name: report.details.pop(name) for name in run.links}
    assert links["git_commit"] == "c0ffee"
    assert report.details == {
        "rounds": 2,
        "best_round": 1,
        "method": "G²RPO",
        "run_key": run.key,
        "seed": 7,
        "split": "test",
        "evaluations_per_prompt": 5.0,  # 8 of rollout and 12 of complete for 4 prompts
        "evaluations": 200,
        "cpu_seconds": 5.0,
        "wall_seconds": 4.0,
    }


def test_a_report_is_written_as_one_record():
    report = Report({"a": 0.25}, {"a": 0.5}, {"a": 0.75}, {"seed": 1})
    assert report.values == {"base": {"a": 0.25}, "aligned": {"a": 0.5}, "best": {"a": 0.75}, "seed": 1}


def test_a_report_is_a_page_tables_and_pictures_of_the_same_figures(tmp_path):
    run, params = made()
    out = tmp_path / "reports/one"
    report = write_report(run, params, FinalEvaluations.within(run, params), out)
    names = {"report.html", "metrics.json", "rounds.csv", "held_out.csv", "before_after.png", "curves.png"}
    assert {path.name for path in out.iterdir()} == names
    assert json.loads((out / "metrics.json").read_text()) == report.values
    assert report.values["aligned"]["judge_a"] == 0.5
    first, second = rows(out / "rounds.csv")
    assert first == {
        "round": "1",
        "trained_reward": "0.6",  # (3 * 0.5 + 1 * 0.9) / 4
        "judge_a": "0.5",
        "rule_soft": "0.9",
        "kl": "0.01",
        "grad_norm": "1.0",
        "clip_frac": "0.25",
        "loss": "-0.5",
    }
    assert (second["round"], float(second["trained_reward"])) == ("2", pytest.approx(0.6025))
    held_out = [(row["round"], row["rule_soft"]) for row in rows(out / "held_out.csv")]
    assert held_out == [("0", "0.25"), ("1", "0.75"), ("2", "0.375")]
    for name in ("before_after.png", "curves.png"):
        assert np.asarray(Image.open(out / name).convert("L")).std() > 10
    page = (out / "report.html").read_text()
    assert f"<h1>Run {run.key}</h1>" in page
    assert "<th>best, round 1</th>" in page
    told = " ".join(page.split())
    assert "<td>judge_a (trained on)</td><td>0.250</td> <td>0.500</td><td>+0.250</td> <td>0.375</td>" in told
    assert "<td>judge_b</td><td>0.000</td> <td>0.000</td><td>+0.000</td>" in told
    assert "highest rule_soft on the captions" in told
    assert "<td>git_commit</td><td>c0ffee</td>" in page
    assert "seed: 7" in page  # its params.yaml


def test_a_run_without_manifests_of_its_first_round_is_refused():
    run, params = made()
    (run.round_folder(0) / "complete.json").unlink()
    with pytest.raises(ValueError, match="Stage complete must be done in .*, got no complete manifest. Run it."):
        measure(run, params, FinalEvaluations.within(run, params))


@pytest.mark.parametrize(
    ("place", "name", "change"),
    [
        ((1, "tuning"), "evaluations", without("rule_soft")),
        ((1, "tuning"), "evaluations", without("judge_b")),
        ((2, "test"), "evaluations", without("judge_b")),
        ((2, "test"), "evaluations", first_value(float("nan"))),
        ((0, "test"), "evaluations", first_value(1e300)),
        ((2, "test"), "pictures", images(4, 4, 5)),
        ((2, "test"), "pictures", lambda rows: rows.slice(0, 1)),
    ],
)
def test_a_report_of_a_forged_evaluation_is_refused_in_a_line(tmp_path, place, name, change):
    run, params = made()
    forge(run.evaluation_folder(*place), name, change)
    with pytest.raises(ValueError, match=r"(must be an evaluation|are required in) .*Remove") as told:
        write_report(run, params, FinalEvaluations.within(run, params), tmp_path)
    assert "\n" not in str(told.value)


def test_a_reward_that_nobody_trained_on_is_no_column_of_the_rounds(tmp_path):
    run, params = made()
    finish(run, {"reward/rule_soft/mean": 0.5, "reward/other/mean": 0.5})
    more = params.with_values({"run.rounds": 4})
    judge(run, params, 4, "test", judge_a=[0.5, 0.5], rule_soft=[0.5, 0.5])
    write_report(run, more, FinalEvaluations.within(run, more), tmp_path)
    assert "other" not in rows(tmp_path / "rounds.csv")[3]


def test_a_report_at_more_numbers_of_steps_than_the_training_had_is_written(tmp_path):
    run, params = made()
    for number in (0, 1, 2):
        judge(run, params, number, "test", num_steps=(4, 8), judge_a=[0.25, 0.5])
    write_report(run, params, FinalEvaluations.within(run, params), tmp_path)
    page = (tmp_path / "report.html").read_text()
    assert page.count("judge_a/steps_8") == 1  # in the first table alone
