import pytest
from damage import edit
from tiny import tiny_params

from stages.store.base_weights import require_base
from stages.store.run import open_run


def test_base_weights_that_are_not_those_of_the_run_are_refused_with_where_they_are_looked_for():
    params = tiny_params()
    run = open_run(params, device="cpu")
    require_base(run, params)
    edit(run.path / "run.json", lambda about: about["fingerprint"].update({"origins.policy": "0" * 64}))
    with pytest.raises(ValueError) as refused:
        require_base(run, params)
    assert str(refused.value) == (
        f"The base weights that run {run.key} began with are required, got others at the shipped folder. Put them back."
    )
    elsewhere = params.with_values({"policy.path": "elsewhere"})
    with pytest.raises(ValueError, match="elsewhere"):
        require_base(run, elsewhere)
