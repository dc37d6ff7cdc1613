"""The section `integrate` of params.yaml."""

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field

from stages.params.names import Name
from stages.params.section import NotNegative, Positive, Section


class IntegrateParams(Section):
    """Stage `integrate`: one advantage per branch, from all granularities and rewards."""

    reward_weights: Annotated[dict[Name, NotNegative], Field(max_length=100)]
    """Weight of each trained reward."""
    granularity_weights: Annotated[tuple[NotNegative, ...], Field(min_length=1, max_length=32)] | None
    """Weight of each of complete.granularities, in their order; null: 1 each."""
    fusion: Literal["sum", "mean"]
    """`sum`: sum over rewards and granularities, as in the paper. `mean`: their weighted mean."""
    normalise: Literal["each", "mixed"]
    """`each`: standardise each reward within its group, then sum. `mixed`: sum the rewards in their own units, each
    times its weight, then standardise; so a reward of small spread has little influence."""
    std_floor_frac: NotNegative
    """Smallest divisor of a group, as a share of the pooled spread of the round's groups; 0: no floor. At 1, groups
    below the pooled spread are divided by it; from about 2 on, nearly all groups are divided by the floor. The mean
    stays the group's own."""
    clamp: Positive
    """Largest magnitude of an advantage; 5 in the paper."""
    std_eps: Positive
    """Added to the spread of a group, in the units of the reward."""

    def check(self, rewards: Sequence[str], granularities: Sequence[int]) -> None:
        """Refuse weights that do not match the trained rewards and the granularities.

        Raises:
            ValueError: With the key, the required and the given value, and the remedy.
        """
        if set(self.reward_weights) != set(rewards):
            raise ValueError(
                f"integrate.reward_weights: one weight for each of score.rewards {sorted(rewards)} is required, got "
                f"{sorted(self.reward_weights)}. Make them name the same rewards."
            )
        if not any(self.reward_weights.values()):
            raise ValueError("integrate.reward_weights: at least one must be above 0, got none. Raise one.")
        weights = self.granularity_weights
        if weights is not None and len(weights) != len(granularities):
            raise ValueError(
                f"integrate.granularity_weights: one weight for each of complete.granularities {list(granularities)} "
                f"is required, got {list(weights)}. Name as many, or null for 1 each."
            )
        if weights is not None and not any(weights):
            raise ValueError("integrate.granularity_weights: at least one must be above 0, got none. Raise one.")
