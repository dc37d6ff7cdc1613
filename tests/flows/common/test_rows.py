from flows.common.rows import column, distinct, grouped, pick, write_csv

ROWS = [
    {"method": "b", "seed": 1, "value": 0.5},
    {"method": "a", "seed": 1, "value": 0.25},
    {"method": "b", "seed": 2, "value": float("nan")},
]


def test_rows_are_picked_by_all_values_that_are_named():
    assert pick(ROWS, method="b", seed=1) == [ROWS[0]]
    assert pick(ROWS, seed=1) == ROWS[:2]
    assert pick(ROWS, method="c") == []
    assert pick(iter(ROWS)) == ROWS


def test_groups_come_in_the_order_found_each_with_what_its_rows_agree_in():
    assert grouped(ROWS, ["method"]) == [({"method": "b"}, [ROWS[0], ROWS[2]]), ({"method": "a"}, [ROWS[1]])]
    assert grouped(ROWS, ["seed", "method"])[-1] == ({"seed": 2, "method": "b"}, [ROWS[2]])
    assert grouped([], ["method"]) == []
    assert grouped(ROWS, []) == [({}, ROWS)]


def test_the_distinct_values_of_a_column_keep_their_order():
    assert distinct(ROWS, "method") == ["b", "a"]
    assert distinct([], "method") == []


def test_a_column_has_a_value_for_each_row():
    assert column(ROWS, "seed") == [1, 1, 2]


def test_a_csv_file_leaves_nan_empty_and_nothing_else_beside_it(tmp_path):
    write_csv(tmp_path / "rows.csv", ROWS)
    assert (tmp_path / "rows.csv").read_text() == "method,seed,value\nb,1,0.5\na,1,0.25\nb,2,\n"
    assert [path.name for path in tmp_path.iterdir()] == ["rows.csv"]
