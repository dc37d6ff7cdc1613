"""The six stages of one round in a folder of one's own, outside the store: what `pipelines/round` runs under DVC.

Each stage writes into `<folder>/<stage>/` and reads what the stages before it have written there.
"""

from pathlib import Path

from g2rpo.policies.families import FAMILIES
from stages.contract.declared_stages import POLICY_INPUTS, ROUND_STAGES
from stages.disk.policy_state import STATE, write_base
from stages.engine.execute import execute
from stages.engine.loaded_models import Resources
from stages.params.record import Params
from stages.sources.base_model import policy_digest
from stages.sources.hub import files_digest
from stages.store.run import WRITER


def run_in_folder(name: str, folder: Path, number: int, policy: Path | None, params: Params) -> str:
    """Run a stage of a round that lies in a folder; return a line that says what became of it.

    Args:
        name: The stage.
        folder: Where the round lies.
        number: The round's number: noise and draw of prompts hang on it.
        policy: What the round begins with: a stored policy, or the base's own weights; None is the base.
        params: The parameters.

    Raises:
        ValueError: If there is no such stage of a round, or an input is missing.
    """
    stages = {stage.name: stage for stage in ROUND_STAGES}
    if name not in stages:
        raise ValueError(f"A stage of a round is one of {', '.join(stages)}, got {name!r}.")
    stage = stages[name]
    begins_with = policy if policy and (policy / STATE).is_file() else _base(params, policy, folder)
    inputs = {
        table: begins_with if table in POLICY_INPUTS else folder / WRITER[table].name / table for table in stage.inputs
    }
    return execute(stage, folder / name, inputs, params, Resources(params), number=number).told(number)


def _base(params: Params, weights: Path | None, folder: Path) -> Path:
    """Return a folder that says which weights the base has, after a look that they are those meant."""
    digest, patterns = policy_digest(params), FAMILIES[params.policy.family].files
    holds = weights and any(found for pattern in patterns for found in weights.glob(pattern))
    if weights and not (holds and files_digest(weights, patterns, key="--policy") == digest):
        raise ValueError(
            f"--policy: a stored policy or the weights of policy.path are required, got {weights}, which is neither. "
            "Set policy.path to it, or name the folder `policy` of a round."
        )
    write_base(folder / "base", digest)
    return folder / "base"
