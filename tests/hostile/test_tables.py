"""Tables and checkpoints whose manifests say that nothing happened."""

import io
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hostile_inputs import NAMES, changed, damaged
from hostile_runs import OPERATIONS, disguise
from hypothesis import strategies as st
from linear_policy import LinearPolicy

from g2rpo.policies.shapes import ShapesPolicy
from g2rpo.shapes.shipped import shipped_base
from g2rpo.trainer import OptimizerSettings, Trainer
from stages.disk.policy_files import read_optimizer, read_weights
from stages.disk.tables import TABLES, TENSOR, read_table, shard_evaluations, shard_stamp, tensor
from stages.engine.loaded_policy import LoadedPolicy

READS = ("columns", "verify", "resume", "repair", "metrics", "evaluations", "trace", "spread", "integrate")


def tensors(count):
    return pa.FixedShapeTensorArray.from_numpy_ndarray(np.zeros((count, 3, 5), np.float32)) if count else pa.nulls(0)


ODD = [
    float("nan"),
    float("inf"),
    -1,
    2**62,
    "p0",
    "\x1b[2J" + "x" * 5_000,
    b"\xff",
    True,
    [None, 1.0],
    {"a": 1},
]
CELLS = st.one_of(
    st.sampled_from([pa.nulls, tensors, lambda count: pa.nulls(count, pa.float64())]),
    st.sampled_from(ODD).map(lambda value: lambda count: pa.array([value] * count)),
)
"""What makes a column of so many rows."""


@st.composite
def altered(draw, table):
    """A table with other columns, types, values or rows."""
    for _ in range(draw(st.integers(1, 3))):
        names = table.column_names or [""]
        name = draw(st.sampled_from(names))
        match draw(st.sampled_from(("drop", "rename", "fill", "fill", "none", "twice", "some", "reverse", "stamp"))):
            case "drop" if table.column_names.count(name) == 1 and len(names) > 1:
                table = table.drop_columns([name])
            case "rename":
                new = draw(st.one_of(st.sampled_from(names), NAMES.filter(lambda text: text != "\ud800")))
                table = table.rename_columns([new if each == name else each for each in table.column_names])
            case "fill" if table.column_names.count(name) == 1:
                place = table.column_names.index(name)
                table = table.set_column(place, name, draw(CELLS)(table.num_rows))
            case "none":
                table = table.slice(0, 0)
            case "twice":
                table = pa.concat_tables([table, table])
            case "some":
                table = table.slice(draw(st.integers(0, 2)), draw(st.integers(0, 2)))
            case "reverse":
                table = table.take(pa.array(range(table.num_rows)[::-1], pa.int64()))
            case "stamp":
                odd = draw(st.sampled_from([b"", b"x", b"\xff", b"-1", b"9" * 5_000]))
                table = table.replace_schema_metadata((table.schema.metadata or {}) | {b"g2rpo.evaluations": odd})
    out = io.BytesIO()
    try:
        pq.write_table(table, out, compression="none")
    except (pa.ArrowException, ValueError):  # no file can hold this
        return b""
    return out.getvalue()


def header(tree, data=b"\0" * 4, length=None):
    """A safetensors file; its header may say another length than it has."""
    text = json.dumps(tree).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + data


WEIGHT = {"weight": {"dtype": "F32", "shape": [1, 1], "data_offsets": [0, 4]}}
CHECKPOINTS = st.one_of(
    changed(WEIGHT).map(header),
    st.builds(
        lambda dtype, shape, begin, end, data: header(
            {"weight": {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}}, data
        ),
        st.sampled_from(["F32", "F64", "F16", "BF16", "I64", "U8", "BOOL", "F8_E4M3", "X"]),
        st.lists(st.sampled_from([0, 1, 2, 2**31, 2**63 - 1, -1]), max_size=4),
        st.sampled_from([0, 1, 4, 2**63]),
        st.sampled_from([0, 1, 4, 8, 16, 2**63]),
        st.sampled_from([b"", b"\0" * 4, b"\xff" * 8, b"\0\0\xc0\x7f", b"\0" * 64]),
    ),
    st.builds(lambda length: header(WEIGHT, length=length), st.sampled_from([0, 1, 10**8, 2**40, 2**63, 2**64 - 1])),
    st.sampled_from([b"", b"\0" * 8, header({}), header(WEIGHT | {"__metadata__": {"a": "b"}}), header(WEIGHT, b"")]),
    damaged(header(WEIGHT)),
    st.binary(max_size=20),
)


