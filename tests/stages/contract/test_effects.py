"""Every key of params.yaml changes what a stage is stamped with, or its field says what it has an effect on."""

import warnings

import pytest
from tiny import ROOT

from stages.contract.declared_stages import EVALUATE, ROUND_STAGES
from stages.params.file import load_params
from stages.params.record import Params
from stages.params.section import Effect
from stages.store.fingerprint import Fingerprint

PRESETS = (
    *("params.yaml", "presets/methods/mix-grpo.yaml", "presets/methods/dance-grpo.yaml"),
    *("presets/flux1-dev-hps-clip-8gpu.yaml", "presets/sd35-medium-lora-1gpu.yaml"),
)
"""Between them they have every family, every method, and a scorer of every placement."""


def keys():
    """Each key of each section, with a preset that has it."""
    keys = {}
    for preset in PRESETS:
        params = load_params(ROOT / preset)
        for section in (section for section in Params.model_fields if section != "rewards"):
            kind = type(getattr(params, section))
            keys |= {(kind, key): (params, section, key) for key in kind.model_fields}
    return list(keys.values())


def another(value):
    """Some other value; whether it is allowed does not matter here."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    if isinstance(value, tuple):
        return (*value, 1)
    return f"{value} and more"


def changed(params, section, key):
    return params.with_values({f"{section}.{key}": another(getattr(getattr(params, section), key))})


@pytest.fixture(autouse=True)
def of_any_type():
    """Pydantic warns when it writes a value of another type."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        yield


@pytest.mark.parametrize(
    ("params", "section", "key"), keys(), ids=lambda value: value if isinstance(value, str) else ""
)
def test_a_key_changes_a_stamp_or_is_marked(params, section, key):
    other = changed(params, section, key)
    by_rounds = any(stage.parameters(other, 9) != stage.parameters(params, 9) for stage in ROUND_STAGES)
    by_evaluation = EVALUATE.parameters(other, 9) != EVALUATE.parameters(params, 9)
    learned = Params.effect_of(section) is None
    if getattr(params, section).effect_of(key) is not None or Params.effect_of(section) is Effect.NONE:
        assert not by_rounds
        assert not by_evaluation
    elif learned:
        assert by_rounds
    else:
        assert not by_rounds
        assert by_evaluation == (section == "evaluate")  # `report` stands in the place of `evaluate` at the end


def test_the_runs_name_holds_what_is_learned_from_and_nothing_that_is_marked():
    params = load_params(ROOT / "params.yaml")
    named = {name for name in Fingerprint.of(params, "cpu").values if not name.startswith("origins.")}
    unmarked = {
        f"{section}.{key}"
        for section in Params.model_fields
        if Params.effect_of(section) is None
        for key in type(getattr(params, section)).model_fields
        if getattr(params, section).effect_of(key) is None
    }
    assert named == unmarked | {"resources.device"}  # the kind that `auto` resolves to
