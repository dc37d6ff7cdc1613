"""The section `resources` of params.yaml: what the stages compute on."""

from typing import Annotated, Literal

from stages.params.names import Text
from stages.params.section import Count, Effect, Processes, Section


class ResourcesParams(Section):
    """What the stages compute on."""

    device: Annotated[Literal["auto", "cpu", "cuda"], Effect.NONE]
    """`auto`: CUDA if available, else the CPU."""
    dtype: Literal["float32", "bfloat16"]
    """Dtype of the networks' computation; weights, latents and log-probabilities stay in float32."""
    threads: Processes
    """CPU threads of torch. It changes the last bits of float32 results."""
    decode_batch: Count
    """Latents per call of the autoencoder; decoding all at once is the first to run out of memory."""
    gradient_checkpointing: bool
    """Whether the backward pass recomputes each block's activations: less memory, a third more time there."""
    attention: Text
    """Attention backend of diffusers, such as `native`, `flash` or `_native_cudnn`."""
    compile: bool
    """Whether `torch.compile` compiles the repeated blocks of the transformer."""
    quantise: Literal["int8"] | None
    """Storage of the frozen weights if an adapter is trained: `int8` takes half the memory of bfloat16; null: the dtype
    of the computation."""
    between_stages: Annotated[Literal["keep", "offload"], Effect.NONE]
    """Models that a stage does not need: `keep` leaves them on the device, `offload` moves them to the CPU's memory."""
