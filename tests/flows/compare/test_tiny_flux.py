"""Four methods and two rewards compared on a small random FLUX.1: the path of a real comparison, on a CPU."""

import json

import pytest
import yaml
from comparisons import Comparing, table, write_plan
from random_bases import overrides
from tiny import ROOT

pytestmark = pytest.mark.slow

METHODS = {
    "g2rpo": {"set": {"complete.granularities": [1, 2]}},
    "mix_grpo": {"params": str(ROOT / "presets/methods/mix-grpo.yaml"), "set": {"rollout.steps": [0, 1]}},
    "flow_grpo": {"params": str(ROOT / "presets/methods/flow-grpo.yaml")},
    "dance_grpo": {"params": str(ROOT / "presets/methods/dance-grpo.yaml")},
}
SMALL = {
    "prompts.num_prompts": 2,
    "prompts.shard_size": 1,
    "rollout.num_steps": 4,
    "rollout.shift": "model",
    "rollout.steps": [0, 1, 2],
    "rollout.group_size": 2,
    "rollout.micro_batch": 8,
    "complete.granularities": [1],
    "evaluate.num_prompts": 2,
    "report.num_prompts": 2,
    "report.num_steps": [2],
    "update.num_minibatches": 1,
}


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    comparing = Comparing(tmp_path_factory.mktemp("flux"))
    bases = {key: yaml.safe_load(value) for key, value in (override.split("=", 1) for override in overrides("flux1"))}
    comparing.plan = write_plan(
        comparing.folder,
        params=str(ROOT / "presets/tiny-flux.yaml"),
        set=bases | SMALL,
        methods=METHODS,
        budget=80,
        seeds=[1],
        processes=1,
        reference="g2rpo",
        metric="hps",
    )
    comparing.said = comparing(comparing.plan)
    assert comparing.said.returncode == 0, comparing.said.stderr
    return comparing


def test_four_methods_are_compared_by_two_rewards(compared):
    rows = table(compared.folder / "out/final.csv")
    assert {row["method"] for row in rows} == {"base", *METHODS}
    assert {row["reward"] for row in rows} == {"hps", "jpeg"}
    metrics = json.loads((compared.folder / "out/metrics.json").read_text())
    assert all(metrics[name]["hps"] != metrics["base"]["hps"] for name in METHODS)


def test_no_method_spends_more_than_the_budget(compared):
    spent = {row["method"]: float(row["evaluations"]) for row in table(compared.folder / "out/cost.csv")}
    assert spent.keys() == METHODS.keys()
    assert all(0 < evaluations <= 80 for evaluations in spent.values())


def test_rewards_of_other_scales_are_told_in_their_own_decimals(compared):
    text = (compared.folder / "out/report.md").read_text()
    (line,) = [line for line in text.splitlines() if line.startswith("| base |")]
    hps, jpeg = (cell.strip() for cell in line.split("|")[2:4])
    assert len(hps.split(".")[1]) > len(jpeg.split(".")[1])
    assert "hps (trained on) | jpeg (trained on)" in text
