"""The base weights of a run."""

from stages.params.record import Params
from stages.sources.base_model import policy_digest
from stages.store.run import Run


def require_base(run: Run, params: Params) -> None:
    """Refuse base weights other than those that the run began with.

    Raises:
        ValueError: With the place where they are required.
    """
    if policy_digest(params) != run.fingerprint.values["origins.policy"]:
        raise ValueError(
            f"The base weights that run {run.key} began with are required, got others at "
            f"{params.policy.path or 'the shipped folder'}. Put them back."
        )
