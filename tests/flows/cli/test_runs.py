import json
import os
import socket

import pytest
from damage import edit
from handmade import begun
from said import said
from waiting import in_place_of_sleep

from flows.cli.runs import _print_table
from stages.store.lock import locked

ROW = {
    "key": "3fa9c1d20b7e4488",
    "method": "G²RPO",
    "family": "shapes",
    "seed": 7,
    "rounds": 60,
    "of": 149,
    "state": "runs, process 17 of here",
    "rewards": {"judge_a": 0.78149, "jpeg": -1.5},
    "best_round": 40,
    "best": 0.4567,
    "choose_by": "rule_soft",
    "bytes": 26_400_000,
    "parent": None,
    "created_at": 0.0,
}


def test_the_table_has_a_line_a_run(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    child = ROW | {"key": "b6d1a9028c3e5f70", "parent": ROW["key"], "best": None, "rewards": {}}
    _print_table([ROW, child, {"key": "0123456789abcdef", "state": "damaged: run.json", "created_at": 0.0}])
    titles, first, second, third = (" ".join(line.split()) for line in capsys.readouterr().out.splitlines())
    assert titles == "run method seed rounds state trained reward best size began"
    said_first = "3fa9c1d20b7e4488 G²RPO shapes 7 60/149 runs, process 17 of here judge_a 0.781 jpeg -1.500 rule_soft"
    assert first.startswith(f"{said_first} 0.457 after 40 26 MB 19")
    assert second.startswith("b6d1a9028c3e5f70 (of 3fa9c1d2) G²RPO shapes 7 60/149 runs, process 17 of here 26 MB 19")
    assert third == "0123456789abcdef damaged: run.json"


def test_the_runs_of_the_store_are_listed_the_newest_first(run):
    other, _ = begun("run.seed=7")
    edit(run.path / "run.json", lambda about: about.update(created_at=other.about["created_at"] - 60))
    first, second = json.loads(said("list", "--json"))
    assert (first["key"], first["rounds"], first["seed"]) == (other.key, 0, 7)
    assert (second["key"], second["rounds"], second["best_round"], second["best"]) == (run.key, 2, 1, 0.75)
    lines = said("list").splitlines()
    assert [line.split()[0] for line in lines] == ["run", other.key, run.key]
    assert "rule_soft 0.750 after 1" in lines[2]


def test_an_empty_store_is_told_with_where_it_is(store):
    assert said("list") == f"no runs in {store}; `g2rpo train` starts one\n"
    assert json.loads(said("list", "--json")) == []


def test_a_run_that_goes_on_is_asked_to_stop(run):
    with locked(run.path):
        told = said("stop", "--run", run.key[:8])
    assert told == f"run {run.key}: process {os.getpid()} of {socket.gethostname()} stops at the end of its stage\n"
    assert (run.path / "stop").is_file()


def test_a_run_of_another_machine_is_not_stopped_at_once(run):
    with locked(run.path):
        (run.path / "lock").write_text("17\nelsewhere\n")
        with pytest.raises(ValueError, match="of this machine to be stopped at once, got process 17 of elsewhere"):
            said("stop", "--run", run.key, "--now")
    assert not (run.path / "stop").exists()


@pytest.mark.parametrize("words", [[], ["--run", "3fa9", "--service", "mlflow"]])
def test_one_log_is_asked_for(words):
    with pytest.raises(
        ValueError, match="Either --run or --service is required, got both or neither. Example: --run 3fa9"
    ):
        said("logs", *words)


def test_the_last_lines_of_the_log_of_a_run_or_of_a_service_are_printed(run, store):
    for folder, name in (("logs", run.key), ("services", "mlflow")):
        (store / folder).mkdir()
        (store / folder / f"{name}.log").write_text(f"first\n{name} 1\n{name} 2\n")
    assert said("logs", "--run", run.key[:6], "--lines", "2") == f"{run.key} 1\n{run.key} 2\n"
    assert said("logs", "--service", "mlflow", "--lines", "1") == "mlflow 2\n"
    assert said("logs", "--service", "mlflow") == "first\nmlflow 1\nmlflow 2\n"


def test_a_log_is_followed_until_ctrl_c(store, monkeypatch):
    (store / "services").mkdir(parents=True)
    log = store / "services" / "worker.log"
    log.write_text("first\n")

    def come(seconds):
        if "later" in log.read_text():
            raise KeyboardInterrupt
        log.write_text("first\nlater\n")

    in_place_of_sleep(monkeypatch, come)
    assert said("logs", "--service", "worker", "--follow", status=130) == "first\nlater\n"


def test_two_runs_are_shown_side_by_side(run, tmp_path):
    other, _ = begun("run.seed=7")
    lines = said("diff", run.key, other.key, "--out", tmp_path / "diff").splitlines()
    assert lines[0].split() == [run.key, other.key]
    assert lines[1].split() == ["run.seed", "0", "7"]
    assert lines[-1] == str(tmp_path / "diff" / "diff.html")
    assert (tmp_path / "diff" / "curves.png").is_file()
