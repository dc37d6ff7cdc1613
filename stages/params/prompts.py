"""The section `prompts` of params.yaml: the captions of a round."""

from typing import Annotated, Literal

from stages.params.section import Count, Effect, Section


class PromptsParams(Section):
    """Stage `prompts`: what a round is asked to paint."""

    split: Literal["train", "tuning", "test", "all"]
    """Captions to draw from: each once an epoch, in an order that the seed decides."""
    path: Annotated[str | None, Effect.CONTENTS]
    """Folder of prompt lists, one for each split, in a layout of docs/prompts.md; null takes the family's own."""
    num_prompts: Count
    """Prompts a round."""
    shard_size: Count
    """Prompts a shard; the shard is the unit of placement, retry and resume."""
