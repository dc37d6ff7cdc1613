"""The base model: a small FLUX transformer, the word table in front of it, and the folder they lie in."""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from safetensors.torch import save_file
from torch import Tensor, nn

from g2rpo.model_files.weights import load_network, read_tensors
from g2rpo.shapes.captions import NUM_WORDS, VOCABULARY, tokens
from g2rpo.shapes.renderer import SIDE
from g2rpo.shapes.shipped import shipped_base
from g2rpo.types import Images, Latents

PATCH = 4  # pixels
GRID = SIDE // PATCH
NUM_TOKENS = GRID * GRID
CHANNELS = 3 * PATCH * PATCH
WIDTH = 48  # of a word embedding


class WordTable(nn.Module):
    """The text encoder of the world: a learned vector for each word plus one for each of the eight places.

    FLUX gives its text tokens no position of their own, so this table adds the place of a word.
    """

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(len(VOCABULARY), WIDTH)
        self.places = nn.Embedding(NUM_WORDS, WIDTH)

    def forward(self, numbers: Tensor) -> Float[Tensor, "b 8 48"]:
        """Return the embeddings of rows of word numbers; their mean is the pooled embedding."""
        return self.words(numbers) + self.places.weight

    def read(self, texts: Sequence[str]) -> Float[Tensor, "b 8 48"]:
        """Return the embeddings of texts.

        Raises:
            ValueError: If a text has an unknown word or more than eight words.
        """
        return self(torch.tensor(tokens(texts), device=self.words.weight.device))


@dataclass(frozen=True)
class BaseModel:
    """The transformer and its word table, as they are trained together and shipped side by side.

    Example: `BaseModel(transformer=FluxTransformer2DModel(...), words=WordTable())`, of 1.03 M parameters.
    """

    transformer: Any
    """A `FluxTransformer2DModel`; diffusers, which takes seconds to import, is loaded with the first one."""
    words: WordTable


def new_base() -> BaseModel:
    """Return an untrained base model, initialised from torch's global generator."""
    from diffusers.models import FluxTransformer2DModel

    transformer = FluxTransformer2DModel(
        patch_size=1,
        in_channels=CHANNELS,
        num_layers=2,
        num_single_layers=2,
        attention_head_dim=24,
        num_attention_heads=4,
        joint_attention_dim=WIDTH,
        pooled_projection_dim=WIDTH,
        guidance_embeds=False,
        axes_dims_rope=(8, 8, 8),
    )
    return BaseModel(transformer=transformer, words=WordTable())


def save_base(base: BaseModel, folder: Path, *, dtype: torch.dtype = torch.float32) -> None:
    """Write `folder/transformer` in the format of diffusers and `folder/words.safetensors`, in a dtype."""
    transformer = deepcopy(base.transformer)
    nn.Module.to(transformer, dtype)
    transformer.save_pretrained(folder / "transformer")
    words = {name: tensor.to(dtype).contiguous() for name, tensor in base.words.state_dict().items()}
    save_file(words, folder / "words.safetensors")


def load_base(folder: Path | None = None) -> BaseModel:
    """Return the base model of a folder in fp32 on the CPU; without a folder, the shipped one.

    Raises:
        ValueError: If the folder holds no base model of the shapes world.
    """
    folder = shipped_base() if folder is None else folder
    needed = [folder / "transformer" / "config.json", folder / "words.safetensors"]
    missing = [str(path) for path in needed if not path.is_file()]
    if missing:
        raise ValueError(
            "A base model of the shapes world is transformer/config.json and words.safetensors, "
            f"got none at {', '.join(missing)}. Name another folder, or make one with `g2rpo shapes build`."
        )
    from diffusers.models import FluxTransformer2DModel

    transformer = load_network(
        FluxTransformer2DModel, folder / "transformer", dtype=torch.float32, low_cpu_mem_usage=False
    )
    words = WordTable()
    shapes = {name: tuple(tensor.shape) for name, tensor in words.state_dict().items()}
    tensors = read_tensors(folder / "words.safetensors", folder, like=shapes)
    words.load_state_dict({name: tensor.float() for name, tensor in tensors.items()})
    return BaseModel(transformer=transformer.eval(), words=words.eval())


def patchify(pictures: Float[Tensor, "b 3 16 16"]) -> Float[Tensor, "b 16 48"]:
    """Return pictures as rows of 4x4 patches: token `4 row + column`, channel `16 colour + 4 y + x`.

    The inverse of `unpatchify`. Values are not scaled.
    """
    split = pictures.reshape(-1, 3, GRID, PATCH, GRID, PATCH)
    return split.permute(0, 2, 4, 1, 3, 5).reshape(-1, NUM_TOKENS, CHANNELS)


def unpatchify(latents: Float[Tensor, "b 16 48"]) -> Float[Tensor, "b 3 16 16"]:
    """Return the pictures that `patchify` took apart."""
    split = latents.reshape(-1, GRID, GRID, 3, PATCH, PATCH)
    return split.permute(0, 3, 1, 4, 2, 5).reshape(-1, 3, SIDE, SIDE)


def to_latents(images: Images) -> Latents:
    """Return the clean latents of pictures in [0, 1]: mapped to [-1, 1] and cut in patches."""
    return patchify(2 * images - 1)


def to_images(latents: Latents) -> Images:
    """Return the pictures of clean latents, clamped to [0, 1]."""
    return ((unpatchify(latents) + 1) / 2).clamp(0, 1)


def flux_velocity(transformer: nn.Module, latents: Latents, sigma: Tensor, words: Tensor, pooled: Tensor) -> Latents:
    """Return `noise - data` as the transformer predicts it at each row's own sigma in [0, 1].

    The transformer multiplies its timestep by 1000 itself, so it is given the exact sigma. Image tokens carry
    their row and column as rotary positions; word tokens carry none, as in FLUX.
    """
    places = torch.zeros(NUM_TOKENS, 3, device=latents.device)
    places[:, 1] = torch.arange(NUM_TOKENS, device=latents.device) // GRID
    places[:, 2] = torch.arange(NUM_TOKENS, device=latents.device) % GRID
    return transformer(
        hidden_states=latents,
        timestep=sigma,
        encoder_hidden_states=words,
        pooled_projections=pooled,
        img_ids=places,
        txt_ids=torch.zeros(NUM_WORDS, 3, device=latents.device),
        return_dict=False,
    )[0]
