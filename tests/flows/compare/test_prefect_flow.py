"""A plan as the flow `compare`, told to a real API; stand-in processes bring its runs."""

import pytest
from comparisons import ask, write_plan
from prefect.settings import PREFECT_API_URL, PREFECT_LOGGING_TO_API_ENABLED, temporary_settings
from prefect_here import prefect_here
from stand_in_process import stand_in
from whole_runs import make_whole

from flows.compare.comparison import Comparison
from flows.compare.prefect_flow import bring_as_flow
from flows.compare.progress import Progress


@pytest.fixture(scope="module")
def api(tmp_path_factory):
    with (
        prefect_here(tmp_path_factory.mktemp("prefect")) as url,
        temporary_settings({PREFECT_API_URL: url, PREFECT_LOGGING_TO_API_ENABLED: False}),
    ):
        yield url


def state(api, flow_name):
    (flow,) = ask(api, "flow_runs/filter", {"flow_runs": {"name": {"any_": [flow_name]}}})
    return flow["state_type"]


def tasks(caplog):
    """Names of the tasks with how they ended; events, by which a server would know them, are not served here."""
    ended = [record for record in caplog.records if record.name == "prefect.task_runs" and "Finished" in record.message]
    return {
        record.task_run_name: record.message.removeprefix("Finished in state ").partition("(")[0] for record in ended
    }


def test_each_run_is_a_task_with_its_name_and_a_run_that_fails_fails_the_flow(tmp_path, api, monkeypatch, caplog):
    stand_in(tmp_path, monkeypatch, fine="no room on the disk")
    comparison = Comparison.of(write_plan(tmp_path, "My plan", seeds=[7]))
    fine, coarse = comparison.runs
    make_whole(coarse)  # as a process would have
    fine.log("My plan").parent.mkdir(parents=True)
    progress = Progress(comparison, 2)
    bring_as_flow(comparison, comparison.runs, progress)
    assert list(progress.failed) == ["fine, seed 7"]
    assert progress.failed["fine, seed 7"].startswith("no room on the disk (log: ")
    assert {row["run"] for row in progress.rows} == {"fine, seed 7", "coarse, seed 7"}
    assert state(api, "compare-My plan") == "FAILED"
    assert tasks(caplog) == {"coarse-s7": "Completed", "fine-s7": "Failed"}
    (artifact,) = ask(api, "artifacts/filter", {"artifacts": {"key": {"any_": ["compare-my-plan"]}}})
    assert artifact["description"] == f"The runs of {comparison.path}"
    assert "rule_soft 0.550 on test" in str(artifact["data"])


def test_a_flow_whose_runs_all_come_to_their_end_is_completed(tmp_path, api, monkeypatch, caplog):
    stand_in(tmp_path, monkeypatch)
    comparison = Comparison.of(write_plan(tmp_path, "other", seeds=[7]))
    (_, coarse) = comparison.runs
    make_whole(coarse)
    coarse.log("other").parent.mkdir(parents=True)
    progress = Progress(comparison, 1)
    bring_as_flow(comparison, [coarse], progress)
    assert progress.failed == {}
    assert state(api, "compare-other") == "COMPLETED"
    assert tasks(caplog) == {"coarse-s7": "Completed"}
