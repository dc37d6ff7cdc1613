"""The section `policy` of params.yaml: the model that is aligned, one record per model family."""

from typing import Annotated, Literal

from pydantic import Field

from stages.params.names import Text
from stages.params.section import Count, Effect, Positive, Section, Source

Pixels = Annotated[int, Field(ge=16, le=16_384, multiple_of=16)]


class LoraParams(Section):
    """A low-rank adapter, trained in place of the weights."""

    rank: Annotated[Count, Field(le=10_000)]
    """Rank of the two matrices."""
    alpha: Count
    """The product of the matrices is scaled by alpha / rank; some programs that load a LoRA assume alpha = rank."""
    targets: Annotated[tuple[Text, ...], Field(min_length=1, max_length=1000)]
    """Suffixes of the names of the linear layers to adapt."""


class ShapesParams(Section):
    """The FLUX transformer of the shapes world."""

    family: Literal["shapes"]
    """The shapes world."""
    path: Annotated[Text | None, Effect.CONTENTS]
    """Folder of other base weights; null: the shipped weights."""


class Flux1Params(Source):
    """FLUX.1, dev or schnell."""

    family: Literal["flux1"]
    """FLUX.1 by Black Forest Labs."""
    height: Pixels
    """Height of a picture in pixels; 720 in the paper."""
    width: Pixels
    """Width of a picture in pixels; 720 in the paper."""
    guidance: Positive | None
    """Guidance scale, an input of the dev model, 3.5 in the paper; null for schnell."""
    max_sequence_length: Annotated[int, Field(ge=1, le=512)]
    """Tokens of the T5 encoder: 512 for dev, at most 256 for schnell."""
    lora: LoraParams | None
    """The adapter; null trains all weights."""


class StableDiffusion3Params(Source):
    """Stable Diffusion 3 and 3.5."""

    family: Literal["sd3"]
    """Stable Diffusion 3 and 3.5 by Stability AI."""
    height: Pixels
    """Height of a picture in pixels."""
    width: Pixels
    """Width of a picture in pixels."""
    guidance: Annotated[Positive, Field(ge=1)]
    """Scale of the classifier-free guidance; 1: no guidance, at half the cost."""
    negative_prompt: Text
    """Text that guidance leads away from; empty as published."""
    max_sequence_length: Annotated[int, Field(ge=1, le=512)]
    """Tokens of the T5 encoder, 256 as published."""
    lora: LoraParams | None
    """The adapter; null trains all weights."""


PolicyParams = Annotated[ShapesParams | Flux1Params | StableDiffusion3Params, Field(discriminator="family")]
