"""Whether runs, rounds or updates hold the same, as far as floats can: what is counted or named, to the last bit."""

import math

import numpy as np
import torch
from safetensors.torch import load_file

from stages.disk.tables import read_table, tensor

TOLERANCE = 1e-5
MAGNIFIED = 10 * TOLERANCE
"""Of advantages: they are rewards over the spread of a group, which is a fraction of 1."""
KINDS = ("*.parquet", "*.safetensors")


def close_table(one, other):
    """Two folders of shards: the same rows in the same order."""
    mine, others = (read_table(folder) for folder in (one, other))
    assert (mine.column_names, mine.num_rows) == (others.column_names, others.num_rows)
    for name in mine.column_names:
        if hasattr(mine[name].type, "shape"):
            left, right = (tensor(rows, name).astype(np.float64) for rows in (mine, others))
            level = 1.0 if name == "image" else TOLERANCE  # pictures are kept in 256 levels
            np.testing.assert_allclose(left, right, rtol=TOLERANCE, atol=level, err_msg=f"{one}: {name}")
        else:
            left, right = (rows[name].to_pylist() for rows in (mine, others))
            within = MAGNIFIED if one.name == "advantages" else TOLERANCE
            assert _close(left, right, within), f"{one}: {name}"


def _close(left, right, within):
    if isinstance(left, float):
        return math.isclose(left, right, rel_tol=within, abs_tol=within)
    if isinstance(left, list):
        return len(left) == len(right) and all(_close(*pair, within) for pair in zip(left, right, strict=True))
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(_close(left[key], right[key], within) for key in left)
    return left == right


def close_policy(one, other):
    """Two stored policies: weights, average and moments."""
    there = sorted(path.name for path in one.glob("*.safetensors"))
    assert there == sorted(path.name for path in other.glob("*.safetensors"))
    for name in there:
        mine, others = load_file(one / name), load_file(other / name)
        assert mine.keys() == others.keys()
        for key, held in mine.items():
            torch.testing.assert_close(held, others[key], rtol=TOLERANCE, atol=TOLERANCE, msg=f"{one / name}: {key}")


def close_runs(one, other):
    """Two folders of runs, with all their tables and policies; return how many there were."""
    tables, policies = (sorted({p.parent.relative_to(one) for p in one.rglob(kind)}) for kind in KINDS)
    for kind, found in zip(KINDS, (tables, policies), strict=True):
        assert found == sorted({path.parent.relative_to(other) for path in other.rglob(kind)})
    for folder in tables:
        close_table(one / folder, other / folder)
    for folder in policies:
        close_policy(one / folder, other / folder)
    return len(tables), len(policies)
