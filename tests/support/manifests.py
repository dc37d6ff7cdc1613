"""Manifests of stages, as whole as the store asks for, with the values that a test is about."""

from stages.disk.tables import TABLES


def manifest(stage, **changed):
    """A manifest of a stage whose every table has one row in one shard, with some of its values changed."""
    outputs = {name: output(name) for name in stage.outputs}
    whole = {"stage": stage.name, "number": 0, "stamp": "0", "inputs": {}, "parameters": {}, "outputs": outputs}
    return whole | {"seconds": 1.0, "cpu_seconds": 1.0, "peak_bytes": 1, "evaluations": 0} | changed


def output(name, **changed):
    """What a manifest says of an output, with some of it changed."""
    file = "part-00000.parquet" if name in TABLES else "state.json"
    whole = {"digest": "0" * 64, "rows": int(name in TABLES), "bytes": 1, "files": {file: "0" * 64}}
    return whole | changed
