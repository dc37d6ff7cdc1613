"""Who takes which task, and what a late or lost runner costs, with a clock of the test's own."""

import pytest
from ray.exceptions import RayActorError
from ray_here import Died

from flows.common.endings import RunnersLostError
from flows.runners.ray_pool import Budget, Pool, death_cause


class Worker:
    """Does a shard: ten times its number. Shard 13 is broken, and at shard 666 it dies, once."""

    dead = False

    def ready(self):
        return "here"

    def work(self, shard):
        if shard == 13:
            raise ValueError("of shard 13")
        if shard == 666 and not Worker.dead:
            Worker.dead = True
            raise Died("it is out of memory.")
        return 10 * shard


class Unmade:
    def __init__(self):
        raise ValueError("weights are required, got none")


@pytest.fixture
def make(here, monkeypatch):
    """Makes a pool of workers."""
    monkeypatch.setattr(Worker, "dead", False)

    def of(size, *, most=0, kind=Worker):
        return Pool(lambda: here.remote(kind).remote(), size, Budget(most), 60.0)

    return of


def submit(pool, *shards, kind="work"):
    return [pool.submit(kind, shard, lambda actor, shard=shard: actor.work.remote(shard)) for shard in shards]


def done(pool, *shards):
    """The results of shards, in the order in which they are done."""
    return [task.result for task in pool.finished(submit(pool, *shards))]


def test_a_look_hands_out_what_is_queued_and_takes_what_is_back_without_waiting(make, here):
    pool = make(2)
    (task,) = submit(pool, 3)
    assert (task.kind, task.shard, task.done) == ("work", 3, False)
    for _ in range(3):
        pool.look()
    assert (task.done, task.result, task.at) == (True, 30, set())
    assert here.now == 0.0


def test_every_task_is_yielded_once_with_its_result(make, here):
    pool = make(2)
    assert sorted(done(pool, *range(5))) == [0, 10, 20, 30, 40]
    assert len({actor for actor, name, _ in here.calls if name == "work"}) == 2


def test_what_a_task_raises_is_raised_and_the_pool_goes_on(make):
    pool = make(1)
    with pytest.raises(ValueError, match="of shard 13"):
        done(pool, 13, 4)
    assert sorted(done(pool, 5)) == [50]


def test_the_shard_of_a_lost_runner_goes_to_another_first(make, here, capsys):
    pool = make(1, most=1)
    assert done(pool, 666, 2) == [6660, 20]
    warned = "warning: a runner was lost, another one starts (The actor died unexpectedly: it is out of memory)\n"
    assert capsys.readouterr().err == warned
    assert len(here.actors) == 2


def test_one_lost_runner_too_many_ends_the_work_and_leaves_the_pool_whole(make):
    pool = make(1)
    with pytest.raises(
        RunnersLostError, match=r"(?s)At most 0 lost .* placement.max_restarts, got 1; the last: .*memo"
    ):
        done(pool, 666)
    (lost,) = submit(pool, 666)
    assert done(pool, 7) == [70]
    assert lost.result == 6660


def test_a_runner_that_cannot_be_made_is_told_with_its_reason(make):
    with pytest.raises(RunnersLostError, match=r"one cannot start: ValueError: weights are required, got none$"):
        done(make(1, most=3, kind=Unmade), 1)


@pytest.mark.parametrize(("loaded", "seconds"), [(True, 31.0), (False, 901.0)])
def test_a_late_shard_goes_to_another_and_its_first_runner_is_started_anew(make, here, capsys, loaded, seconds):
    pool = make(2, most=1)
    done(pool, 1, 2, 3, 4)
    here.now += 100.0
    late, other = here.actors
    late.stuck = {"work"}
    tasks = submit(pool, 5, 6, kind="work" if loaded else "first of its kind")
    began = here.now
    assert sorted(task.result for task in pool.finished(tasks)) == [50, 60]
    assert here.now - began == seconds
    pool.drop(tasks)
    assert late.killed
    assert not other.killed
    assert late not in pool
    assert "(it was late with a shard that another one has finished)" in capsys.readouterr().err


def test_nobody_is_dropped_who_is_at_no_task_that_is_finished(make, here):
    pool = make(2)
    pool.drop(pool.finished(submit(pool, 1, 2)))
    assert not any(actor.killed for actor in here.actors)


def test_idle_runners_are_taken_the_named_ones_first_and_nothing_is_handed_out(make, here):
    pool = make(3)
    (task,) = submit(pool, 1)
    last = here.actors[2]
    pool.take(3, first=[])
    assert pool.take(2, first=[last, "somebody else"]) == [last, here.actors[0]]
    assert (task.done, here.calls[-1][1]) == (False, "ready")


def test_a_replaced_runner_is_gone_with_another_in_its_place_and_its_task_waits_again(make, here, capsys):
    pool = make(1, most=0)
    (first,) = pool.take(1, first=[])
    first.stuck = {"work"}
    tasks = submit(pool, 8)
    pool.look()
    assert tasks[0].at == {first}
    assert first in pool
    pool.replace(first, "", counts=False)
    assert (first.killed, first in pool, here.actors[1] in pool) == (True, False, True)
    assert [task.result for task in pool.finished(tasks)] == [80]
    assert capsys.readouterr().err == ""
    with pytest.raises(RunnersLostError, match="got 1; the last: it sleeps"):
        pool.replace(here.actors[1], "it sleeps")


def test_a_closed_pool_has_ended_the_idle_and_the_busy(make, here):
    pool = make(2)
    pool.take(1, first=[])
    pool.close()
    assert [actor.killed for actor in here.actors] == [True, True]


def test_runners_that_never_start_are_told_once_patience_is_over(make, here):
    pool = make(2)
    for actor in here.actors:
        actor.stuck = {"ready"}
    with pytest.raises(RunnersLostError, match=r"got none from the cluster within 61 s, which has {'CPU': 4.0} free"):
        done(pool, 1)


@pytest.mark.parametrize(
    ("message", "line"),
    [
        ("The actor died.\n  It was out of memory.\n", "The actor died"),
        ("first\n\n  Worker exit type: SYSTEM_ERROR.", "Worker exit type: SYSTEM_ERROR"),
        ("gone...\nwhy", "gone"),
    ],
)
def test_why_an_actor_died_is_told_in_a_line(message, line):
    assert death_cause(RayActorError(error_msg=message)) == line
