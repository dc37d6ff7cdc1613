"""What the latent models of diffusers have in common: a transformer, an autoencoder, an adapter, a pipeline folder."""

import re
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers.models import AutoencoderKL

from g2rpo.model_files.weights import load_network, load_tokenizer
from g2rpo.policies.adapter import Lora, add_lora, merged, save_lora, switched_off
from g2rpo.policies.autoencoder import Autoencoder
from g2rpo.policies.compute import Compute
from g2rpo.policies.memory_fit import refuse_too_large, transformer_bytes, without_weights
from g2rpo.policies.pipeline_folder import copy_all_but_transformer
from g2rpo.policies.quantise import quantise


@dataclass(frozen=True)
class Parts:
    """The networks of a pipeline without its text encoders, as read from its folder, and the adapter to train.

    Example: `Parts(folder, FluxPipeline, FluxTransformer2DModel(...), AutoencoderKL(...), lora=None)`.
    """

    folder: Path
    pipeline: Any
    """The class of diffusers that reads and writes the folder."""
    transformer: Any
    vae: AutoencoderKL
    lora: Lora | None

    @classmethod
    def load(cls, folder: Path, pipeline: Any, transformer: Any, lora: Lora | None, compute: Compute) -> "Parts":
        """Read the networks: frozen weights in the compute dtype or quantised, trained weights in fp32.

        Frozen weights are quantised in the CPU's memory, so that a GPU never holds them wider.

        Args:
            transformer: The class of the transformer.

        Raises:
            ValueError: If the transformer alone is larger than the GPU's memory.
        """
        assert lora or not compute.quantise, "Quantised weights cannot be trained; the parameters refuse that."
        frozen = lora is not None or not compute.trained
        if compute.device.type == "cuda":
            refuse_too_large(
                transformer_bytes(folder, transformer, compute, adapted=frozen),
                torch.cuda.get_device_properties(compute.device).total_memory,
                adapted=lora is not None,
                quantised=compute.quantise is not None,
            )
        network = read_transformer(folder, transformer, compute.dtype if frozen else torch.float32)
        if compute.quantise:
            quantise(network)
        vae = _read(folder, "vae", AutoencoderKL, compute.dtype)
        return cls(folder, pipeline, network, vae, lora)


def read_transformer(folder: Path, transformer: Any, dtype: torch.dtype) -> Any:
    """Return a pipeline's transformer as it is stored, in a dtype.

    Raises:
        ValueError: If its files cannot be read.
    """
    return _read(folder, "transformer", transformer, dtype)


def read_encoders(folder: Path, pipeline: Any, components: Mapping[str, Any], dtype: torch.dtype) -> Any:
    """Return a pipeline that has nothing but text encoders and tokenizers, each of its class.

    Raises:
        ValueError: If their files do not fit.
    """
    parts = dict.fromkeys(("transformer", "vae", "scheduler")) | {
        name: _read(folder, name, kind, dtype)
        for name, kind in components.items()
        if name not in ("transformer", "vae", "scheduler")
    }
    return pipeline(**parts)


def check_targets(folder: Path, transformer: Any, lora: Lora | None) -> None:
    """Refuse an adapter with a target that no linear layer has, before anything is loaded.

    Raises:
        ValueError: With the targets that match no layer.
    """
    if lora is None:
        return
    network = without_weights(folder, transformer)
    names = [name for name, layer in network.named_modules() if isinstance(layer, torch.nn.Linear)]
    unmatched = [end for end in lora.targets if not any(name == end or name.endswith(f".{end}") for name in names)]
    if unmatched:
        raise ValueError(
            f"policy.lora.targets: ends of the names of linear layers are required, got {', '.join(unmatched)}, which "
            f"no layer of {transformer.__name__} has. Correct them; its layers are {', '.join(_ends(names))}."
        )


def _ends(names: Sequence[str]) -> list[str]:
    """Return the ends, without the number of a block, of the layers in repeated blocks."""
    return sorted({re.sub(r"^.*?\.\d+\.", "", name) for name in names if re.search(r"\.\d+\.", name)})


def _read(folder: Path, component: str, kind: Any, dtype: torch.dtype) -> Any:
    """Return a tokenizer or a network of a pipeline, by the name of its folder."""
    try:
        if component.startswith("tokenizer"):
            return load_tokenizer(kind, folder / component)
        return load_network(kind, folder / component, dtype=dtype)
    except ValueError as error:
        raise ValueError(f"policy.path, {component}: {error}") from error


class LatentPolicy:
    """The part of a policy that all families share; a family adds latent shape, velocity and decode."""

    def __init__(self, parts: Parts, compute: Compute, *, seed: int) -> None:
        if parts.lora:
            add_lora(parts.transformer, parts.lora, seed=seed)
        torch.nn.Module.to(parts.transformer, compute.device)
        torch.nn.Module.to(parts.vae, compute.device)
        self._parts, self._compute = parts, compute
        self._transformer = parts.transformer.eval()
        self._autoencoder = Autoencoder(parts.vae, compute.decode_batch)
        compute.prepare(self._transformer)

    @property
    def module(self) -> torch.nn.Module:
        """The transformer."""
        return self._transformer

    @property
    def decoder(self) -> torch.nn.Module:
        """The autoencoder."""
        return self._autoencoder.module

    @property
    def device(self) -> torch.device:
        """Where the transformer lies."""
        return self._transformer.device

    @property
    def adapted(self) -> bool:
        """Whether a LoRA is trained."""
        return self._parts.lora is not None

    def without_adapter(self) -> AbstractContextManager[None]:
        """Switch the LoRA off for a while."""
        return switched_off(self._transformer) if self.adapted else nullcontext()

    def save(self, folder: Path) -> None:
        """Write a pipeline of the family: the current transformer, all else as read."""
        copy_all_but_transformer(self._parts.folder, folder)
        self._whole().save_pretrained(folder / "transformer")

    def save_adapter(self, folder: Path) -> None:
        """Write the LoRA as `load_lora_weights` of the family's pipeline reads it.

        Raises:
            ValueError: If all weights are trained.
        """
        if not self.adapted:
            raise ValueError("A LoRA is required, got a policy whose weights are all trained. Export the pipeline.")
        save_lora(self._parts.pipeline, self._transformer, folder)

    def _whole(self) -> Any:
        """Return the transformer to be saved: an adapter is merged into the weights as read, not as quantised."""
        if not self.adapted:
            return self._transformer
        if not self._compute.quantise:
            return merged(self._transformer, self._transformer.state_dict())
        original = read_transformer(self._parts.folder, type(self._transformer), self._compute.dtype)
        return merged(self._transformer, original.state_dict())
