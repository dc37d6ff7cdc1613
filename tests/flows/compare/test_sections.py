"""What the report says, section by section, of tables whose numbers are chosen by hand."""

from math import nan

import pytest
from comparisons import write_plan

from flows.compare.plan import load_plan
from flows.compare.sections import (
    cost_section,
    decimals_of,
    final_section,
    grid_section,
    number,
    origin_section,
    paired_section,
    probability,
    row_name,
    steps_section,
)
from flows.compare.shown import Shown

GRID = {"update.clip_range": [0.1, 0.2, 0.3]}


@pytest.fixture
def plan(tmp_path):
    return lambda **changes: load_plan(write_plan(tmp_path, **changes))


def figure(method, mean, half=nan, n=2, **key):
    """A row of the table of final figures."""
    about = {"method": method, "variant": "", "num_steps": 4, "reward": "rule_soft"} | key
    return about | {"n": n, "mean": mean, "std": nan, "low": mean - half, "high": mean + half}


FINAL = [figure("base", 0.25, n=1), figure("fine", 0.4, 0.635), figure("coarse", 0.65, 0.0126)]
JUDGED = [row | {"reward": "judge_a", "mean": 22.41, "low": 22.0, "high": 22.82} for row in FINAL]


def shown(plan, final, rewards=("rule_soft",), trained=("judge_a",), variants=("",)):
    return Shown(plan, rewards, dict.fromkeys(variants, trained), [], final, [])


def test_a_number_has_a_true_minus_sign():
    assert (number(-0.0123, 3), number(0.5, 1, signed=True), number(22.41, 0)) == ("−0.012", "+0.5", "22")


def test_values_are_told_by_three_digits_of_the_largest():
    values = {(0.612, 0.598): 3, (22.41,): 1, (0.0123, nan): 4, (-1234.0, 1.0): 0, (1e-9,): 6, (0.0,): 3, (nan,): 2}
    assert {each: decimals_of(each) for each in values} == values


def test_a_small_p_is_told_by_its_bound_and_none_where_there_was_no_test():
    assert [probability(p) for p in (0.0009, 0.001, 0.0742, nan)] == ["<0.001", "0.001", "0.074", ""]


def test_a_row_is_named_by_its_method_and_point(plan):
    assert row_name({"method": "fine", "update.clip_range": 0.1}, plan()) == "fine"
    assert row_name({"method": "fine", "update.clip_range": 0.1}, plan(grid=GRID)) == "fine, update.clip_range=0.1"


def test_final_figures_are_means_with_half_of_their_intervals_the_base_first(plan):
    rows = [*reversed(FINAL), *JUDGED]
    section = final_section(shown(plan(), rows, ("rule_soft", "judge_a")))
    assert section.title == "Final figures"
    assert section.texts == [
        "On the test captions, which were used neither to train nor to choose: mean ± half of the 95 % t-interval over "
        "seeds. The base is evaluated once. Intervals are over seeds, for the same captions."
    ]
    ((title, table),) = section.tables
    assert (title, table.header) == ("4 inference steps", ["method", "rule_soft", "judge_a (trained on)"])
    assert table.rows == [
        ["base", "0.250", "22.4 ± 0.4"],
        ["coarse", "0.650 ± 0.013", "22.4 ± 0.4"],
        ["fine", "0.400 ± 0.635", "22.4 ± 0.4"],
    ]
    assert section.pictures[0][0] == "final"


def test_a_figure_that_is_not_there_is_left_empty(plan):
    section = final_section(shown(plan(), [*FINAL, JUDGED[1]], ("rule_soft", "judge_a")))
    assert [row[2] for row in section.tables[0][1].rows] == ["", "22.4 ± 0.4", ""]


def test_final_figures_tell_how_many_seeds_there_were_and_of_the_grid(plan):
    (one,) = final_section(shown(plan(split="tuning"), [figure("fine", 0.4, n=1)])).texts
    assert one.startswith("On the tuning captions, which were used to choose, not to train: ")
    assert "of one seed, so without intervals" in one
    (differing,) = final_section(shown(plan(), [figure("fine", 0.4, n=3), figure("coarse", 0.4, n=2)])).texts
    assert differing.endswith(" The number of seeds differs: 2, 3.")
    point = {"update.clip_range": 0.2}
    section = final_section(shown(plan(grid=GRID), [figure("fine", 0.4, **point)]))
    assert section.texts[0].endswith(" Each method is shown at the point of the grid that is best for it.")
    assert section.tables[0][1].rows[0][0] == "fine, update.clip_range=0.2"


