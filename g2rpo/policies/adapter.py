"""LoRA: a low-rank addition to some layers; only it is trained. Source: LoRA, arXiv:2106.09685, by peft."""

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from torch import Tensor

ADAPTER = "default"


@dataclass(frozen=True)
class Lora:
    """The adapter of a transformer. Example: `Lora(rank=32, alpha=32, targets=("attn.to_q", "attn.to_k"))`."""

    rank: int
    alpha: int
    """The addition is scaled by alpha / rank."""
    targets: Sequence[str]
    """Ends of the names of the linear layers that are adapted."""


def add_lora(transformer: Any, lora: Lora, *, seed: int) -> None:
    """Freeze a transformer of diffusers and add an fp32 adapter, whose addition is 0 until it is trained.

    Args:
        seed: Of the initial weights of the adapter, the same on every device.
    """
    transformer.requires_grad_(False)
    config = LoraConfig(
        r=lora.rank, lora_alpha=lora.alpha, target_modules=list(lora.targets), init_lora_weights="gaussian"
    )
    transformer.add_adapter(config, adapter_name=ADAPTER)
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in sorted(transformer.named_parameters()):
        if parameter.requires_grad:
            initial = torch.zeros(parameter.shape)
            if "lora_A" in name:
                initial.normal_(std=1 / lora.rank, generator=generator)
            parameter.data = initial.to(parameter.device)


@contextmanager
def switched_off(transformer: Any) -> Generator[None]:
    """Compute without the adapter for a while."""
    transformer.disable_adapters()
    try:
        yield
    finally:
        transformer.enable_adapters()


def lora_state(transformer: Any) -> dict[str, Tensor]:
    """Return the adapter's weights under the names in which it is stored."""
    return get_peft_model_state_dict(transformer, adapter_name=ADAPTER)


def save_lora(pipeline: Any, transformer: Any, folder: Any) -> None:
    """Write `pytorch_lora_weights.safetensors`, as the pipeline class of the family saves it, with its metadata."""
    pipeline.save_lora_weights(
        folder,
        transformer_lora_layers={name: tensor.cpu() for name, tensor in lora_state(transformer).items()},
        transformer_lora_adapter_metadata=_metadata(transformer.peft_config[ADAPTER]),
    )


def merged(transformer: Any, weights: Mapping[str, Tensor]) -> Any:
    """Return a transformer, on the CPU, with the adapter of this one merged into weights.

    Args:
        weights: Its own, or those before quantisation.
    """
    config, state = transformer.peft_config[ADAPTER], transformer.state_dict()
    plain = {name.replace(".base_layer", ""): weights[name].cpu() for name in weights if "lora_" not in name}
    for name in state:
        if f".lora_A.{ADAPTER}" in name:
            down, up = state[name].float(), state[name.replace("lora_A", "lora_B")].float()
            layer = name.replace(f".lora_A.{ADAPTER}", "")
            addition = (config.lora_alpha / config.r * (up @ down)).cpu()
            plain[layer] = (plain[layer].float() + addition).to(plain[layer].dtype)
    with torch.device("meta"):
        copy = type(transformer).from_config(transformer.config)
    copy.load_state_dict(plain, assign=True)
    return copy


def _metadata(config: LoraConfig) -> dict[str, Any]:
    values = config.to_dict()
    return {name: sorted(value) if isinstance(value, set) else value for name, value in values.items()}
