"""The report of a comparison as files, of the runs of tests/support/whole_runs.py."""

import json

import pytest
import yaml
from comparisons import PLAN, table
from unrendered import leave_unrendered
from whole_runs import measured_by_hand, write_pictures

from flows.compare.comparison import Comparison
from flows.compare.report import Tables, write_report
from stages.disk.files import make_folder

GRID = {"update.clip_range": [0.0001, 0.1001]}
VARIANTS = {"one reward": {"set": {}}, "other": {"set": {"update.clip_range": 0.1001}}}
FILES = {"report.html", "report.md", "metrics.json", "runs.csv", "final.csv", "curves.csv", "cost.csv", "paired.csv"}


@pytest.fixture(scope="module")
def reported(tmp_path_factory):
    """Writes the report of a plan, of its runs but those left out, once for each change to the plan."""
    made = {}

    def write(left_out=(), **changes):
        if repr((left_out, changes)) not in made:
            folder = tmp_path_factory.mktemp("reported")
            with pytest.MonkeyPatch.context() as patched:
                patched.setenv("G2RPO_HOME", str(folder / "store"))
                leave_unrendered(patched)
                made[repr((left_out, changes))] = _written(folder, left_out, dict(changes))
        return made[repr((left_out, changes))]

    return write


def _written(folder, left_out, changes):
    values = PLAN["set"] | {"evaluate.rewards": ["judge_a", "rule_soft"]} | changes.pop("set", {})
    plan, runs = measured_by_hand(folder, **changes, set=values)
    comparison = Comparison("small", folder / "small.yaml", plan, [each.placed for each in runs])
    whole = [each for each in runs if each.placed.cell.slug not in left_out]
    for kept in {whole[0].placed.base, *(each.placed.judged for each in whole)}:
        write_pictures(kept / "pictures")
    make_folder(folder / "out")
    (folder / "out/tuning.csv").write_text("of an earlier plan")
    write_report(comparison, whole, folder / "out")
    return folder / "out"


def drawn(out):
    """Names of the plots that the report in Markdown shows, in order."""
    lines = (out / "report.md").read_text().splitlines()
    return [line.rpartition("(")[2].removesuffix(".png)") for line in lines if line.startswith("![")]


def headings(out):
    return [line[3:] for line in (out / "report.md").read_text().splitlines() if line.startswith("## ")]


def test_a_report_is_a_page_a_text_tables_and_plots_and_nothing_of_an_earlier_plan(reported):
    out = reported()
    plots = {"final", "curves", "pareto", "images"}
    assert {path.name for path in out.iterdir()} == FILES | {
        f"{name}.{form}" for name in plots for form in ("png", "svg")
    }
    assert drawn(out) == ["final", "curves", "pareto", "images"]
    assert headings(out) == [
        *("Final figures", "Against fine", "Over training", "Trained against held out"),
        *("The same captions from the same noise", "Cost of a run", "Where it came from", "The plan"),
    ]


def test_page_and_text_say_the_same_lead_the_plan_and_where_it_came_from(reported):
    out = reported()
    for said in ((out / "report.md").read_text(), (out / "report.html").read_text()):
        assert (
            "2 methods × 2 seeds. Each run trains for as many whole rounds as 230 transformer evaluations pay for "
            "(forward 1, forward and backward 3); its last policy is evaluated on 4 test captions, 1 noise each."
        ) in said
        assert f"g2rpo compare --plan {out.parent / 'small.yaml'}" in said
        assert "0.650 ± 1.271" in said  # 12.706 times .1
        assert "reference: fine" in said
        assert "are not done" not in said


def test_a_text_of_the_plan_is_no_markup_in_the_page(reported):
    out = reported(title="A <b> & B", seeds=[7], set={"report.num_steps": [4, 8]})
    assert "# A \\<b> & B\n" in (out / "report.md").read_text()
    assert "A &lt;b&gt; &amp; B" in (out / "report.html").read_text()


def test_the_metrics_are_the_means_by_method_and_reward(reported):
    out = reported()
    tree = json.loads((out / "metrics.json").read_text())
    assert list(tree) == ["base", "fine", "coarse"]
    assert tree["coarse"]["rule_soft"] == pytest.approx(0.65)
    assert tree["base"] == {"judge_a": 0.5, "rule_soft": 0.25}


def test_a_report_of_a_part_names_the_runs_that_it_lacks(reported):
    out = reported(left_out=["fine-s8"])
    said = "1 runs of the plan are not done, and nothing here is of them:** fine, seed 8."
    assert said in (out / "report.md").read_text()
    assert {row["run_key"] for row in table(out / "runs.csv")} == {"fine-s7", "coarse-s7", "coarse-s8"}


def test_a_variant_has_curves_and_pictures_of_its_own(reported):
    out = reported(variants=VARIANTS, left_out=["fine-one-reward-s7"])
    assert drawn(out) == [
        *("final", "curves-one-reward", "curves-other", "pareto", "images-one-reward", "images-other"),
    ]
    text = (out / "report.md").read_text()
    assert "![Curves, one reward](curves-one-reward.png)" in text
    assert "![Seed 8, one reward]" in text  # with 7 one of the methods has not come to its end
    assert "![Seed 7, other]" in text
    assert "2 methods × 2 variants × 2 seeds. " in text
    assert json.loads((out / "metrics.json").read_text())["other"]["fine"]["rule_soft"] == pytest.approx(0.5)


def test_a_grid_is_told_with_its_best_points_and_its_plan_for_the_next(reported):
    out = reported(grid=GRID, seeds=[7])
    assert headings(out)[1] == "Grid"
    assert yaml.safe_load((out / "best.yaml").read_text()) == {
        "methods": {name: {"set": {"update.clip_range": 0.1001}} for name in ("fine", "coarse")}
    }
    assert len(table(out / "tuning.csv")) == 4
    assert "2 methods × 2 points of a grid × 1 seed. " in (out / "report.md").read_text()
    rows = [line for line in (out / "report.md").read_text().splitlines() if line.startswith("| coarse, update")]
    assert len(rows) == 2  # of the final figures and of the costs
    assert all(row.startswith("| coarse, update.clip_range=0.1001 |") for row in rows)
    points = list(json.loads((out / "metrics.json").read_text())["fine"])
    assert points == ["update.clip_range=0.0001", "update.clip_range=0.1001"]


def test_other_numbers_of_inference_steps_have_a_section(reported):
    out = reported(title="A <b> & B", seeds=[7], set={"report.num_steps": [4, 8]})
    assert "Other inference steps" in headings(out)
    assert "inference-steps" in drawn(out)


def test_where_a_grid_chooses_nothing_is_tested(by_hand):
    assert Tables.of(*by_hand()).paired
    assert Tables.of(*by_hand(grid=GRID)).paired == []


def test_tables_of_a_plan_without_a_grid_have_no_best(by_hand):
    tables = Tables.of(*by_hand())
    assert (tables.tuning, tables.best) == ([], [])
    assert [len(rows) for rows in (tables.runs, tables.final, tables.paired, tables.curves, tables.cost)] == [
        *(32, 12, 4, 32, 2)
    ]
