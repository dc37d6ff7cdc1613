from flows.doctor.check import Check, looked


def test_what_a_look_finds_is_returned_in_its_order():
    one, two = Check("disk", "ok", "1 GB"), Check("disk", "fault", "none", "Make room.")
    assert looked("disk", lambda: iter([one, two])) == [one, two]


def test_a_look_that_fails_is_a_fault_of_its_own_beside_what_it_had_found():
    def look():
        yield Check("device", "ok", "CPU")
        raise OSError("the driver is gone\nand more that nobody reads")

    told = "the check failed: OSError: the driver is gone"
    found = [
        Check("device", "ok", "CPU"),
        Check("cards", "fault", told, "Remove this cause, then run the check again."),
    ]
    assert looked("cards", look) == found


def test_an_error_without_a_word_is_told_by_its_kind():
    def look():
        raise ValueError
        yield

    assert looked("disk", look)[0].message == "the check failed: ValueError: "
