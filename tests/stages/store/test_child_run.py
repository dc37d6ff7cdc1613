import pytest
from damage import bring_to_the_end
from rounds import new_run
from tiny import tables, tiny_params

from stages.contract.declared_stages import STAGES
from stages.engine.rules import learning_rate
from stages.integrity.verify import verify
from stages.params.file import load_params, written
from stages.store.child_run import begin_child, child_params

HALVED = "update.halved_after=[{}]"


def rates(*after, rounds=6):
    params = tiny_params("update.learning_rate=0.8", HALVED.format(",".join(map(str, after))))
    return [learning_rate(params.update, number) for number in range(rounds)]


def test_the_learning_rate_is_halved_once_more_after_each_round_that_is_named():
    assert rates() == [0.8] * 6
    assert rates(2) == [0.8, 0.8, 0.4, 0.4, 0.4, 0.4]
    assert rates(2, 2, 5) == [0.8, 0.8, 0.2, 0.2, 0.2, 0.1]


def test_a_halving_that_falls_before_its_round_is_refused_with_a_remedy():
    with pytest.raises(ValueError, match=r"halved_after: rounds in rising order are required, got \[5, 2\]. Sort"):
        tiny_params(HALVED.format("5, 2"))


def test_a_round_depends_on_the_halvings_that_have_come():
    params, update = tiny_params(HALVED.format("1, 3")), STAGES["update"]
    seen = [update.parameters(params, number)["update"]["halved_after"] for number in range(4)]
    assert seen == [[], [1], [1], [1, 3]]


def test_no_rollback_raises_the_learning_rate():
    assert child_params(tiny_params(HALVED.format("4")), 2).update.halved_after == (2, 2)
    assert child_params(tiny_params(HALVED.format("1")), 2).update.halved_after == (1, 2)


@pytest.fixture(scope="module")
def family(tmp_path_factory):
    """A run of three rounds, its child from the first, and the child's parameters run in a store of their own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("G2RPO_HOME", str(tmp_path_factory.mktemp("family")))
        parent, params, resources = new_run(tiny_params("run.rounds=3"))
        bring_to_the_end(parent, params, resources)
        before = tables(parent.path)
        child = begin_child(parent, params, 1, reason="reward_hacking", device="cpu")
        begun = (child.num_finished, [str(damage) for damage in verify(child)])
        bring_to_the_end(child, child.params(), new_run(child.params())[2])
        assert begin_child(parent, params, 1, reason="reward_hacking", device="cpu") == child
        assert tables(parent.path) == before
        alone = tmp_path_factory.mktemp("alone")
        (alone / "params.yaml").write_text(written(child.params()))
        patch.setenv("G2RPO_HOME", str(alone / "store"))
        again = new_run(load_params(alone / "params.yaml"))
        bring_to_the_end(*again)
        return parent, child, begun, again[0]


def test_a_child_begins_with_its_parents_first_rounds(family):
    parent, child, begun, _ = family
    assert begun == (1, [])
    first = [name for name in tables(child.path) if name.startswith(("rounds/0000", "evaluations/0001"))]
    assert first
    for name in first:
        assert (child.path / name).samefile(parent.path / name)
    assert child.parent == {"key": parent.key, "round": 1, "reason": "reward_hacking", "generation": 1}


def test_a_child_goes_on_otherwise_and_is_whole(family):
    parent, child, _, _ = family
    assert (child.num_finished, verify(child)) == (3, [])
    weights = "policy/weights.safetensors"
    assert (child.round_folder(1) / weights).read_bytes() != (parent.round_folder(1) / weights).read_bytes()


def test_a_child_comes_out_the_same_from_its_parameters_alone(family):
    _, child, _, alone = family
    assert alone.key == child.key
    assert tables(alone.path) == tables(child.path)
