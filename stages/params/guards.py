"""The section `guards` of params.yaml: checks that end a run, or warn, before it wastes GPU hours."""

from typing import Annotated, Literal

from pydantic import Field

from stages.params.section import Count, CountOrNone, Positive, Section, Share

Severity = Literal["ignore", "warn", "stop"]
Action = Literal["ignore", "warn", "stop", "rollback"]
"""`ignore`: the guard is off. `warn`: it warns once. `stop`: the run ends; its best round is evaluated and exported.
`rollback`: a child run continues from the best round with half the learning rate."""


class GuardParams(Section):
    """A guard whose only setting is its action."""

    action: Action
    """What happens when it trips."""


class ExplodingParams(GuardParams):
    """The gradient norm is far above that of earlier rounds."""

    times: Annotated[Positive, Field(gt=1)]
    """Largest gradient norm, in multiples of its median over the earlier rounds."""


class RatioParams(GuardParams):
    """The importance ratios of the first optimizer step differ from 1, their value if rollout and update agree."""

    gap: Positive
    """Largest distance of the first step's importance ratios from 1."""


class CollapseParams(GuardParams):
    """A trained reward has fallen since the run began."""

    spreads: Positive
    """Largest fall of the mean, first 10 rounds to last 10, in units of the reward's spread within groups."""
    standard_errors: Positive
    """Largest distance below the base on the held-out prompts, in standard errors of the paired difference."""


class ZeroSpreadParams(GuardParams):
    """In most groups all members have the same reward, so nothing can be learned from them."""

    frac: Share
    """Share of groups with equal rewards, in each of the last `rounds` rounds, at which the guard trips."""
    rounds: Count
    """Number of consecutive rounds."""


class KlParams(GuardParams):
    """The policy is far from its base."""

    most: Positive
    """Largest KL to the base, in nats per latent element, as the mean over a round."""


class ClipFracParams(GuardParams):
    """Most ratios are clipped: the optimizer steps are too large, or too many per round."""

    most: Share
    """Largest share of clipped ratios, as the mean over a round."""


class HackingParams(GuardParams):
    """Held-out rewards fall from their best while a trained reward is above the base."""

    standard_errors: Positive
    """Largest fall of the held-out rewards since the best round, in standard errors of the paired difference on the
    held-out prompts. The guard trips if the fall exceeds both this and `frac`."""
    frac: Positive
    """Largest fall since the best round, as a share of the gain over the base at that round; a fall of more than 1 ends
    below the base."""


class DiversityParams(GuardParams):
    """The pictures of a group become alike."""

    frac: Positive
    """Least mean diversity of the last 10 rounds, as a share of that of the first 10."""


class DiskParams(Section):
    """The disk of the store is nearly full."""

    action: Severity
    """What happens when it trips."""
    free_gb: Positive
    """Least free space, in 10^9 bytes."""


class TimeParams(Section):
    """The run has used up its computing time."""

    action: Severity
    """What happens when it trips."""
    hours: Positive | None
    """Hours that the stages of its rounds may take, summed over all sessions; null: no limit."""


class GuardsParams(Section):
    """Checks before the first round of a session and after each round."""

    max_rollbacks: CountOrNone
    """Consecutive rollbacks, after which `rollback` acts as `stop`."""
    non_finite: GuardParams
    """A number is NaN or infinite. If a stage fails because of it, the run ends whatever the action: with `ignore` and
    `warn` by an error."""
    exploding: ExplodingParams
    ratio: RatioParams
    reward_collapse: CollapseParams
    zero_spread: ZeroSpreadParams
    kl: KlParams
    clip_frac: ClipFracParams
    reward_hacking: HackingParams
    diversity: DiversityParams
    disk: DiskParams
    time: TimeParams
