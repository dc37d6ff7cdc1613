"""The demo, made small, on other people's machines; and a configured Prefect server, whose address is typed loosely."""

import os
import shutil
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from mlflow.tracking import MlflowClient
from tiny import ROOT, TINY, tiny_params

from stages.store.fingerprint import Fingerprint

pytestmark = pytest.mark.slow

DEAD = "http://127.0.0.1:9"
SMALL = (*TINY, "run.rounds=1")
STORE = ("G2RPO_HOME", "PREFECT_HOME")
OTHER = 54321
"""The id of a user without an entry in passwd."""


@pytest.fixture
def demo(g2rpo, tmp_path):
    """Runs the demo, with its results in `out`; what it says on standard error."""

    def run(*overrides, out="out", prefix=(), without=(), umask=-1, cwd=ROOT, **environment):
        sets = [word for override in (*SMALL, *overrides) for word in ("--set", override)]
        kept = {key: value for key, value in g2rpo.environment.items() if key not in without}
        done = subprocess.run(
            [*prefix, *g2rpo.command("demo", "--out", out if cwd != ROOT else str(tmp_path / out), *sets)],
            cwd=cwd,
            env=kept | {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"} | environment,
            umask=umask,
            capture_output=True,
            encoding="utf-8",
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert "Traceback" not in done.stderr
        assert "experimental feature" not in done.stderr
        assert ((cwd if cwd != ROOT else tmp_path) / out / "metrics.json").is_file()
        return done.stderr

    return run


def test_in_an_office_whose_proxy_cannot_reach_this_machine(demo):
    demo(http_proxy=DEAD, https_proxy=DEAD, all_proxy=DEAD)


def test_under_a_locale_that_is_not_utf8_with_the_same_key(demo, g2rpo, tmp_path):
    named = "tracking.experiment=水 é"
    demo(named, out="é", LC_ALL="en_US.ISO-8859-1")
    assert (tmp_path / "é" / "report.html").read_text(encoding="utf-8")
    assert MlflowClient(f"sqlite:///{g2rpo.store / 'mlflow.db'}").get_experiment_by_name("水 é")
    assert g2rpo.run_folder().name == Fingerprint.of(tiny_params("run.rounds=1", named), "cpu").key


def test_under_a_umask_that_shuts_others_out(demo):
    demo(umask=0o027)


def test_from_a_folder_with_spaces_and_an_apostrophe(demo, tmp_path):
    place = tmp_path / "it's a place"
    place.mkdir()
    shutil.copy(ROOT / "params.yaml", place)
    demo(cwd=place, without=STORE)
    assert (place / ".g2rpo/mlflow.db").is_file()


def test_as_a_user_without_an_entry_in_passwd_and_without_a_home(demo):
    ids, may_read = (f"--reuid={OTHER}", f"--regid={OTHER}", "--clear-groups"), "+dac_override"
    with TemporaryDirectory() as place:  # pytest's own folders are closed to other users
        prefix = ["unshare", "--user", f"--map-user={OTHER}", f"--map-group={OTHER}"]
        if os.geteuid() == 0:
            os.chown(place, OTHER, OTHER)
            prefix = ["setpriv", *ids, f"--inh-caps={may_read}", f"--ambient-caps={may_read}"]  # of root's own checkout
        shutil.copy(ROOT / "params.yaml", place)
        demo(cwd=Path(place), prefix=prefix, without=(*STORE, "HOME", "USER", "LOGNAME", "LNAME", "USERNAME"))
        assert (Path(place) / ".g2rpo/home").is_dir()


def test_a_prefect_address_with_a_slash_at_its_end_is_the_same_one(g2rpo, prefect_api):
    done = g2rpo.train("run.rounds=1", **prefect_api | {"PREFECT_API_URL": f"{prefect_api['PREFECT_API_URL']}/"})
    assert "is gone" not in done.stderr


def test_a_prefect_address_without_its_api_is_refused_before_anything_is_computed(g2rpo, prefect_api):
    page = prefect_api["PREFECT_API_URL"].removesuffix("/api")
    done = g2rpo(*g2rpo.train_command()[3:], **prefect_api | {"PREFECT_API_URL": page})
    assert done.returncode == 2
    assert f"error: the Prefect API must answer at {page}, got " in done.stderr
    assert "and no version of prefect" in done.stderr
    assert "correct PREFECT_API_URL, which ends with /api" in done.stderr
    assert not (g2rpo.store / "runs").exists()
