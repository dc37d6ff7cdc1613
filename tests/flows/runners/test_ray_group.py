"""How runners meet, update together, and begin anew when one of them is lost."""

from typing import ClassVar

import pytest
from ray_here import Died
from tiny import tiny_params

from flows.common.endings import RunnersLostError
from flows.runners.ray_group import RayProcessGroup
from flows.runners.ray_pool import Budget, Pool
from g2rpo.distributed.group import ProcessGroup
from stages.contract.executor import Usage
from stages.contract.job import Job

JOB = Job(tiny_params(), 3, {}, {}, stamp="1")


class Member:
    """Takes a second and memory by its rank; what it does otherwise, it does once, by its rank."""

    otherwise: ClassVar[dict] = {}

    def ready(self):
        return "here"

    def address(self):
        if "address" in Member.otherwise:
            raise Member.otherwise.pop("address")
        return "tcp://here:1"

    def join(self, process_group, address):
        self.process_group, self.address_told = process_group, address
        if "join" in Member.otherwise and process_group.rank == 1:
            raise Member.otherwise.pop("join")

    def do(self, stage, job):
        assert (stage, job) == ("update", JOB)
        if self.process_group.rank in Member.otherwise:
            raise Member.otherwise.pop(self.process_group.rank)
        return Usage(1.0, 100 * (1 + self.process_group.rank))


@pytest.fixture
def meet(here, monkeypatch):
    """Makes a pool of three, and a process group of two of it, of which some do otherwise."""
    monkeypatch.setattr(Member, "otherwise", {})

    def of(*, most=0, **otherwise):
        Member.otherwise = {int(key[-1]) if key[-1].isdigit() else key: value for key, value in otherwise.items()}
        pool = Pool(lambda: here.remote(Member).remote(), 3, Budget(most), 60.0)
        pool.take(3, first=[])
        return pool, RayProcessGroup(pool, 2)

    return of


def joined(here):
    return [(here.actors.index(actor), *words) for actor, name, words in here.calls if name == "join"]


def killed(here):
    return [number for number, actor in enumerate(here.actors) if actor.killed]


def test_runners_meet_once_at_the_firsts_address_and_update_together(meet, here):
    _, process_group = meet()
    assert [process_group.update(JOB), process_group.update(JOB)] == [Usage(2.0, 200)] * 2
    assert joined(here) == [(0, ProcessGroup(0, 2), "tcp://here:1"), (1, ProcessGroup(1, 2), "tcp://here:1")]
    assert killed(here) == []


def test_a_lost_runner_has_the_whole_world_start_anew_and_is_counted_once(meet, here, capsys):
    _, process_group = meet(most=1, rank1=Died("it is gone."))
    assert process_group.update(JOB) == Usage(2.0, 200)
    assert killed(here) == [0, 1]
    assert [(number, of.rank) for number, of, _ in joined(here)[2:]] == [(2, 0), (3, 1)]
    assert capsys.readouterr().err.count("(The actor died unexpectedly: it is gone)") == 1


def test_too_many_lost_runners_end_the_update(meet):
    _, process_group = meet(rank0=Died("it is gone."))
    with pytest.raises(RunnersLostError, match="got 1; the last: The actor died unexpectedly: it is gone"):
        process_group.update(JOB)


def test_what_one_raises_is_told_and_not_that_another_was_left_alone(meet, here, capsys):
    pool, process_group = meet(
        rank0=RuntimeError("connection closed by peer"), rank1=ValueError("the loss is no number")
    )
    with pytest.raises(ValueError, match="the loss is no number"):
        process_group.update(JOB)
    assert killed(here) == [0, 1]
    assert capsys.readouterr().err == ""
    assert len(pool.take(3, first=[])) == 3


def test_of_one_lost_and_one_left_alone_the_loss_is_told(meet, here, capsys):
    _, process_group = meet(most=1, rank0=RuntimeError("connection closed by peer"), rank1=Died("it is gone."))
    assert process_group.update(JOB) == Usage(2.0, 200)
    assert "it is gone" in capsys.readouterr().err


@pytest.mark.parametrize("when", ["address", "join"])
def test_one_that_is_lost_while_they_meet_costs_another_meeting(meet, here, when):
    _, process_group = meet(most=1, **{when: Died("it is gone.")})
    assert process_group.update(JOB) == Usage(2.0, 200)
    assert [of.rank for _, of, _ in joined(here)[-2:]] == [0, 1]


def test_who_knew_one_that_is_gone_is_started_anew_without_being_counted(meet, here, capsys):
    pool, process_group = meet()
    process_group.update(JOB)
    pool.replace(here.actors[1], "", counts=False)
    assert process_group.update(JOB) == Usage(2.0, 200)
    assert killed(here) == [0, 1]
    assert len(joined(here)) == 4
    assert capsys.readouterr().err == ""
