"""Three rounds of each method are what was recorded: to the bit where it was recorded, else to 1e-5.

`make golden REASON="..."` records them anew, for a change that is meant to change numbers.
"""

import pytest
from golden import GOLDEN, differences, golden_run, machine, recorded, values_of


@pytest.fixture(scope="module")
def present(tmp_path_factory):
    """The values of each method's run, made once."""
    made = {}

    def make(method):
        if method not in made:
            with pytest.MonkeyPatch.context() as environment:
                environment.setenv("G2RPO_HOME", str(tmp_path_factory.mktemp(method)))
                made[method] = values_of(golden_run(method))
        return made[method]

    return make


@pytest.mark.parametrize("method", GOLDEN)
def test_a_run_is_what_was_recorded(method, present):
    record = recorded(method)
    assert record["reasons"]
    assert differences(record["values"], present(method), to_the_bit=record["machine"] == machine()) == []


@pytest.mark.parametrize("method", GOLDEN)
def test_a_run_is_what_was_recorded_within_the_tolerance_of_another_machine(method, present):
    assert differences(recorded(method)["values"], present(method), to_the_bit=False) == []


def test_a_record_tells_one_wrong_number(present):
    values = present("g2rpo")
    name = "rounds/0002/rewards/value"
    *others, last = values[name]["some"]
    wrong = values | {name: values[name] | {"some": [*others, last + 1e-4], "bits": "0"}}
    for to_the_bit in (True, False):
        (line,) = differences(values, wrong, to_the_bit=to_the_bit)
        assert line.startswith(name)
    assert differences(values, {k: v for k, v in values.items() if k != name}, to_the_bit=True) == [
        f"{name}: recorded, and gone"
    ]
