import json

import pytest
from said import said
from tiny import ROOT

from flows.cli.doctor import _run_checks

PARAMS = ROOT / "params.yaml"


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """A folder that no git and no DVC knows."""
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    monkeypatch.chdir(tmp_path)


def test_each_look_is_taken_in_turn(store):
    found = _run_checks(PARAMS, ["resources.device=cpu", "guards.disk.free_gb=0.000001"])
    names = [check.name for check in found]
    looks = ["python", "parameters", "device", "store", "disk", "cluster", "runs", "prefect", "mlflow", "hub", "git"]
    assert [name for name in names if name in looks] == looks
    told = {check.name: check.message for check in found}
    assert told["parameters"] == f"{PARAMS} is valid"
    assert told["runs"] == f"0 in {store}"


def test_without_parameters_the_other_looks_are_not_taken():
    last = _run_checks(PARAMS, ["run.rounds=0"])[-1]
    assert (last.name, last.state) == ("parameters", "fault")
    assert "run.rounds: input should be greater than or equal to 1, got 0" in last.message
    assert "\n" not in last.message


def test_a_fault_is_told_with_its_remedy_and_by_the_exit_status():
    told = said("doctor", "--params", "nowhere.yaml", status=1)
    assert "\nfault parameters: " in told
    assert told.endswith("\n      Correct them; the other checks need them.\n")


def test_what_is_well_is_told_in_a_line_and_all_of_it_as_json():
    words = ["--params", PARAMS, "--set", "guards.disk.free_gb=0.000001", "--set", "resources.device=cpu"]
    found = json.loads(said("doctor", "--json", *words))
    assert {check["state"] for check in found} <= {"ok", "warn"}
    lines = said("doctor", *words).splitlines()
    assert [line for line in lines if line.startswith("ok")] == [
        f"ok    {check['name']}: {check['message']}" for check in found if check["state"] == "ok"
    ]
    git = lines.index("warn  git: this folder is no git repository: runs cannot record their commit")
    assert lines[git + 1] == "      git init"
