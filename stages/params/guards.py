"""The section `guards` of params.yaml: what ends a run, or warns, before GPU hours are wasted. It changes no number."""

from typing import Annotated, Literal

from pydantic import Field

from stages.params.section import Count, Positive, Section

Severity = Literal["ignore", "warn", "stop"]
Action = Literal["ignore", "warn", "stop", "rollback"]
"""`ignore`: the guard is off. `warn`: it is told once. `stop`: the run ends, its best round is judged and exported.
`rollback`: a child run goes on from the best round with half the learning rate."""

Share = Annotated[float, Field(gt=0, le=1)]


class GuardParams(Section):
    """A guard whose only setting is what it does."""

    action: Action
    """What follows when it trips."""


class ExplodingParams(GuardParams):
    """The gradient's norm leaves the range it has had."""

    times: Annotated[float, Field(gt=1, allow_inf_nan=False)]
    """Times the median of the earlier rounds."""


class RatioParams(GuardParams):
    """The importance ratio of the first optimizer step, which is 1 where rollout and update agree, is off."""

    gap: Positive
    """Largest distance from 1."""


class CollapseParams(GuardParams):
    """A reward that is trained on has fallen since the run began."""

    spreads: Positive
    """Mean of the last 10 rounds below that of the first 10, in units of the reward's spread within groups."""
    standard_errors: Positive
    """On the held-out prompts below the base, in standard errors of the paired difference."""


class ZeroSpreadParams(GuardParams):
    """Groups whose members all have one reward, of which nothing can be learned."""

    frac: Share
    """Their share in each of the last `rounds` rounds."""
    rounds: Count
    """Rounds in a row."""


class KlParams(GuardParams):
    """The policy has gone far from its base."""

    most: Positive
    """Largest KL to the base, in nats per latent element, the mean of a round."""


class ClipFracParams(GuardParams):
    """Most ratios are clipped: steps are too large, or too many on the same round."""

    most: Share
    """Largest share of clipped ratios, the mean of a round."""


class HackingParams(GuardParams):
    """Rewards that are not trained on fall from their best while the trained one stands above the base."""

    standard_errors: Positive
    """The fall since the best round, in standard errors of the paired difference on the held-out prompts; and"""
    frac: Positive
    """as a share of what they had gained by then over the base; over 1 they lie below it."""


class DiversityParams(GuardParams):
    """The pictures of a group come to look alike."""

    frac: Positive
    """Mean diversity of the last 10 rounds, as a share of that of the first 10, below which it trips."""


class DiskParams(Section):
    """The disk of the store is nearly full."""

    action: Severity
    """What follows when it trips."""
    free_gb: Positive
    """Least free space, in 10^9 bytes."""


class TimeParams(Section):
    """The run has computed for as long as it may."""

    action: Severity
    """What follows when it trips."""
    hours: Positive | None
    """Hours of its rounds' stages, sessions all together; null: no limit."""


class GuardsParams(Section):
    """What is looked at before the first round of a session and after each."""

    max_rollbacks: Annotated[int, Field(ge=0)]
    """Rollbacks one after another, after which `rollback` is `stop`."""
    non_finite: GuardParams
    """A number is NaN or infinite. A stage that cannot go on for it ends the run in any case: with `ignore` and
    `warn` as an error."""
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
