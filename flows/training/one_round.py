"""The six stages of one round in a folder outside the store: `pipelines/round` runs them under DVC.

Each stage writes into `<folder>/<stage>/` and reads the outputs of earlier stages there.
"""

from pathlib import Path

from g2rpo.policies.families import FAMILIES
from stages.contract.declared_stages import POLICY_INPUTS, ROUND_STAGES
from stages.disk.policy_state import STATE, write_base
from stages.engine.execute import execute
from stages.engine.loaded_models import LoadedModels
from stages.params.record import Params
from stages.sources.base_model import policy_digest
from stages.sources.hub import files_digest
from stages.store.run import WRITER


def run_in_folder(name: str, folder: Path, number: int, policy: Path | None, params: Params) -> str:
    """Run a stage of a round in a folder; return a line with the result.

    Args:
        name: The stage.
        folder: Folder of the round.
        number: The round's number; noise and draw of prompts depend on it.
        policy: Policy at the start of the round: a stored policy, or the base's own weights; None is the base.
        params: The parameters.

    Raises:
        ValueError: If no stage of a round has this name, or an input is missing.
    """
    stages = {stage.name: stage for stage in ROUND_STAGES}
    if name not in stages:
        raise ValueError(f"A stage of a round is one of {', '.join(stages)}, got {name!r}.")
    stage = stages[name]
    start = policy if policy and (policy / STATE).is_file() else _base(params, policy, folder)
    inputs = {table: start if table in POLICY_INPUTS else folder / WRITER[table].name / table for table in stage.inputs}
    return execute(stage, folder / name, inputs, params, LoadedModels(params), number=number).line(number)


def _base(params: Params, weights: Path | None, folder: Path) -> Path:
    """Return a folder that names the base's weights, after checking their digest."""
    digest, patterns = policy_digest(params), FAMILIES[params.policy.family].files
    has_weights = weights and any(path for pattern in patterns for path in weights.glob(pattern))
    if weights and not (has_weights and files_digest(weights, patterns, key="--policy") == digest):
        raise ValueError(
            f"--policy: a stored policy or the weights of policy.path are required, got {weights}, which is neither. "
            "Set policy.path to it, or name the folder `policy` of a round."
        )
    write_base(folder / "base", digest)
    return folder / "base"
