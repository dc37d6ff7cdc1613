"""Clients that wait for their turn. A request is a number here."""

import threading

import pytest
from waiting import wait_for

from flows.reward_server import turns as module
from flows.reward_server.request import RequestError
from flows.reward_server.turns import Turns


@pytest.fixture
def clock(monkeypatch):
    """The time that the queue sees, as a list of one number."""
    now = [0.0]
    monkeypatch.setattr(module, "time", type("Clock", (), {"monotonic": staticmethod(lambda: now[0])}))
    return now


def queue(most=8, **requests):
    turns = Turns(most)
    for name, numbers in requests.items():
        for number in numbers:
            turns.add(name, number)
    return turns


def taken(turns):
    return [turns.take() for _ in range(len(turns))]


def test_clients_take_turns_and_a_client_has_its_requests_in_order():
    assert taken(queue(a=[1, 2, 3], b=[11], c=[21, 22])) == [1, 11, 21, 2, 22, 3]


def test_a_client_that_was_served_waits_behind_those_that_were_not():
    turns = queue(a=[1], b=[11])
    assert turns.take() == 1
    turns.add("a", 2)
    turns.add("c", 21)
    assert taken(turns) == [11, 2, 21]


def test_a_full_queue_takes_the_newest_request_of_whoever_has_most():
    turns = queue(4, a=[1, 2, 3], b=[11])
    assert turns.add("c", 21) == 3
    assert taken(turns) == [1, 11, 21, 2]


def test_a_full_queue_refuses_who_has_as_many_as_the_others():
    turns = queue(4, a=[1, 2], b=[11, 12])
    with pytest.raises(RequestError, match="4 requests are waiting") as caught:
        turns.add("a", 3)
    assert caught.value.status == 503
    assert turns.add("c", 21) == 2
    with pytest.raises(RequestError):
        turns.add("c", 22)
    assert taken(turns) == [1, 11, 21, 12]


def test_an_impatient_client_keeps_its_place_while_it_asks_again(clock):
    turns = queue(a=[1], b=[11], c=[21])
    turns.remove("a", 1)
    clock[0] = module._KEPT_SECONDS
    turns.add("a", 2)
    assert taken(turns) == [2, 11, 21]


def test_a_client_that_stays_away_loses_its_place(clock):
    turns = queue(a=[1], b=[11], c=[21])
    turns.remove("a", 1)
    clock[0] = module._KEPT_SECONDS + 1
    assert turns.take() == 11
    turns.add("a", 2)
    assert taken(turns) == [21, 2]


def test_a_request_that_is_given_up_frees_its_room_once():
    turns = queue(2, a=[1], b=[11])
    turns.remove("a", 1)
    turns.remove("a", 1)
    turns.remove("nobody", 1)
    assert len(turns) == 1
    turns.add("c", 21)
    assert taken(turns) == [11, 21]


def test_clients_that_come_and_go_do_not_fill_the_memory():
    turns = queue(3)
    for number in range(100):
        turns.add(f"client-{number}", number)
        turns.remove(f"client-{number}", number)
    assert len(turns._clients) == 3


def test_who_takes_waits_for_a_request_and_ends_with_the_queue():
    turns, got = Turns(2), []
    thread = threading.Thread(target=lambda: got.extend([turns.take(), turns.take()]))
    thread.start()
    turns.add("a", 1)
    wait_for(lambda: len(turns) == 0)
    turns.close()
    thread.join()
    assert got == [1, None]
    with pytest.raises(RequestError, match="is ending"):
        turns.add("a", 2)
