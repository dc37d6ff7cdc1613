import json

import pytest


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_the_main_job_teaches_what_it_was_never_trained_on(g2rpo, tmp_path, seed):
    done = g2rpo("demo", "--out", str(tmp_path), "--set", f"run.seed={seed}")
    assert done.returncode == 0, done.stderr
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    base, aligned = metrics["base"], metrics["aligned"]
    assert 0.35 <= base["rule_strict"] <= 0.45
    assert aligned["rule_strict"] >= 0.6
    assert all(aligned[name] > base[name] + 0.03 for name in base)
    assert metrics["evaluations_per_prompt"] == 32
