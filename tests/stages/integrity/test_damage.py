import shutil
from pathlib import Path

from manifests import manifest

from stages.contract.declared_stages import EVALUATE
from stages.disk.files import read_sealed
from stages.integrity.damage import Damage, mark, num_marked
from stages.store.manifest import write_manifest
from stages.store.run import Run


def test_damage_is_told_by_its_file_and_what_is_the_matter():
    assert str(Damage(Path("r/HEAD"), "a number is required, got 'x'")) == "r/HEAD: a number is required, got 'x'"


def test_what_stays_damaged_is_noted_under_a_seal_until_nothing_does(tmp_path):
    run = Run(tmp_path)
    assert num_marked(run) == 0
    mark(run, [Damage(tmp_path / "rounds/0000" / name, "") for name in ("score.json", "update.json")])
    assert num_marked(run) == 2
    assert read_sealed(tmp_path / "damaged.json") == {"files": ["rounds/0000/score.json", "rounds/0000/update.json"]}
    mark(run, [Damage(tmp_path / "evaluations/0001-tuning" / name / "part-00000.parquet", "") for name in ("a", "b")])
    assert num_marked(run) == 2
    (tmp_path / "evaluations/0001-tuning").mkdir(parents=True)
    write_manifest(tmp_path / "evaluations/0001-tuning", EVALUATE, manifest(EVALUATE))
    for name in EVALUATE.outputs:
        (tmp_path / "evaluations/0001-tuning" / name).mkdir()
        (tmp_path / "evaluations/0001-tuning" / name / "part-00000.parquet").touch()
    assert num_marked(run) == 0  # it has been made again
    shutil.rmtree(tmp_path / "evaluations")
    mark(run, [])
    mark(run, [])
    assert (num_marked(run), list(tmp_path.iterdir())) == (0, [])
