"""The section `retention` of params.yaml: what stays of finished rounds."""

from stages.params.section import Count, Section


class RetentionParams(Section):
    """What stays of the rounds that are done. Prompts, rewards, advantages, updates and metrics stay for ever."""

    rounds: Count | None
    """The last rounds whose latents and policy stay; null keeps those of all. Policies that `evaluate.every` judges
    stay for ever."""