def _columns(run):
    for folder in (*run.path.glob("rounds/*/*"), *run.path.glob("evaluations/*/*"), *run.path.glob("prompts/*")):
        kind = TABLES.get(folder.name)
        if kind and folder.is_dir():
            rows = read_table(folder)
            shard_stamp(folder, 0)
            shard_evaluations(folder, 0)
            for name, of in kind.columns.items():
                (tensor(rows, name) if of == TENSOR else rows[name].to_pylist())


def _held(run):
    folder = run.policy_folder(2)
    held = LoadedPolicy(LinearPolicy(), dict).hold(folder)
    trainer = Trainer(held.module, OptimizerSettings(0.1, (0.9, 0.999), 0.0, 1.0, None))
    trainer.load_state(read_optimizer(folder), 0)  # stages by hand take no steps
    assert torch.isfinite(held.module.weight).all(), "weights that are no numbers were taken"


POLICIES = {"read": lambda run: read_weights(run.policy_folder(2), averaged=True), "hold": _held}
ALL = OPERATIONS | {"columns": _columns}


def test_tables(campaign, stored):
    names = sorted(name for name in stored.files if name.endswith(".parquet"))
    tables = {name: pq.read_table(io.BytesIO(stored.files[name])) for name in names}

    def a_table(case, here):
        name, content, operation = case
        run = stored.copy(here)
        (run.path / name).write_bytes(content)
        disguise(run, run.path / name)
        return lambda: ALL[operation](run)

    contents = st.sampled_from(names).flatmap(
        lambda name: st.tuples(
            st.just(name),
            st.one_of(altered(tables[name]), altered(tables[name]), damaged(stored.files[name])),
            st.sampled_from(READS),
        )
    )
    campaign(contents, a_table, quick=40)


def test_checkpoints(campaign, stored):
    def a_checkpoint(case, here):
        name, content, operation = case
        run = stored.copy(here)
        path = run.policy_folder(2) / name
        path.write_bytes(content)
        disguise(run, path)
        return lambda: (POLICIES | OPERATIONS)[operation](run)

    files = st.sampled_from(["weights.safetensors", "optimizer.safetensors"])
    operations = st.sampled_from(["read", "hold", "hold", "hold", "resume"])
    campaign(st.tuples(files, CHECKPOINTS, operations), a_checkpoint, quick=50)


@pytest.mark.parametrize("name", ["words.safetensors", "transformer/config.json"])
def test_base_models(campaign, name):
    ShapesPolicy.load()  # its libraries take longer to import than a case may
    original = (shipped_base() / name).read_bytes()

    def a_base(content, here):
        for path in shipped_base().rglob("*"):
            target = here / "base" / path.relative_to(shipped_base())
            if path.is_file():
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(content if str(path.relative_to(shipped_base())) == name else path.read_bytes())
        return lambda: ShapesPolicy.load(here / "base")

    trees = changed(json.loads(original)).map(lambda tree: json.dumps(tree).encode()) if "json" in name else CHECKPOINTS
    campaign(st.one_of(trees, damaged(original[:4_000])), a_base, quick=6)


def test_untouched_tables_and_checkpoints_are_accepted(area, stored):
    for operation in (*(ALL[name] for name in READS), *POLICIES.values()):
        with area.case() as here:
            run = stored.copy(here)
            for path in (
                Path("rounds/0001/rewards/part-00000.parquet"),
                Path("rounds/0001/policy/weights.safetensors"),
            ):
                disguise(run, run.path / path)
            operation(run)
