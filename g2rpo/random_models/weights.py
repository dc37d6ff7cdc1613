"""Random weights that keep the scale of their inputs, each parameter from a seed of its own.

A freshly built network is no stand-in for a trained one: text encoders begin with embeddings of 0.02 and modulations
so weak that two texts give one picture. Here every layer keeps the variance of its input.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch

from g2rpo.positions import position_seed

Network = TypeVar("Network", bound=torch.nn.Module)

_BIAS_STD = 0.1


@torch.no_grad()
def fill(network: torch.nn.Module, *, seed: int, name: str) -> None:
    """Fill a network's parameters in place with random weights, on the device and in the dtype that they have.

    Matrices and kernels are N(0, 1 / fan_in), embeddings N(0, 1), biases N(0, 0.01), scales of norms 1; single numbers
    such as CLIP's `logit_scale` stay as the configuration sets them. The seed of a parameter is its position
    (seed, name, parameter), so that it depends on no other parameter and not on the order in which they were made.
    """
    embeddings = {id(part.weight) for part in network.modules() if isinstance(part, torch.nn.Embedding)}
    for path, parameter in network.named_parameters():
        if parameter.ndim == 0:
            continue
        generator = torch.Generator(parameter.device).manual_seed(position_seed(seed, name, path))
        last = path.rsplit(".", 1)[-1]
        if parameter.ndim > 1 and id(parameter) not in embeddings:
            fan_in = parameter.numel() // parameter.shape[0]
            parameter.normal_(std=fan_in**-0.5, generator=generator)
        elif parameter.ndim == 1 and last == "weight":
            parameter.fill_(1.0)
        elif last == "bias":
            parameter.normal_(std=_BIAS_STD, generator=generator)
        else:
            parameter.normal_(generator=generator)


def made(make: Callable[[], Network], *, seed: int, name: str) -> Network:
    """Return the network that `make` builds, with random weights, `eval()`; torch's own generator stays as it was."""
    with torch.random.fork_rng(devices=[]):
        network = make()
    fill(network, seed=seed, name=name)
    return network.eval()


def random_network(
    make: Callable[..., Network], config: Mapping[str, Any], *, seed: int, device: torch.device, dtype: torch.dtype
) -> Network:
    """Return `make(**config)` with random weights, made on the device itself and in the dtype itself, without files.

    So a transformer of 12 billion parameters in bf16 takes 24 GB of the device and nothing of the host. The weights of
    a seed are the same on devices of one kind, not between the CPU and a GPU.

    Example: `random_network(FluxTransformer2DModel, flux1_dev_config(), seed=0, device=cuda, dtype=torch.bfloat16)`.
    """
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device), torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            network = make(**config)
    finally:
        torch.set_default_dtype(before)
    for buffer in network.buffers():
        buffer.data = buffer.to(dtype) if buffer.is_floating_point() else buffer
    fill(network, seed=seed, name=type(network).__name__)
    return network.eval()


def check_empty(folder: Path) -> None:
    """Refuse a folder that holds anything.

    Raises:
        ValueError: If there are files in it.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"A new or empty folder is required, got {folder}. Give another --out, or remove it first.")
