import pytest
from tiny import tiny_params

import stages.integrate
import stages.rollout
from stages.contract.declared_stages import EVALUATE, POLICY_INPUTS, ROUND_STAGES, STAGES


def test_what_changes_no_table_by_itself_is_no_parameter_of_a_stage():
    params = tiny_params("run.seed=3")
    assert STAGES["prompts"].parameters(params, 0)["run"] == {"seed": 3}
    parameters = STAGES["update"].parameters(params, 0)
    assert (set(parameters["placement"]), set(parameters["policy"])) == ({"staleness"}, {"family"})


@pytest.mark.parametrize(("name", "module"), [("rollout", stages.rollout), ("integrate", stages.integrate)])
def test_the_code_of_a_stage_is_run_in_the_module_of_its_name(name, module):
    assert STAGES[name].load() is module.run


def test_a_stage_depends_on_its_sections_and_on_single_keys_of_others():
    params = tiny_params("run.seed=7", "rollout.eta=0.4")
    parameters = STAGES["rollout"].parameters(params, 0)
    assert parameters["run"] == {"seed": 7}
    assert parameters["rollout"]["eta"] == 0.4
    assert parameters.keys() == {"run", "resources", "policy", "rollout"}
    assert EVALUATE.parameters(params, 0)["rollout"] == {"shift": params.rollout.shift}
    assert STAGES["rollout"].parameters(tiny_params("run.seed=7", "rollout.eta=0.4", "run.rounds=9"), 3) == parameters


def test_an_update_depends_on_the_halvings_that_have_come_and_on_none_that_will():
    params = tiny_params("update.halved_after=[2, 5]")
    parameters = [STAGES["update"].parameters(params, number)["update"]["halved_after"] for number in (0, 2, 4, 5, 9)]
    assert parameters == [[], [2], [2], [2, 5], [2, 5]]


def test_every_table_that_a_stage_reads_is_written_before_it():
    written = {*POLICY_INPUTS}
    for stage in ROUND_STAGES:
        assert written >= {*stage.inputs}
        written |= {*stage.outputs}
    assert [*STAGES] == ["prompts", "rollout", "complete", "score", "integrate", "update", "evaluate"]
