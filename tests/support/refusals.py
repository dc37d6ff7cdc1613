"""What the shipped parameters with some overrides are refused with."""

import pytest
from tiny import ROOT

from stages.params.file import load_params
from stages.params.record import Params

SHIPPED = ROOT / "params.yaml"


def shipped(*overrides: str) -> Params:
    return load_params(SHIPPED, overrides)


def refusal(*overrides: str) -> str:
    """The whole message of the refusal."""
    with pytest.raises(ValueError) as caught:
        shipped(*overrides)
    return str(caught.value)


def of_preset(name: str, *overrides: str) -> Params:
    """The parameters of `presets/<name>.yaml`; nothing that they name needs to exist."""
    return load_params(ROOT / f"presets/{name}.yaml", overrides)
