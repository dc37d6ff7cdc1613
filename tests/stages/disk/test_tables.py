import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stages.disk.tables import (
    ANCHORS,
    PROMPTS,
    SHARED,
    TRANSITIONS,
    arrow,
    read_shard,
    read_table,
    shard_evaluations,
    shard_numbers,
    shard_path,
    shard_stamp,
    tensor,
    where,
    write_shard,
)


def prompts(*ids):
    n = len(ids)
    columns = {
        "prompt_id": list(ids),
        "text": ["a red circle"] * n,
        "split": ["train"] * n,
        "metadata": ["{}"] * n,
        "noise_seed": range(n),
    }
    return arrow(PROMPTS, columns)


def anchors(ids, steps=(0, 1)):
    rows = [(name, step) for name in ids for step in steps]
    latents = np.arange(len(rows) * 6, dtype=np.float32).reshape(len(rows), 2, 3)
    columns = {
        "prompt_id": [name for name, _ in rows],
        "origin": [SHARED] * len(rows),
        "step": [step for _, step in rows],
        "sigma": [1.0] * len(rows),
        "sigma_next": [0.5] * len(rows),
        "latents": latents,
        "velocity": -latents,
    }
    return arrow(ANCHORS, columns)


def test_tensors_come_back_bit_for_bit(tmp_path):
    rows = anchors(["p", "q"])
    write_shard(tmp_path, 0, ANCHORS, rows, stamp="s")
    back = tensor(read_shard(tmp_path, 0), "latents")
    assert back.dtype == np.float32
    np.testing.assert_array_equal(back, tensor(rows, "latents"))
    assert isinstance(pq.read_schema(shard_path(tmp_path, 0)).field("latents").type, pa.FixedShapeTensorType)


def test_tables_open_in_plain_pandas_and_duckdb_with_tensors_as_arrays(tmp_path):
    write_shard(tmp_path, 0, ANCHORS, anchors(["p"]), stamp="s")
    write_shard(tmp_path, 1, ANCHORS, anchors(["q"]), stamp="s")
    frame = pd.read_parquet(tmp_path)
    assert frame["prompt_id"].tolist() == ["p", "p", "q", "q"]
    np.testing.assert_array_equal(frame["latents"][1], np.arange(6, 12, dtype=np.float32))
    rows = duckdb.sql(
        f"select step, latents from '{tmp_path}/*.parquet' where prompt_id = 'q' order by step"
    ).fetchall()
    assert rows[1] == (1, [6.0, 7.0, 8.0, 9.0, 10.0, 11.0])


def test_the_same_rows_give_the_same_bytes(tmp_path):
    for folder in ("one", "two"):
        write_shard(tmp_path / folder, 0, ANCHORS, anchors(["p", "q"]), stamp="s")
    assert shard_path(tmp_path / "one", 0).read_bytes() == shard_path(tmp_path / "two", 0).read_bytes()


def test_a_shard_is_stamped_and_numbered(tmp_path):
    write_shard(tmp_path, 3, PROMPTS, prompts("p"), stamp="made of this")
    assert shard_stamp(tmp_path, 3) == "made of this"
    assert shard_stamp(tmp_path, 4) is None
    assert shard_numbers(tmp_path) == [3]


def test_a_write_that_fails_leaves_the_old_shard_and_nothing_else(tmp_path, monkeypatch):
    write_shard(tmp_path, 0, PROMPTS, prompts("p"), stamp="old")

    def half_written(_table, path, **_):
        path.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(pq, "write_table", half_written)
    with pytest.raises(OSError, match="disk full"):
        write_shard(tmp_path, 0, PROMPTS, prompts("q"), stamp="new")
    assert [path.name for path in tmp_path.iterdir()] == ["part-00000.parquet"]
    assert read_table(tmp_path)["prompt_id"].to_pylist() == ["p"]


def test_a_key_held_twice_is_refused():
    with pytest.raises(ValueError, match=r"prompts holds each key \('prompt_id',\) once"):
        prompts("p", "p")


def test_a_null_is_refused():
    with pytest.raises(ValueError, match="holds no nulls, got 1 in text"):
        arrow(PROMPTS, {"prompt_id": ["p"], "text": [None], "split": ["train"], "metadata": ["{}"], "noise_seed": [1]})


def test_unknown_and_missing_columns_are_named():
    with pytest.raises(ValueError, match=r"these differ: \['noise_seed', 'seed'\]"):
        arrow(PROMPTS, {"prompt_id": ["p"], "text": ["t"], "split": ["train"], "metadata": ["{}"], "seed": [1]})


def test_a_missing_table_is_refused_by_name(tmp_path):
    with pytest.raises(ValueError, match=r"Table transitions is required, got no shard"):
        read_table(tmp_path / TRANSITIONS.name)


