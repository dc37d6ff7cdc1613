"""Scorers that are CLIP networks: reading the networks, features of texts and pictures, and the cosine.

Networks are transformers' CLIPModel in fp32, frozen. They are read from a folder in transformers' format, and only if
every name and every shape fits.
"""

import pickle
import struct
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional
from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel, CLIPTokenizer

from g2rpo.model_files.reading import known_files, read_config
from g2rpo.model_files.weights import load_network as load_strictly
from g2rpo.model_files.weights import load_tokenizer as load_checked
from g2rpo.model_files.weights import read_tensors, refuse_misfits, refuse_too_few
from g2rpo.quiet import quietly
from g2rpo.rewards.pictures import check_counts, middle, to_pil
from g2rpo.types import Images, Rewards

KEPT_TEXTS = 4096  # 16 MB of features, 1024 numbers per text
LEGACY_EOS = 2  # in the configs of all early CLIPs; transformers takes it for "the highest token id of the text"

WEIGHTS = ("model.safetensors", "model.safetensors.index.json")
UNREADABLE = (pickle.UnpicklingError, struct.error, EOFError, OSError, RuntimeError)
OPEN_CLIP = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")

Pixels = Float[Tensor, "b 3 side side"]
Preprocess = Callable[[Images], Pixels]


class ClipReward:
    """How well a picture fits its text, as a CLIP network sees it.

        score = scale cos(picture, text).

    Pictures are rounded to 8 bits first. The features of a text are computed once, alone, so that they do not
    depend on the texts beside it, and kept for the next pictures of the same text.

    Args:
        preprocess: Turns pictures in [0, 1] into the input of the network.
        clean: Cleans a text before it is split into tokens.
    """

    def __init__(
        self,
        name: str,
        network: CLIPModel,
        tokenizer: CLIPTokenizer,
        *,
        preprocess: Preprocess,
        clean: Callable[[str], str] = str,
        scale: float = 1.0,
    ) -> None:
        self.name = name
        self.module = self._network = network
        self._tokenizer, self._preprocess, self._clean, self._scale = tokenizer, preprocess, clean, scale
        self._texts: OrderedDict[str, Tensor] = OrderedDict()

    def score(self, images: Images, texts: Sequence[str]) -> Rewards:
        """Return one score per picture, in [-scale, scale].

        Raises:
            ValueError: If there are not as many texts as pictures.
        """
        check_counts(self.name, images, texts)
        device = next(self._network.parameters()).device
        with torch.no_grad(), torch.autocast(device.type, enabled=False):
            features = self._network.vision_model(self._preprocess(images).to(device)).pooler_output
            features = functional.normalize(self._network.visual_projection(features), dim=1)
            cosines = (features * self._read(texts, device)).sum(dim=1)
        return (self._scale * cosines).to(images.device)

    def _read(self, texts: Sequence[str], device: torch.device) -> Float[Tensor, "b d"]:
        for text in texts:
            if text not in self._texts:
                pooled = self._network.text_model(self._tokens(text).to(device)).pooler_output
                self._texts[text] = functional.normalize(self._network.text_projection(pooled), dim=1)[0].cpu()
            self._texts.move_to_end(text)
        features = torch.stack([self._texts[text] for text in texts])
        while len(self._texts) > KEPT_TEXTS:
            self._texts.popitem(last=False)
        return features.to(device)

    def _tokens(self, text: str) -> Tensor:
        context = self._network.text_model.config.max_position_embeddings
        tokens = self._tokenizer([self._clean(text)], truncation=True, max_length=context, return_tensors="pt")
        return tokens["input_ids"]


def load_network(folder: Path, device: str | torch.device) -> CLIPModel:
    """Return the CLIP network of a folder that holds config.json and weights in transformers' format.

    Raises:
        ValueError: If a file is missing, or the weights do not fit the config.
    """
    clip_config(folder)
    open_clips = [name for name in OPEN_CLIP if (folder / name).is_file()]
    if open_clips and not any((folder / name).is_file() for name in WEIGHTS):
        raise ValueError(
            f"CLIP weights in transformers' format ({' or '.join(WEIGHTS)}) are required in {folder}, got "
            f"open_clip weights only ({open_clips[0]}). Name a folder or a revision that has them, or convert the "
            "weights."
        )
    network = load_strictly(CLIPModel, folder, dtype=torch.float32)
    return network.requires_grad_(False).eval().to(device)


