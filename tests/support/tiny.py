"""A whole pipeline in seconds: the shipped parameters, made small."""

from pathlib import Path

from stages.params.file import load_params
from stages.params.record import Params

ROOT = Path(__file__).parents[2]

TINY = (
    "run.rounds=2",
    "resources.threads=1",
    "resources.device=cpu",
    "prompts.num_prompts=4",
    "prompts.shard_size=2",
    "rollout.num_steps=4",
    "rollout.steps=[0, 1]",
    "rollout.group_size=3",
    "rollout.sde=flow",
    "rollout.eta=0.7",
    "complete.granularities=[1, 2]",
    "update.learning_rate=1e-4",
    "update.warmup_rounds=0",
    "update.decay_rounds=null",
    "update.final_frac=0.0",
    "evaluate.every=1",
    "evaluate.num_prompts=4",
    "evaluate.num_steps=[4]",
    "evaluate.num_pictures=2",
    "report.num_prompts=4",
    "report.num_noises=1",
    "report.num_steps=[4]",
    "guards.disk.free_gb=0.000001",
)


def tiny_params(*overrides: str) -> Params:
    return load_params(ROOT / "params.yaml", [*TINY, *overrides])


def tables(run_folder: Path) -> dict[str, bytes]:
    """The bytes of every table, policy and metric of a run that a repetition must reproduce."""
    kept = [p for p in run_folder.rglob("*") if p.suffix in (".parquet", ".safetensors")]
    return {str(path.relative_to(run_folder)): path.read_bytes() for path in sorted(kept)}