def test_a_shard_tells_what_it_cost(tmp_path):
    write_shard(tmp_path, 0, PROMPTS, prompts("p"), stamp="s", evaluations=12)
    write_shard(tmp_path, 1, PROMPTS, prompts("q"), stamp="s")
    pq.write_table(prompts("r"), shard_path(tmp_path, 2))
    assert [shard_evaluations(tmp_path, shard) for shard in (0, 1, 2)] == [12, 0, 0]
    assert shard_stamp(tmp_path, 2) == ""


def test_shards_have_five_digits_and_nothing_else_is_one(tmp_path):
    assert shard_path(tmp_path, 7) == tmp_path / "part-00007.parquet"
    for name in ("part-00007.parquet", "part-7.parquet", ".part-00001.parquet.9.tmp", "part-00002.parquet"):
        (tmp_path / name).touch()
    assert shard_numbers(tmp_path) == [2, 7]


def test_a_damaged_shard_has_no_stamp_or_is_refused_with_a_remedy(tmp_path):
    write_shard(tmp_path, 0, ANCHORS, anchors([f"p{number}" for number in range(50)]), stamp="s")
    path = shard_path(tmp_path, 0)
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b"p17", b"q17"))
    assert shard_stamp(tmp_path, 0) == "s"
    with pytest.raises(ValueError, match=r"part-00000\.parquet must be as .* damaged file: .*Run `g2rpo repair"):
        read_shard(tmp_path, 0)
    path.write_bytes(whole[:-9])
    assert shard_stamp(tmp_path, 0) is None
    with pytest.raises(ValueError, match=r"Shard 1 of .* is required, got no file .*00001\.parquet. Run its stage"):
        read_shard(tmp_path, 1)


def test_rows_are_chosen_by_the_values_of_columns():
    rows = anchors(["p", "q"])
    assert where(rows, prompt_id="q", step=1)["prompt_id"].to_pylist() == ["q"]
    assert where(rows, step=1)["prompt_id"].to_pylist() == ["p", "q"]
    assert where(rows, prompt_id="r").num_rows == 0
    assert where(rows) == rows


def test_tensors_may_be_changed_without_the_table(tmp_path):
    rows = anchors(["p"])
    tensor(rows, "latents")[:] = 9.0
    assert tensor(rows, "latents")[1, 0, 0] == 6.0
    assert rows["latents"].type.shape == [2, 3]


def as_floats(rows):
    at = rows.column_names.index("noise_seed")
    return rows.set_column(at, "noise_seed", pa.array([1.0] * len(rows)))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda rows: rows.slice(0, 0), "no row"),
        (lambda rows: rows.drop_columns("text"), "has the columns"),
        (lambda rows: rows.append_column("more", rows["text"]), "has the columns"),
        (as_floats, "has the columns"),
        (lambda rows: pa.concat_tables([rows, rows]), "holds each key"),
    ],
)
def test_a_shard_that_is_not_as_its_table_is_declared_is_damaged(tmp_path, change, told):
    folder = tmp_path / "prompts"
    write_shard(folder, 0, PROMPTS, change(prompts("p", "q")), stamp="s")
    with pytest.raises(ValueError, match=rf"part-00000\.parquet must be as it was written, got .*{told}"):
        read_shard(folder, 0)
    with pytest.raises(ValueError, match=told):
        read_table(folder)
    folder.rename(tmp_path / "train")
    with pytest.raises(ValueError, match=told):
        read_shard(tmp_path / "train", 0, PROMPTS)
    read_shard(tmp_path / "train", 0)  # whose table nobody has named


def test_every_declared_type_comes_back_as_it_was_declared(tmp_path):
    rows = anchors(["p"])
    write_shard(tmp_path / "anchors", 0, ANCHORS, rows, stamp="s")
    assert read_table(tmp_path / "anchors").schema.types == rows.schema.types


@pytest.mark.parametrize("told", [b"", b"x", b"-1", b"9" * 5_000], ids=len)
def test_a_shard_that_tells_no_number_of_evaluations_is_refused(tmp_path, told):
    write_shard(tmp_path, 0, PROMPTS, prompts("p"), stamp="s", evaluations=12)
    path = shard_path(tmp_path, 0)
    table = pq.read_table(path)
    pq.write_table(table.replace_schema_metadata(table.schema.metadata | {b"g2rpo.evaluations": told}), path)
    with pytest.raises(ValueError, match=r"part-00000.parquet must tell its number of evaluations, got b"):
        shard_evaluations(tmp_path, 0)


def test_a_shard_that_takes_far_more_memory_than_it_has_bytes_is_damaged(tmp_path):
    rows, count = prompts("p"), 300_000
    texts = pa.DictionaryArray.from_arrays(pa.array(np.zeros(count, np.int32)), pa.array(["x" * 10_000]))
    many = pa.table({name: pa.repeat(rows[name][0], count) for name in rows.column_names})
    folder = tmp_path / "prompts"
    folder.mkdir()
    pq.write_table(many.set_column(1, "text", texts), shard_path(folder, 0), store_schema=False, compression="none")
    assert shard_path(folder, 0).stat().st_size < 10**7
    with pytest.raises(ValueError, match=r"part-00000\.parquet must be as .* got a damaged file: values of at most 2"):
        read_table(folder)
