import pytest
from tiny import tiny_params

from stages.contract.declared_stages import EVALUATE, STAGES
from stages.sources.base_model import policy_digest
from stages.sources.rewards import reward_digest
from stages.store.input_digests import run_origins, stage_origins
from stages.texts.lists import list_digest

JUDGES = ("judge_a", "judge_b", "rule_soft", "rule_strict")
PARAMS = tiny_params("score.rewards=[judge_a, rule_soft]", "integrate.reward_weights={judge_a: 1.0, rule_soft: 1.0}")


@pytest.mark.parametrize(
    ("stage", "names"),
    [
        (STAGES["prompts"], ["prompts/train"]),
        (STAGES["score"], ["rewards/judge_a", "rewards/rule_soft"]),
        (
            EVALUATE,
            ["prompts/tuning", "rewards/judge_a", "rewards/judge_b", "rewards/rule_soft", "rewards/rule_strict"],
        ),
        (STAGES["rollout"], []),
        (STAGES["update"], []),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_a_stage_comes_from_the_list_and_the_rewards_that_it_reads(stage, names):
    digests = stage_origins(stage, PARAMS)
    assert list(digests) == names
    assert all(digests[name] == digest_of(*name.split("/")) for name in names)


def digest_of(kind, name):
    return list_digest(PARAMS, name) if kind == "prompts" else reward_digest(PARAMS, name)


def test_a_run_comes_from_its_base_its_list_and_what_it_is_trained_on():
    assert run_origins(PARAMS) == {
        "policy": policy_digest(PARAMS),
        "prompts/train": list_digest(PARAMS, "train"),
        "rewards/judge_a": reward_digest(PARAMS, "judge_a"),
        "rewards/rule_soft": reward_digest(PARAMS, "rule_soft"),
    }
    assert all(isinstance(digest, str) and len(digest) >= 16 for digest in run_origins(PARAMS).values())
    assert len(set(run_origins(PARAMS).values())) == 4
