"""The section `resources` of params.yaml: what the stages compute on."""

from typing import Annotated, Literal

from stages.params.section import Count, Effect, Section


class ResourcesParams(Section):
    """What the stages compute on."""

    device: Annotated[Literal["auto", "cpu", "cuda"], Effect.NONE]
    """`auto` takes CUDA where there is one."""
    dtype: Literal["float32", "bfloat16"]
    """What the networks compute in; weights, latents and log-probabilities stay in float32."""
    threads: Count
    """CPU threads of torch. It changes the last bits of float32 results."""
    decode_batch: Count
    """Latents a call of the autoencoder; all at once is what runs out of memory first."""
    gradient_checkpointing: bool
    """Whether a block's activations are computed again in the backward pass: less memory, a third more time there."""
    attention: str
    """Attention backend of diffusers, as `native`, `flash` or `_native_cudnn`."""
    compile: bool
    """Whether `torch.compile` compiles the repeated blocks of the transformer."""
    quantise: Literal["int8"] | None
    """What frozen weights are held in where an adapter is trained: 8 bits, half of bfloat16; null as they compute."""
    between_stages: Annotated[Literal["keep", "offload"], Effect.NONE]
    """What becomes of models that a stage does not need: they stay, or move to the CPU's memory."""
