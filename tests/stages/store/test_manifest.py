from dataclasses import replace

import pytest
from damage import edit, flip
from manifests import manifest, output

from stages.contract.declared_stages import STAGES
from stages.disk.files import file_digest, value_digest, write_json
from stages.disk.policy_state import STATE, state_digest
from stages.disk.tables import DIVERSITY, arrow, write_shard
from stages.store.manifest import (
    described,
    is_complete,
    manifest_path,
    missing_outputs,
    pruned_outputs,
    read_manifest,
    stamp_of,
    tombstone_path,
    write_manifest,
    write_tombstone,
)

SCORE = STAGES["score"]
SHARDS = ["part-00000.parquet", "part-00001.parquet"]
MANIFEST = manifest(SCORE, outputs={"rewards": output("rewards", files=dict.fromkeys(SHARDS, "0" * 64))})
UPDATE = manifest(STAGES["update"])


def test_a_manifest_lies_beside_the_outputs_and_is_read_as_it_was_written(tmp_path):
    assert manifest_path(tmp_path, SCORE) == tmp_path / "score.json"
    assert read_manifest(tmp_path, SCORE) is None
    write_manifest(tmp_path, SCORE, MANIFEST)
    assert read_manifest(tmp_path, SCORE) == MANIFEST


def test_a_manifest_that_was_damaged_or_is_of_another_stage_is_none(tmp_path):
    write_manifest(tmp_path, SCORE, UPDATE)
    assert read_manifest(tmp_path, SCORE) is None
    write_manifest(tmp_path, SCORE, MANIFEST)
    flip(tmp_path / "score.json")
    assert read_manifest(tmp_path, SCORE) is None


@pytest.mark.parametrize(
    "changed", [{"stage": STAGES["update"]}, {"number": 8}, {"inputs": {"a": "2"}}, {"parameters": {"eta": 0.5}}]
)
def test_a_stamp_depends_on_stage_round_inputs_and_parameters(changed):
    given = {"stage": SCORE, "number": 7, "inputs": {"a": "1"}, "parameters": {"eta": 0.7}}
    value = {"stage": "score", "number": 7, "inputs": {"a": "1"}, "parameters": {"eta": 0.7}}
    assert stamp_of(**given) == value_digest(value) == stamp_of(**given | {"stage": replace(SCORE, models=())})
    assert stamp_of(**given | changed) != stamp_of(**given)


def test_a_table_is_described_by_rows_bytes_and_the_digest_of_each_file(tmp_path):
    columns = {"prompt_id": ["p", "q"], "window": [0, 0], "granularity": [1, 1], "value": [0.1, 0.2]}
    for shard in (0, 1):
        write_shard(tmp_path, shard, DIVERSITY, arrow(DIVERSITY, columns), stamp=str(shard))
    (tmp_path / ".part-00002.parquet.1.tmp").touch()
    paths = [tmp_path / f"part-0000{shard}.parquet" for shard in (0, 1)]
    files = {path.name: file_digest(path) for path in paths}
    size = sum(path.stat().st_size for path in paths)
    assert described(tmp_path) == {"digest": value_digest(files), "rows": 4, "bytes": size, "files": files}


def test_a_policy_is_described_by_the_digests_that_its_state_knows(tmp_path):
    folder = tmp_path / "policy"
    folder.mkdir()
    (folder / "weights.safetensors").write_bytes(b"12345")
    known = {"weights.safetensors": "f" * 64}  # not hashed again
    write_json(folder / STATE, {"digest": state_digest(1, known), "num_steps": 1, "files": known})
    description = described(folder)
    assert description["files"] == {STATE: file_digest(folder / STATE)} | known
    assert (description["rows"], description["bytes"]) == (0, 5 + (folder / STATE).stat().st_size)


def test_a_tombstone_says_what_was_pruned_unless_it_is_damaged(tmp_path):
    assert pruned_outputs(tmp_path) == frozenset()
    write_tombstone(tmp_path, frozenset({"policy", "anchors"}))
    assert pruned_outputs(tmp_path) == {"anchors", "policy"}
    assert tombstone_path(tmp_path) == tmp_path / "pruned.json"
    edit(tmp_path / "pruned.json", lambda tombstone: tombstone["outputs"].remove("policy"))
    assert pruned_outputs(tmp_path) == {"anchors"}
    flip(tmp_path / "pruned.json")
    assert pruned_outputs(tmp_path) == frozenset()


def test_files_that_a_manifest_names_are_missed_unless_they_were_pruned(tmp_path):
    (tmp_path / "rewards").mkdir()
    (tmp_path / "rewards" / SHARDS[0]).touch()
    assert missing_outputs(MANIFEST, tmp_path, ["rewards"]) == [tmp_path / "rewards" / SHARDS[1]]
    (tmp_path / "rewards" / SHARDS[1]).touch()
    assert missing_outputs(MANIFEST, tmp_path, ["rewards"]) == []
    assert is_complete(MANIFEST, tmp_path) is True
    for name in ("old_log_probs", "updates"):
        (tmp_path / name).mkdir()
        (tmp_path / name / SHARDS[0]).touch()
    assert missing_outputs(UPDATE, tmp_path, ["updates", "policy"]) == [tmp_path / "policy" / STATE]
    assert not is_complete(UPDATE, tmp_path)
    write_tombstone(tmp_path, frozenset({"policy"}))
    assert is_complete(UPDATE, tmp_path) is True
