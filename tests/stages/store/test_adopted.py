"""What the parameters of a stranger may name."""

import os
import re

import pytest
from tiny import tiny_params

from stages.params.record import Params
from stages.params.section import Effect
from stages.store.adopted import forget_adopted, is_foreign, mark_adopted, outer_settings, require_named, uses

_WEIGHTS = "weights: {path: w, revision: null, file: f}"
REMOTE = (
    "rewards.mine={kind: remote, url: 'http://10.0.0.1', model: m, revision: r, batch: 1, retries: 0, timeout: 1.0, "
    "token_env: G2RPO_TOKEN_X}"
)
HPS = f"rewards.hps={{kind: hps, backend: hpsv2, {_WEIGHTS}, clip: null, folder: ./code}}"


@pytest.fixture
def folder(store):
    """The folder of a run of the store that was adopted."""
    mark_adopted("0" * 16, store)
    return store / "runs" / ("0" * 16)


def test_a_run_is_foreign_while_it_is_marked_and_anywhere_outside_the_store(folder, tmp_path):
    assert is_foreign(folder)
    forget_adopted(folder.name)
    forget_adopted(folder.name)
    assert not is_foreign(folder)
    assert is_foreign(tmp_path / ("0" * 16))


def test_code_servers_and_variables_are_what_a_runs_key_does_not_cover():
    assert outer_settings(tiny_params()) == {}
    assert outer_settings(tiny_params(REMOTE, "tracking.uri=http://10.0.0.2", "placement.address=10.0.0.3:6379")) == {
        "rewards.mine.url": "http://10.0.0.1",
        "rewards.mine.token_env": "G2RPO_TOKEN_X",
        "tracking.uri": "http://10.0.0.2",
        "placement.address": "10.0.0.3:6379",
    }
    assert outer_settings(tiny_params(HPS)) == {"rewards.hps.folder": "./code"}


def test_no_text_outside_the_fingerprint_is_forgotten():
    """A new key that names something must be decided upon: does it name code, a server or a variable?"""
    decided = {"prompts.path": "the run's own lists", "evaluate.choose_by": "a name", "tracking.experiment": "a name"}
    decided |= {"policy.path": "known by its digest"}
    texts = set()
    params = tiny_params()
    for section in Params.model_fields:
        record = getattr(params, section)
        outside = params.effect_of(section) in (Effect.NONE,)
        for key, field in getattr(type(record), "model_fields", {}).items():
            if (outside or record.effect_of(key) in (Effect.NONE, Effect.CONTENTS)) and re.search(
                r"\bstr\b", str(field.annotation)
            ):
                texts.add(f"{section}.{key}")
    assert texts == {*decided, "tracking.uri", "placement.address"}


def test_what_a_stranger_names_is_refused_until_a_person_names_the_same(folder):
    params = tiny_params(REMOTE)
    with pytest.raises(ValueError, match=r"(?s)may not name code, servers or .*rewards.mine.url: 'http://10.0.0.1'\n"):
        require_named(folder, params)
    with pytest.raises(ValueError, match="rewards.mine.url"):
        require_named(folder, params, by=tiny_params(REMOTE.replace("10.0.0.1", "10.0.0.9")))
    require_named(folder, params, by=params)
    require_named(folder, tiny_params())
    forget_adopted(folder.name)
    require_named(folder, params)


def test_what_a_run_uses_is_said_line_by_line():
    first, second, last = uses(tiny_params(REMOTE))
    assert first == "model: shapes, 'the shipped weights'"
    assert second.startswith("reward 'mine': remote, url 'http://10.0.0.1', model 'm'")
    assert last.startswith("code, servers and variables: rewards.mine.url 'http://10.0.0.1'")
    assert uses(tiny_params())[-1] == "code, servers and variables: none"


def test_a_run_of_another_user_in_a_shared_store_is_foreign(folder, monkeypatch):
    forget_adopted(folder.name)
    folder.mkdir(parents=True)
    (folder / "params.yaml").touch()
    assert not is_foreign(folder)
    other = os.geteuid() + 1
    monkeypatch.setattr(os, "geteuid", lambda: other)
    assert is_foreign(folder)
    with pytest.raises(ValueError, match="or is of another user.*\n  tracking.uri: 'http://10.0.0.2'"):
        require_named(folder, tiny_params("tracking.uri=http://10.0.0.2"))
