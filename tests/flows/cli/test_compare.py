import pytest
from comparisons import PLAN, write_plan
from said import said

from flows.common.processes import free_port


def test_a_plan_is_refused_before_anything_is_started(store, tmp_path):
    with pytest.raises(ValueError, match="reference: one of the methods fine, coarse is required, got 'medium'"):
        said("compare", "--plan", write_plan(tmp_path, reference="medium"))
    with pytest.raises(ValueError, match="Correct --plan FILE"):
        said("compare", "--plan", tmp_path / "nowhere.yaml")
    assert not store.exists()


def test_a_comparison_asks_first_whether_its_runs_can_be_shown(store, tmp_path):
    dead = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(ValueError, match=f"the MLflow server must answer at {dead}, got no answer"):
        said(
            "compare",
            "--plan",
            write_plan(tmp_path, set=PLAN["set"] | {"tracking.uri": dead}),
            "--out",
            tmp_path / "out",
        )
    assert not (tmp_path / "out").exists()
