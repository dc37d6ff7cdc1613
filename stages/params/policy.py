"""The section `policy` of params.yaml: the model that is aligned, one record a model family."""

from typing import Annotated, Literal

from pydantic import Field

from stages.params.section import Count, Effect, Positive, Section, Source

Pixels = Annotated[int, Field(ge=16, multiple_of=16)]


class LoraParams(Section):
    """A low-rank adapter, trained in place of the weights."""

    rank: Count
    """Of the two matrices."""
    alpha: Count
    """Their product is scaled by alpha / rank; some programs that load a LoRA take them for equal."""
    targets: Annotated[tuple[str, ...], Field(min_length=1)]
    """Ends of the names of the linear layers that are adapted."""


class ShapesParams(Section):
    """The embedded world's Flux transformer."""

    family: Literal["shapes"]
    """The embedded world."""
    path: Annotated[str | None, Effect.CONTENTS]
    """Folder of other base weights; null takes the shipped ones."""


class Flux1Params(Source):
    """FLUX.1, dev or schnell."""

    family: Literal["flux1"]
    """FLUX.1 by Black Forest Labs."""
    height: Pixels
    """Of a picture; 720 in the paper."""
    width: Pixels
    """Of a picture; 720 in the paper."""
    guidance: Positive | None
    """The scale that the dev model is told, 3.5 in the paper; null for schnell."""
    max_sequence_length: Annotated[int, Field(ge=1, le=512)]
    """Tokens of the T5 encoder: 512 for dev, at most 256 for schnell."""
    lora: LoraParams | None
    """The adapter; null trains all weights."""


class StableDiffusion3Params(Source):
    """Stable Diffusion 3 and 3.5."""

    family: Literal["sd3"]
    """Stable Diffusion 3 and 3.5 by Stability AI."""
    height: Pixels
    """Of a picture."""
    width: Pixels
    """Of a picture."""
    guidance: Annotated[float, Field(ge=1, allow_inf_nan=False)]
    """Scale of the classifier-free guidance; 1 is none, and half the cost."""
    negative_prompt: str
    """What guidance leads away from; the empty text as published."""
    max_sequence_length: Annotated[int, Field(ge=1, le=512)]
    """Tokens of the T5 encoder, 256 as published."""
    lora: LoraParams | None
    """The adapter; null trains all weights."""


PolicyParams = Annotated[ShapesParams | Flux1Params | StableDiffusion3Params, Field(discriminator="family")]
