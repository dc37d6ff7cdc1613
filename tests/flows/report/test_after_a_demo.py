"""What `g2rpo demo` leaves, as a user runs it."""

import json

import numpy as np
from PIL import Image
from processes import processes_with

from stages.disk.tables import read_table


def test_a_demo_leaves_figures_pictures_and_no_process(g2rpo, tmp_path):
    out = tmp_path / "demo"
    words = [word for word in g2rpo.train_command()[3:] if word != "train"]
    done = g2rpo("demo", "--out", str(out), *words)
    assert done.returncode == 0, done.stderr
    metrics = json.loads((out / "metrics.json").read_text())
    rewards = {"judge_a", "judge_b", "rule_soft", "rule_strict"}
    assert set(metrics["base"]) == set(metrics["aligned"]) == rewards
    assert (metrics["rounds"], metrics["method"]) == (2, "G²RPO")
    assert metrics["run_key"] == g2rpo.run_folder().name
    assert metrics["evaluations_per_prompt"] == 2 + 3 * (3 + 2)  # anchor; per branch 1 2 3 from step 0, 2 3 from step 1
    assert metrics["cpu_seconds"] > 0
    assert len(metrics["mlflow_run_id"]) == 32
    assert len(metrics["prefect_flow_run_id"]) == 36
    rows = read_table(g2rpo.run_folder() / "evaluations/0002-test/evaluations").to_pandas()
    assert metrics["aligned"]["judge_b"] == rows[rows.reward == "judge_b"]["value"].mean()
    for name in ("before_after.png", "curves.png"):
        assert np.asarray(Image.open(out / name).convert("L")).std() > 10
    page = (out / "report.html").read_text()
    assert f"{metrics['aligned']['rule_soft']:.3f}" in page
    assert metrics["mlflow_run_id"] in page
    assert "judge_a (trained on)" in done.stdout
    assert processes_with(f"G2RPO_HOME={g2rpo.store}") == []
