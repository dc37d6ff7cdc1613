"""Small CLIP networks in the real classes and the real format; every weight follows from its name alone."""

import math
import zlib
from pathlib import Path

import torch
from tokenizers.pre_tokenizers import ByteLevel
from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel, CLIPTokenizer

SIDE, PATCH, DIM = 32, 8, 24
WIDTHS = {"text": 16, "vision": 32}
LAYERS, HEADS, CONTEXT = 2, 2, 77
MERGES = [("r", "e"), ("re", "d</w>"), ("c", "a"), ("ca", "t</w>"), ("t", "h"), ("th", "e</w>"), ("c", "i")]
START, END = "<|startoftext|>", "<|endoftext|>"
LETTERS = sorted(ByteLevel.alphabet())  # by code point, which is the order of OpenAI's vocabulary
VOCABULARY = [*LETTERS, *(f"{letter}</w>" for letter in LETTERS), *("".join(pair) for pair in MERGES), START, END]


def weight(name: str, shape: tuple[int, ...]) -> torch.Tensor:
    """Normal numbers seeded by the name; gains lie about 1, biases about 0, the rest keeps the size of what it maps."""
    generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
    noise = torch.randn(shape, generator=generator)
    if "logit_scale" in name:
        return math.log(100) + 0.01 * noise
    if name.endswith("bias") or len(shape) == 1:
        return 0.1 * noise + (1.0 if "ln_" in name or "norm" in name else 0.0) * name.endswith("weight")
    return noise * math.prod(shape[1:]) ** -0.5


def tiny_config(hidden_act: str = "gelu") -> CLIPConfig:
    ids = {"bos_token_id": len(VOCABULARY) - 2, "eos_token_id": len(VOCABULARY) - 1}
    towers = {
        tower: {
            "hidden_size": width,
            "intermediate_size": 4 * width,
            "num_hidden_layers": LAYERS,
            "num_attention_heads": HEADS,
            "hidden_act": hidden_act,
            "projection_dim": DIM,
        }
        for tower, width in WIDTHS.items()
    }
    return CLIPConfig(
        text_config=towers["text"] | ids | {"vocab_size": len(VOCABULARY), "max_position_embeddings": CONTEXT},
        vision_config=towers["vision"] | {"image_size": SIDE, "patch_size": PATCH},
        projection_dim=DIM,
    )


def tiny_tokenizer() -> CLIPTokenizer:
    ids = {token: number for number, token in enumerate(VOCABULARY)}
    return CLIPTokenizer(vocab=ids, merges=MERGES, model_max_length=CONTEXT)


def tiny_clip(hidden_act: str = "gelu") -> CLIPModel:
    network = CLIPModel(tiny_config(hidden_act)).eval()
    network.load_state_dict({name: weight(name, value.shape) for name, value in network.state_dict().items()})
    return network


def write_clip(folder: Path, hidden_act: str = "gelu", **preprocessor: object) -> Path:
    """Write config.json, model.safetensors, the tokenizer and preprocessor_config.json."""
    tiny_clip(hidden_act).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    sizes = {"size": {"shortest_edge": SIDE}, "crop_size": {"height": SIDE, "width": SIDE}}
    CLIPImageProcessorPil(**(sizes | preprocessor)).save_pretrained(folder)
    return folder


def open_clip_state() -> dict[str, torch.Tensor]:
    """The same architecture under open_clip's names and shapes."""
    text, vision = WIDTHS["text"], WIDTHS["vision"]
    shapes: dict[str, tuple[int, ...]] = {
        "logit_scale": (),
        "positional_embedding": (CONTEXT, text),
        "token_embedding.weight": (len(VOCABULARY), text),
        "text_projection": (text, DIM),
        "visual.class_embedding": (vision,),
        "visual.positional_embedding": ((SIDE // PATCH) ** 2 + 1, vision),
        "visual.conv1.weight": (vision, 3, PATCH, PATCH),
        "visual.proj": (vision, DIM),
    }
    norms = {"ln_final": text, "visual.ln_pre": vision, "visual.ln_post": vision}
    for prefix, width in (("transformer", text), ("visual.transformer", vision)):
        for block in (f"{prefix}.resblocks.{number}" for number in range(LAYERS)):
            norms |= {f"{block}.ln_1": width, f"{block}.ln_2": width}
            shapes |= {
                f"{block}.attn.in_proj_weight": (3 * width, width),
                f"{block}.attn.in_proj_bias": (3 * width,),
                f"{block}.attn.out_proj.weight": (width, width),
                f"{block}.attn.out_proj.bias": (width,),
                f"{block}.mlp.c_fc.weight": (4 * width, width),
                f"{block}.mlp.c_fc.bias": (4 * width,),
                f"{block}.mlp.c_proj.weight": (width, 4 * width),
                f"{block}.mlp.c_proj.bias": (width,),
            }
    shapes |= {f"{norm}.{kind}": (width,) for norm, width in norms.items() for kind in ("weight", "bias")}
    return {name: weight(name, shape) for name, shape in shapes.items()}


class Touch:
    """Something whose unpickling makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.path,)


def pictures(height: int, width: int, count: int = 1) -> torch.Tensor:
    """Waves that differ by picture and by channel, in [0, 1]."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    waves = [
        torch.sin(0.11 * (1 + channel) * x + 0.07 * (2 + picture) * y + picture + 2 * channel)
        for picture in range(count)
        for channel in range(3)
    ]
    return torch.stack(waves).view(count, 3, height, width) / 2 + 0.5
