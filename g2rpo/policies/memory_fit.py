"""Whether a transformer fits into a GPU's memory, computed before its weights are read."""

from pathlib import Path
from typing import Any

import torch

from g2rpo.model_files.weights import empty_network
from g2rpo.policies.compute import Compute
from g2rpo.policies.pipeline_folder import component_config
from g2rpo.policies.quantise import quantise

GB = 1e9
BYTES_TRAINED = 16
"""Bytes per trained weight: weight, gradient and two moments, in float32."""


def transformer_bytes(folder: Path, transformer: Any, compute: Compute, *, adapted: bool) -> int:
    """Return the bytes that a transformer takes in training, without adapter and activations.

    With an adapter these are the frozen weights, as they are held; without, 16 bytes per parameter.

    Args:
        folder: Folder of the pipeline; only the configuration is read.
        transformer: The class of diffusers.
    """
    network = without_weights(folder, transformer)
    if not adapted:
        return BYTES_TRAINED * sum(parameter.numel() for parameter in network.parameters())
    torch.nn.Module.to(network, compute.dtype)
    if compute.quantise:
        quantise(network)
    return held_bytes(network)


def without_weights(folder: Path, transformer: Any) -> Any:
    """Return a pipeline's transformer on the meta device: names and shapes, made from its configuration alone."""
    try:
        return empty_network(transformer, component_config(folder, "transformer"), folder / "transformer")
    except ValueError as error:
        raise ValueError(f"policy.path, transformer: {str(error).removeprefix('policy.path: ')}") from error


def held_bytes(network: torch.nn.Module) -> int:
    """Return the bytes of a network's parameters and buffers."""
    return sum(tensor.numel() * tensor.element_size() for tensor in (*network.parameters(), *network.buffers()))


def refuse_too_large(needed: int, total: int, *, adapted: bool, quantised: bool) -> None:
    """Refuse a transformer that alone takes more memory than a GPU has.

    Args:
        needed: Bytes, by `transformer_bytes`.
        total: Bytes of the GPU's memory.

    Raises:
        ValueError: With a remedy.
    """
    if needed <= total:
        return
    if not adapted:
        what = f"weights, gradients and moments ({BYTES_TRAINED} bytes per weight)"
        remedy = "Train an adapter (policy.lora), take a larger GPU, or several (placement.runner: ray)"
    elif not quantised:
        what, remedy = "frozen weights", "Set resources.quantise to int8, or take a larger GPU"
    else:
        what, remedy = "frozen weights, held in 8 bits,", "Take a larger GPU, or a smaller model"
    raise ValueError(
        f"resources.device: a GPU of at least {needed / GB:.1f} GB is required, since the transformer's {what} take "
        f"that before any activation; got one of {total / GB:.1f} GB. {remedy}."
    )
