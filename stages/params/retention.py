"""The section `retention` of params.yaml: what a run keeps of its finished rounds."""

from stages.params.section import Count, Section


class RetentionParams(Section):
    """What a run keeps of its finished rounds. It always keeps prompts, rewards, advantages, updates and metrics."""

    rounds: Count | None
    """Last rounds that keep their latents and policy; null: all rounds. Policies that `evaluate.every` evaluates are
    always kept."""