def build_network(config: CLIPConfig, state: dict[str, Tensor], device: str | torch.device) -> CLIPModel:
    """Return a CLIP network of an architecture with the weights of `state`.

    Raises:
        ValueError: If the weights do not fit it.
    """
    with torch.device("meta"):
        empty = CLIPModel(config)
    refuse_too_few(sum(tensor.numel() for tensor in state.values()), empty, "the CLIP in the config")
    with quietly():
        network, info = cast(Any, CLIPModel).from_pretrained(
            None,
            config=config,
            state_dict=state,
            dtype=torch.float32,
            local_files_only=True,
            ignore_mismatched_sizes=True,  # they are refused below, all of them at once
            output_loading_info=True,
        )
    refuse_misfits(info, "those of the CLIP in the config")
    return network.requires_grad_(False).eval().to(device)


def clip_config(folder: Path) -> Any:
    """Return the architecture that a folder's config.json describes, as transformers' CLIPConfig.

    Raises:
        ValueError: If there is none, or it is not CLIP's.
    """
    _need(folder, "config.json")
    config = read_config(folder / "config.json", folder)
    if config.get("model_type") != "clip":
        raise ValueError(
            f"The config.json of a CLIP (model_type clip) is required in {folder}, got model_type "
            f"{config.get('model_type')!r}. Name the folder of a CLIP with both towers."
        )
    return CLIPConfig.from_dict(config)


def load_tokenizer(folder: Path, network: CLIPModel) -> CLIPTokenizer:
    """Return the tokenizer of a folder, after a check that its tokens are the network's.

    Raises:
        ValueError: If its files are missing, or the network looks for another end of text.
    """
    if not (folder / "tokenizer.json").is_file():
        _need(folder, "vocab.json", "merges.txt")
    tokenizer = load_checked(CLIPTokenizer, folder)
    text = network.text_model.config
    last = text.vocab_size - 1
    ends = (last,) if text.eos_token_id == LEGACY_EOS else (text.eos_token_id,)
    if tokenizer.eos_token_id not in ends or len(tokenizer) > text.vocab_size:
        raise ValueError(
            f"A tokenizer of {text.vocab_size} tokens whose end of text is {ends[0]} is required by the network, got "
            f"{len(tokenizer)} tokens and end of text {tokenizer.eos_token_id} in {folder}. Name the folder of the "
            "network's own tokenizer."
        )
    return tokenizer


def load_preprocess(folder: Path, network: CLIPModel) -> Preprocess:
    """Return the preprocessing that a folder's preprocessor_config.json describes, computed by Pillow on the CPU.

    Raises:
        ValueError: If there is none, or it makes pictures of another size than the network's input.
    """
    _need(folder, "preprocessor_config.json")
    processor = load_checked(CLIPImageProcessorPil, folder)
    cropped = processor.do_center_crop and getattr(processor.size, "shortest_edge", None) is not None

    def preprocess(images: Images) -> Tensor:
        seen = [middle(picture) for picture in to_pil(images)] if cropped else to_pil(images)
        return processor(images=seen, return_tensors="pt")["pixel_values"]

    side = cast(int, network.vision_model.config.image_size)
    size = tuple(preprocess(torch.zeros(1, 3, 2 * side, 3 * side)).shape[2:])
    if size != (side, side):
        raise ValueError(
            f"Preprocessing that makes pictures of {side}x{side} is required by the network, got "
            f"{size[0]}x{size[1]} by the preprocessor_config.json in {folder}. Name the folder of the network's own."
        )
    return preprocess


def read_state(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a checkpoint by name: a safetensors file, or a torch file read without running code.

    The tensors of a torch file may lie under `state_dict`, as training frameworks write them.

    Raises:
        ValueError: If the file is missing or holds something else.
    """
    if not path.is_file():
        raise ValueError(f"A checkpoint is required at {path}, got no file. Download it, or mend the path.")
    if path.suffix == ".safetensors":
        return read_tensors(path, path.parent)
    known_files(path.parent, [path.name])
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except UNREADABLE as error:
        raise ValueError(
            f"A checkpoint of tensors is required at {path}, got a file that cannot be read as one ({error}). "
            "Download it again."
        ) from error
    state = state.get("state_dict", state) if isinstance(state, dict) else state
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ValueError(
            f"A checkpoint of named tensors is required at {path}, got {type(state).__name__}. "
            "Name the file with the state dict."
        )
    return state


def _need(folder: Path, *names: str) -> None:
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise ValueError(
            f"{' and '.join(names)} {'is' if len(names) == 1 else 'are'} required in {folder}, got no "
            f"{' and no '.join(missing)}. Download the whole model, or mend the path."
        )
