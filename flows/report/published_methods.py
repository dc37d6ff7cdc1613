"""Names of the methods, and where they were published."""

from dataclasses import dataclass

from stages.params.record import Params


@dataclass(frozen=True)
class Published:
    """A method. Example: `Published("MixGRPO", "2507.21802")`."""

    name: str
    arxiv: str


_METHODS = {
    "g2rpo": Published("G²RPO", "2510.01982"),
    "mix_grpo": Published("MixGRPO", "2507.21802"),
    "flow_grpo": Published("Flow-GRPO", "2505.05470"),
    "dance_grpo": Published("DanceGRPO", "2505.07818"),
}


def published(params: Params) -> Published:
    """Return the method of a run."""
    return _METHODS[params.rollout.method]