def test_a_variant_and_another_number_of_inference_steps_have_tables_of_their_own(plan):
    rows = [figure("fine", 0.4, variant=name, num_steps=steps) for name in ("one", "two") for steps in (4, 8)]
    there = shown(plan(), rows, variants=("one", "two"))
    titles = [title for title, _ in final_section(there).tables]
    assert titles == ["one, 4 inference steps", "two, 4 inference steps"]
    section = steps_section(there, "inference-steps")
    assert [title for title, _ in section.tables] == ["one, 8 inference steps", "two, 8 inference steps"]
    assert section.tables[0][1].rows == [["fine", "0.400"]]
    assert section.pictures == [("inference-steps", "Final figures over numbers of inference steps")]


def paired(**more):
    row = {"method": "coarse", "variant": "", "num_steps": 4, "reward": "rule_soft", "difference": -0.25, "n": 2}
    return row | {"low": -0.5, "high": 0.125, "p": 0.1257, "p_holm": 0.2514} | more


def test_tests_tell_difference_interval_and_both_p(plan):
    section = paired_section([paired(), paired(num_steps=8)], shown(plan(), FINAL))
    assert section.title == "Against fine"
    assert section.texts[0].startswith("Each method less fine, paired by seed")
    ((title, table),) = section.tables
    assert (title, table.num_names) == ("", 2)
    assert table.header == ["reward", "method", "difference", "95 % interval", "p", "p (Holm)", "seeds"]
    assert table.rows == [["rule_soft", "coarse", "−0.2500", "−0.5000 to +0.1250", "0.126", "0.251", "2"]]


def test_of_one_seed_nothing_is_tested(plan):
    assert paired_section([paired(n=1)], shown(plan(), FINAL)) is None
    assert paired_section([], shown(plan(), FINAL)) is None


def tuned(method, place, mean):
    return figure(method, mean, 0.0126, **{"update.clip_range": place}) | {"split": "tuning"}


def test_a_grid_tells_the_metric_at_every_point_and_marks_the_best(plan):
    rows = [*(tuned("fine", place, mean) for place, mean in ((0.1, 0.4), (0.2, 0.5), (0.3, 0.2)))]
    rows += [tuned("coarse", place, mean) for place, mean in ((0.1, 0.6), (0.3, 0.2))]
    section = grid_section([rows[1], rows[3]], rows, plan(grid=GRID))
    assert section.texts[0].startswith("rule_soft on the tuning captions, which decides the best point of each method")
    assert section.texts[0].endswith(" Best at the edge of the grid, so a wider one may be better: coarse.")
    ((title, table),) = section.tables
    assert (title, table.header) == ("", ["point", "fine", "coarse"])
    assert table.rows == [
        ["update.clip_range=0.1", "0.400 ± 0.013", "0.600 ± 0.013 ◂"],
        ["update.clip_range=0.2", "0.500 ± 0.013 ◂", ""],
        ["update.clip_range=0.3", "0.200 ± 0.013", "0.200 ± 0.013"],
    ]
    assert section.pictures == [("grid", "rule_soft over the grid")]


def test_two_values_or_texts_have_no_edge(plan):
    rows = [tuned("fine", 0.1, 0.4), tuned("fine", 0.2, 0.3)]
    assert "edge" not in grid_section(rows[:1], rows, plan(grid={"update.clip_range": [0.1, 0.2]})).texts[0]
    texts = [row | {"update.clip_range": "cps"} for row in rows[:1]]
    assert "edge" not in grid_section(texts, texts, plan(grid={"update.clip_range": ["cps", "flow", "dance"]})).texts[0]


def test_a_cost_is_told_in_evaluations_seconds_and_memory(plan):
    spent = {"rounds": 2, "prompts": 4, "evaluations": 16000, "evaluations_per_prompt": 2000, "cpu_seconds": 48.0}
    spent |= {"wall_seconds": 30.25, "peak_bytes": 3 * 2**29}
    section = cost_section([{"method": "fine", "variant": "two"} | spent], plan())
    assert section.title == "Cost of a run"
    ((_, table),) = section.tables
    assert dict(zip(table.header, table.rows[0], strict=True)) == {
        **{"method": "fine, two", "rounds": "2", "prompts per round": "4", "evaluations": "16,000"},
        **{"evaluations per prompt": "2,000", "CPU-seconds": "48.0", "wall-seconds": "30.2"},
        **{"CPU-seconds per 1,000 evaluations": "3", "peak memory, GiB": "1.50"},
    }


def test_the_origin_names_each_commit_and_machine_once_and_the_command():
    links = [{"git_commit": "fae7c60", "machine": "A"}, {"git_commit": "3c15272", "machine": "A", "git_dirty": "true"}]
    section = origin_section(links, "g2rpo compare --plan p.yaml")
    assert section.texts == [
        "`g2rpo compare --plan p.yaml` writes this report again; the runs and their keys are in runs.csv."
    ]
    ((_, table),) = section.tables
    assert table.rows == [["commit", "fae7c60, 3c15272, with uncommitted changes"], ["machine", "A"]]
