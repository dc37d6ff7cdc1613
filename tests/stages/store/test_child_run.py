import pytest
from damage import bring_to_the_end, edit
from stages_by_hand import StagesByHand, weight
from tiny import tables, tiny_params

from stages.contract.declared_stages import STAGES
from stages.engine.rules import learning_rate
from stages.integrity.verify import verify
from stages.store.adopted import mark_adopted
from stages.store.child_run import begin_child, child_params, last_descendant
from stages.store.run import Run

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


@pytest.fixture
def family(linked):
    parent, params, _ = linked
    return parent, begin_child(parent, params, 1, reason="reward_hacking", device="cpu"), params


def test_a_child_begins_with_its_parents_first_rounds_and_says_why(family, whole):
    parent, child, params = family
    assert (child.num_finished, verify(child), child.metrics()) == (1, [], parent.metrics()[:1])
    shared = [name for name in tables(child.path) if name.startswith(("rounds", "evaluations"))]
    assert {name.split("/")[1] for name in shared} == {"0000", "0000-test", "0000-tuning", "0001-tuning"}
    assert all((child.path / name).samefile(parent.path / name) for name in shared)
    assert child.parent == {"key": parent.key, "round": 1, "reason": "reward_hacking", "generation": 1}
    assert child.params().update.halved_after == child_params(params, 1).update.halved_after == (1,)
    assert tables(parent.path) == tables(whole.path)


def test_a_child_that_continues_as_it_is_begun_again_stays_as_it_is(family):
    parent, child, params = family
    bring_to_the_end(child, child.params(), StagesByHand())
    about, before = child.about, tables(child.path)
    assert (child.num_finished, weight(child.policy_folder(3))) == (3, 3.0)
    assert begin_child(parent, params, 1, reason="reward_hacking", device="cpu") == child
    assert (child.num_finished, child.about, tables(child.path)) == (3, about, before)


def test_a_child_that_was_killed_as_it_was_begun_is_completed(family):
    parent, child, params = family
    before = tables(child.path)
    for name in ("HEAD", "run.json", "metrics/0000.json", "rounds/0000/rewards/part-00001.parquet"):
        (child.path / name).unlink()
    assert begin_child(parent, params, 1, reason="reward_hacking", device="cpu").num_finished == 1
    assert tables(child.path) == before
    assert verify(child) == []


def test_the_youngest_of_a_run_is_the_last_that_it_went_on_as(family):
    parent, child, _ = family
    grandchild = begin_child(child, child.params(), 1, reason="kl", device="cpu")
    assert grandchild.parent == {"key": child.key, "round": 1, "reason": "kl", "generation": 2}
    assert last_descendant(parent) == last_descendant(child) == last_descendant(grandchild) == grandchild
    later = Run(begin_child(parent, tiny_params("run.rounds=3"), 0, reason="kl", device="cpu").path)
    edit(later.path / "run.json", lambda about: about.update(created_at=2 * about["created_at"]))
    assert last_descendant(parent) == later


def test_a_run_of_others_that_claims_a_parent_is_no_child_of_it(family, tmp_path):
    parent, child, _ = family
    mark_adopted(child.key, tmp_path)
    assert last_descendant(parent) == parent
