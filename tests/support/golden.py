"""A yardstick for changes that must leave every number as it is: what three rounds of each method come to.

A run is told by its columns: of each the number of values, a digest of their bits, their sum and norm, and some of the
values themselves. On the machine and library set of the record the bits are compared, elsewhere sums and values.
"""

import hashlib
import json
import platform
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from damage import bring_to_the_end
from methods import G2RPO, METHODS
from repetition import same_numbers
from rounds import new_run
from safetensors.torch import load_file
from tiny import tiny_params

from stages.disk.tables import read_table, tensor

FOLDER = Path(__file__).parents[1] / "golden"
GOLDEN = METHODS | {"g2rpo": (*G2RPO, "complete.granularities=[1, 2]")}
"""What each method says beyond the tiny parameters; g2rpo with Lambda = {1, 2}."""
TOLERANCE = 1e-5
MAGNIFIED = 10 * TOLERANCE
"""Of advantages: they are rewards over the spread of a group, which is a fraction of 1."""
_SHOWN, _SHOWN_WEIGHTS = 16, 4
_LIBRARIES = ("diffusers", "transformers", "numpy", "peft", "pandas", "pyarrow")


def golden_run(method):
    """Three rounds of a method with every evaluation, in the test's own store."""
    run, params, models = new_run(tiny_params("run.rounds=3", "retention.rounds=null", *GOLDEN[method]))
    bring_to_the_end(run, params, models)
    return run


def values_of(run):
    """What a run has come to, by `folder/column`; nothing in it hangs on files, keys or paths."""
    found = {}
    for folder in sorted({path.parent for path in run.path.rglob("*.parquet")}):
        rows = read_table(folder)
        place = folder.relative_to(run.path).as_posix()
        for name in rows.column_names:
            if hasattr(rows[name].type, "shape"):
                found[f"{place}/{name}"] = _summary(tensor(rows, name).ravel(), _SHOWN)
            else:
                leaves = _leaves(f"{place}/{name}", rows[name].to_pylist())
                found |= {leaf: _summary(values, _SHOWN) for leaf, values in leaves.items()}
    for path in sorted(run.path.rglob("*.safetensors")):
        place = path.relative_to(run.path).with_suffix("").as_posix()
        for name, held in sorted(load_file(path).items()):
            found[f"{place}/{name}"] = _summary(held.double().numpy().ravel(), _SHOWN_WEIGHTS)
    for number, metrics in enumerate(run.metrics()):
        counted = {name: value for name, value in same_numbers(metrics).items() if name != "bytes"}
        for name, value in counted.items():
            found[f"metrics/{number}/{name}"] = _summary([value], 1)
    return found


def machine():
    """The kind of CPU and the library set, on which the last bits hang."""
    told = Path("/proc/cpuinfo")
    lines = [line.split(":") for line in told.read_text().splitlines() if ":" in line] if told.is_file() else []
    cpu = {name.strip(): value.strip() for name, value in reversed(lines)}
    kind = {"cpu": platform.machine(), "instructions": torch.backends.cpu.get_cpu_capability()}
    kind |= {name: cpu[name] for name in ("model name", "cpu family", "model") if name in cpu}
    return kind | {"torch": torch.__version__} | {name: version(name) for name in _LIBRARIES}


def differences(recorded, present, *, to_the_bit):
    """A line for each column that is not what was recorded."""
    lines = [f"{name}: recorded, and gone" for name in recorded.keys() - present.keys()]
    lines += [f"{name}: never recorded" for name in present.keys() - recorded.keys()]
    for name in recorded.keys() & present.keys():
        before, now = recorded[name], present[name]
        if (before["bits"] != now["bits"]) if to_the_bit else not _close(before, now, name):
            lines.append(f"{name}: {before} recorded, {now} now")
    return sorted(lines)


def recorded(method):
    return json.loads((FOLDER / f"{method}.json").read_text())


def record(method, present, reason):
    """Write a record anew; the reasons for all records before it stay in the file."""
    path = FOLDER / f"{method}.json"
    reasons = recorded(method)["reasons"] if path.is_file() else []
    head = {"reasons": [*reasons, reason], "machine": machine()}
    lines = ",\n".join(f"    {json.dumps(name)}: {json.dumps(value)}" for name, value in sorted(present.items()))
    written = json.dumps(head, indent=2).removesuffix("\n}")
    path.write_text(f'{written},\n  "values": {{\n{lines}\n  }}\n}}\n')


def _summary(values, shown):
    if len(values) and isinstance(values[0], str):
        told = json.dumps(list(values))
        return {
            "count": len(values),
            "bits": hashlib.sha256(told.encode()).hexdigest()[:16],
            "some": _some(values, shown),
        }
    numbers = np.asarray(values, dtype=np.float64)
    bits = hashlib.sha256(np.ascontiguousarray(numbers + 0.0).tobytes()).hexdigest()[:16]
    sums = {"sum": float(numbers.sum()), "norm": float(np.linalg.norm(numbers))}
    return {"count": len(numbers), "bits": bits} | sums | {"some": [float(v) for v in _some(numbers, shown)]}


def _some(values, shown):
    """Some of the values, spread evenly."""
    return [values[index * len(values) // shown] for index in range(shown)] if len(values) > shown else list(values)


def _leaves(name, rows):
    """The plain values of a column by name: of lists one after another, of records by the record's own names."""
    if any(isinstance(row, list) for row in rows):
        return _leaves(name, [value for row in rows for value in row])
    if any(isinstance(row, dict) for row in rows):
        parts = [_leaves(f"{name}/{part}", [row[part] for row in rows]) for part in rows[0]]
        return {leaf: values for part in parts for leaf, values in part.items()}
    if any(isinstance(row, bytes) for row in rows):
        return {name: [row.hex() for row in rows]}
    return {name: [str(row) for row in rows] if None in rows else rows}


def _close(before, now, name):
    if before["count"] != now["count"] or "sum" not in before:
        return before.keys() == now.keys() and before["some"] == now["some"]
    within = MAGNIFIED if "/advantages/" in name else TOLERANCE
    level = 1.0 if name.endswith("/image") else within  # pictures are kept in 256 levels
    spread = np.sqrt(before["count"])
    sums = abs(before["sum"] - now["sum"]) / spread, abs(before["norm"] - now["norm"])
    same = np.allclose(before["some"], now["some"], rtol=within, atol=level)
    return bool(same) and max(sums) <= level * spread + within * before["norm"]
