"""How a stage is run: skipped, refused, made again, gone on with; by the real stages on a policy of one weight."""

import pytest
from linear_resources import LinearResources
from tiny import tables, tiny_params

from stages.contract.declared_stages import EVALUATE, STAGES
from stages.disk.policy_state import policy_state
from stages.disk.tables import shard_numbers, shard_path
from stages.engine.execute import StageResult, is_done, run_stage
from stages.store.manifest import manifest_path, read_manifest
from stages.store.run import open_run

PROMPTS, ROLLOUT = STAGES["prompts"], STAGES["rollout"]


class Round:
    """A run whose stages are called one by one on its first round: prompts in two shards of two."""

    def __init__(self):
        self.params = tiny_params()
        self.run, self.executor = open_run(self.params, device="cpu"), LinearResources()
        self.folder = self.run.round_folder(0)

    def do(self, stage, *, params=None, **how):
        return run_stage(self.run, stage, 0, params or self.params, self.executor, **how)

    def changed(self, eta):
        return self.params.with_values({"rollout.eta": eta})

    def made(self, table):
        return {n: shard_path(self.folder / table, n).stat().st_mtime_ns for n in shard_numbers(self.folder / table)}


@pytest.fixture
def this():
    """A round that has its prompts."""
    this = Round()
    this.do(PROMPTS)
    return this


@pytest.mark.parametrize(
    ("skipped", "line"),
    [
        (False, "rollout of round 7 done in 0.10 s: anchors 8 rows, transitions 24 rows; 32 evaluations"),
        (True, "rollout of round 7 was done already: anchors 8 rows, transitions 24 rows; 32 evaluations"),
    ],
)
def test_what_became_of_a_stage_is_reported_in_a_line(skipped, line):
    outputs = {"anchors": {"rows": 8}, "transitions": {"rows": 24}}
    done = StageResult("rollout", {"outputs": outputs, "seconds": 0.099, "evaluations": 32}, skipped)
    assert done.line(7) == line


def test_a_stage_with_missing_shards_is_reported_as_such():
    line = StageResult("rollout", None, skipped=False).line(7)
    assert line == "rollout of round 7: the requested shards are done, others are still missing."


def test_a_manifest_says_what_a_stage_was_made_from_what_it_made_and_what_it_cost(this):
    done = this.do(ROLLOUT)
    manifest = read_manifest(this.folder, ROLLOUT)
    assert (done.manifest, done.skipped) == (manifest, False)
    assert (manifest["stage"], manifest["number"]) == ("rollout", 0)
    assert manifest["inputs"] == {
        "prompts": read_manifest(this.folder, PROMPTS)["outputs"]["prompts"]["digest"],
        "behaviour_policy": policy_state(this.run.policy_folder(0)).digest,
    }
    assert manifest["parameters"] == ROLLOUT.parameters(this.params, 0)
    assert {name: out["rows"] for name, out in manifest["outputs"].items()} == {"anchors": 8, "transitions": 24}
    assert (manifest["cpu_seconds"], manifest["peak_bytes"]) == (1.5, 1000)  # as the executor reports
    assert manifest["evaluations"] == 4 * 2  # prompts, steps that the anchor visits
    assert manifest["seconds"] > 0


def test_a_stage_is_done_once_and_again_where_that_is_forced_or_a_parameter_has_changed(this):
    assert not is_done(this.run, ROLLOUT, 0, this.params)
    this.do(ROLLOUT)
    assert is_done(this.run, ROLLOUT, 0, this.params)
    assert not is_done(this.run, ROLLOUT, 0, this.changed(0.5))
    before, made = tables(this.run.path), this.made("transitions")
    assert this.do(ROLLOUT).skipped
    assert this.made("transitions") == made
    assert not this.do(ROLLOUT, force=True).skipped
    assert this.made("transitions")[0] != made[0]
    assert tables(this.run.path) == before
    assert not this.do(ROLLOUT, params=this.changed(0.5)).skipped
    assert tables(this.run.path) != before
    (this.run.policy_folder(0) / "state.json").unlink()
    assert not is_done(this.run, ROLLOUT, 0, this.changed(0.5))


def test_a_stage_of_which_a_file_has_vanished_is_not_done_and_makes_that_file_alone(this):
    this.do(ROLLOUT)
    before, made = tables(this.run.path), this.made("transitions")
    shard_path(this.folder / "transitions", 1).unlink()
    assert not is_done(this.run, ROLLOUT, 0, this.params)
    assert not this.do(ROLLOUT).skipped
    assert tables(this.run.path) == before
    assert this.made("transitions")[0] == made[0]


def test_shards_made_apart_become_the_stage_with_the_last_of_them(this):
    folder = this.folder / "transitions"
    assert this.do(ROLLOUT, shards=[1]).manifest is None
    assert not manifest_path(this.folder, ROLLOUT).exists()
    (folder / ".part-00000.parquet.999.tmp").write_bytes(b"half")
    made = this.made("transitions")
    done = this.do(ROLLOUT)
    assert done.manifest["evaluations"] == 8
    assert this.made("transitions")[1] == made[1]
    assert not list(folder.glob(".*"))


def test_shards_of_other_parameters_are_removed_before_any_is_made(this):
    this.do(ROLLOUT)
    assert this.do(ROLLOUT, params=this.changed(0.5), shards=[0]).manifest is None
    assert [shard_numbers(this.folder / name) for name in ("anchors", "transitions")] == [[0], [0]]


def test_a_stage_that_is_interrupted_is_not_done_any_more(this, monkeypatch):
    this.do(ROLLOUT)
    with monkeypatch.context() as patch:
        patch.setattr(LinearResources, "field", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            this.do(ROLLOUT, force=True)
    assert not is_done(this.run, ROLLOUT, 0, this.params)


def test_a_stage_without_its_input_says_which_stage_to_run():
    with pytest.raises(
        ValueError, match=r"Stage rollout reads the table prompts, got no finished one in .*Run stage prompts of this"
    ):
        Round().do(ROLLOUT)


def test_shards_that_do_not_exist_are_refused_before_anything_changes(this):
    with pytest.raises(ValueError, match=r"This round has the shards \[0, 1\], got \[7\]. Name shards that it has"):
        this.do(ROLLOUT, shards=[1, 7])
    assert not (this.folder / "transitions").exists()


@pytest.mark.parametrize("stage", [PROMPTS, EVALUATE], ids=lambda stage: stage.name)
def test_a_stage_that_makes_all_at_once_takes_no_shards(this, stage):
    with pytest.raises(ValueError, match=rf"Stage {stage.name} needs all shards at once, got shards \[0\]. Leave them"):
        this.do(stage, shards=[0])
