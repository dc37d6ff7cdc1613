"""What the campaigns hold inputs to: each kind of fault is seen."""

import contextlib
import json
import os

import hostile
import pytest
from hostile import attack, check_words, outcome
from hypothesis import strategies as st

from stages.params.file import load_params


def test_what_is_accepted_and_what_is_refused_is_told_apart(area):
    assert outcome(lambda: None) == "accepted"
    assert outcome(lambda: load_params(area.here / "nowhere.yaml")) == "refused"


@pytest.mark.parametrize("error", [KeyError("outputs"), RecursionError(), PermissionError("a file")])
def test_another_error_is_a_fault(error):
    def work():
        raise error

    with pytest.raises(type(error)):
        outcome(work)


@pytest.mark.parametrize("work", [lambda: int("a"), b"\xff".decode, lambda: json.loads("{")])
def test_an_error_of_python_itself_is_no_refusal(work):
    with pytest.raises(ValueError):
        outcome(work)


@pytest.mark.parametrize(
    ("words", "why"), [("", "says nothing"), ("a" * 4_001, "4001 characters"), ("got \x1b[2J", "a refusal with")]
)
def test_a_refusal_that_nobody_can_read_is_a_fault(words, why):
    with pytest.raises(AssertionError, match=why):
        check_words(words)


def test_what_is_quoted_in_a_refusal_is_shown_without_its_commands():
    def work():
        raise ValueError("a name is required, got \x1b[2J")

    assert outcome(work) == "refused"


def test_an_input_that_takes_too_long_is_a_fault(monkeypatch):
    monkeypatch.setattr(hostile, "_CPU_SECONDS", 0.3)

    def work():
        while True:
            with contextlib.suppress(Exception):
                sum(range(1000))

    with pytest.raises(AssertionError, match="more than 0.3 s of CPU time"):
        outcome(work)


def test_an_input_that_takes_too_much_memory_is_a_fault(monkeypatch):
    monkeypatch.setattr(hostile, "_MOST_BYTES", 20_000_000)
    kept = []

    def work():
        while True:
            kept.append(b"a" * 1_000_000)

    with pytest.raises(AssertionError, match="more than 20000000 bytes"):
        outcome(work)


def test_a_single_call_that_takes_all_memory_fails():
    with pytest.raises(MemoryError):
        outcome(lambda: bytes(8 * 10**9))


@pytest.mark.parametrize(
    "touch",
    [
        lambda outside: (outside / "notes.txt").write_text("a red circle\na blue squarE\n"),
        lambda outside: (outside / "notes.txt").unlink(),
        lambda outside: (outside / "notes.txt").chmod(0o600),
        lambda outside: os.utime(outside / "notes.txt", (1, 1)),
        lambda outside: (outside / "deep" / "planted").touch(),
        lambda outside: (outside.parent / "planted").mkdir(),
        lambda outside: os.link(outside / "notes.txt", outside.parent / "here" / "linked"),
    ],
)
def test_what_is_touched_outside_is_a_fault_and_mended_for_the_next_case(area, touch):
    for _ in range(2):
        with pytest.raises(AssertionError, match="touched outside of the run's folder"), area.case():
            touch(area.outside)
    with area.case():
        pass


def test_a_campaign_fails_with_its_input_and_repeats_itself():
    met = []

    def meet(case):
        met.append(case)
        assert case < 5
        return "accepted"

    for _ in range(2):
        with pytest.raises(AssertionError) as failed:
            attack(st.integers(0, 100), meet, 50)
        assert "case=5" in "".join(failed.value.__notes__)
    half = len(met) // 2
    assert met[:half] == met[half:]
    assert attack(st.just(1), meet, 5, seeded=3) == {"accepted": 1}
