"""The section `prompts` of params.yaml: the captions of a round."""

from typing import Annotated, Literal

from stages.params.names import Text
from stages.params.section import Count, Effect, Section


class PromptsParams(Section):
    """Stage `prompts`: the prompts of a round."""

    split: Literal["train", "tuning", "test", "all"]
    """Captions to draw from: each once per epoch, in an order that the seed determines."""
    path: Annotated[Text | None, Effect.CONTENTS]
    """Folder of prompt lists, one for each split, in a layout of docs/prompts.md; null: the family's own."""
    num_prompts: Count
    """Prompts per round."""
    shard_size: Count
    """Prompts per shard; the shard is the unit of placement, retry and resume."""
