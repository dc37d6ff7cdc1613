"""Every kind of damage that a run of three rounds is held to: by the disk, by a person, by another run."""

import shutil

from damage import edit, flip, halve, lose, replace

FILES = (
    "rounds/0000/prompts/part-00000.parquet",
    "rounds/0000/anchors/part-00001.parquet",
    "rounds/0001/transitions/part-00000.parquet",
    "rounds/0002/completions/part-00001.parquet",
    "rounds/0000/rewards/part-00001.parquet",
    "rounds/0001/advantages/part-00000.parquet",
    "rounds/0002/old_log_probs/part-00000.parquet",
    "rounds/0000/updates/part-00000.parquet",
    "rounds/0001/policy/weights.safetensors",
    "rounds/0002/policy/optimizer.safetensors",
    "rounds/0000/policy/state.json",
    "rounds/0002/update.json",
    "rounds/0000/rollout.json",
    "evaluations/0000-tuning/evaluations/part-00000.parquet",
    "evaluations/0002-tuning/pictures/part-00000.parquet",
    "evaluations/0003-test/evaluate.json",
    "metrics/0001.json",
    "base/state.json",
    "prompts/train/part-00000.parquet",
    "prompts/test/part-00000.parquet",
    "params.yaml",
    "run.json",
    "HEAD",
)
"""One file of every kind, in old rounds and in the last."""

HURT = (
    *((flip, file) for file in FILES),
    *((halve, FILES[number]) for number in (2, 8, 11, 16)),
    *((lose, FILES[number]) for number in (0, 4, 9, 10, 12, 13, 16, 17, 18, 20, 21, 22)),
)


def an_input(run, other):
    return edited(run, "rounds/0001/score.json", lambda manifest: manifest["inputs"].update(completions="0" * 64))


def a_parameter(run, other):
    return edited(run, "rounds/0001/integrate.json", lambda manifest: manifest["parameters"].update(integrate={}))


def the_digest_of_an_output(run, other):
    return edited(
        run, "rounds/0000/score.json", lambda manifest: manifest["outputs"]["rewards"].update(digest="0" * 64)
    )


def the_round_of_a_manifest(run, other):
    return edited(run, "rounds/0002/prompts.json", lambda manifest: manifest.update(stamp="0"))


def the_steps_of_a_policy(run, other):
    path = run.path / "rounds/0001/policy/state.json"
    replace(path, path.read_bytes().replace(b'"num_steps": 2', b'"num_steps": 3'))
    return path


def the_learning_rate_in_params(run, other):
    path = run.path / "params.yaml"
    replace(path, path.read_bytes().replace(b"learning_rate: 0.0001", b"learning_rate: 0.0002"))
    return path


def the_fingerprint(run, other):
    return edited(run, "run.json", lambda about: about["fingerprint"].update({"rollout.eta": 0.5}))


def a_head_too_far(run, other):
    replace(run.path / "HEAD", b"9\n")
    return run.path / "HEAD"


def a_head_too_early(run, other):
    replace(run.path / "HEAD", b"1\n")
    return run.path / "HEAD"


def a_manifest_of_another_seed(run, other):
    return taken(run, other("run.seed=1"), "rounds/0000/rollout.json")


def a_manifest_of_another_learning_rate(run, other):
    return taken(run, other("update.learning_rate=1e-3"), "rounds/0000/update.json")


def a_shard_of_another_seed(run, other):
    return taken(run, other("run.seed=1"), "rounds/0000/rewards/part-00000.parquet")


def a_stage_of_another_seed(run, other):
    return taken(run, other("run.seed=1"), "rounds/0001/rewards", "rounds/0001/score.json")


def an_update_of_another_learning_rate(run, other):
    files = [f"rounds/0001/{name}" for name in ("policy", "updates", "old_log_probs", "update.json")]
    return taken(run, other("update.learning_rate=1e-3"), *files)


def the_run_json_of_another_seed(run, other):
    return taken(run, other("run.seed=1"), "run.json")


def a_manifest_of_another_stage(run, other):
    return moved(run, "rounds/0001/score.json", "rounds/0001/integrate.json")


def an_evaluation_of_another_policy(run, other):
    moved(run, "evaluations/0003-tuning", "evaluations/0001-tuning")
    return run.path / "evaluations/0001-tuning/evaluate.json"


def an_evaluation_on_other_captions(run, other):
    moved(run, "evaluations/0000-test", "evaluations/0000-tuning")
    return run.path / "evaluations/0000-tuning/evaluate.json"


def another_list_of_prompts(run, other):
    moved(run, "prompts/tuning", "prompts/train")
    return run.path / "prompts/train/part-00000.parquet"


def a_shard_too_many(run, other):
    return moved(run, "rounds/0001/rewards/part-00000.parquet", "rounds/0001/rewards/part-00009.parquet")


FORGED = (
    an_input,
    a_parameter,
    the_digest_of_an_output,
    the_round_of_a_manifest,
    the_steps_of_a_policy,
    the_learning_rate_in_params,
    the_fingerprint,
    a_head_too_far,
    a_head_too_early,
    a_manifest_of_another_seed,
    a_manifest_of_another_learning_rate,
    a_shard_of_another_seed,
    a_stage_of_another_seed,
    an_update_of_another_learning_rate,
    the_run_json_of_another_seed,
    a_manifest_of_another_stage,
    an_evaluation_of_another_policy,
    an_evaluation_on_other_captions,
    another_list_of_prompts,
    a_shard_too_many,
)
"""Whole files that are not those of the run; each returns the file that must be named."""


def edited(run, file, change):
    edit(run.path / file, change)
    return run.path / file


def taken(run, other, *files):
    """Put files of another run in the place of this run's."""
    for file in files:
        put(other[0].path / file, run.path / file)
    return run.path / files[-1]


def moved(run, source, target):
    put(run.path / source, run.path / target)
    return run.path / target


def put(source, target):
    if source.is_dir():
        shutil.rmtree(target)
        shutil.copytree(source, target)
    else:
        replace(target, source.read_bytes())
