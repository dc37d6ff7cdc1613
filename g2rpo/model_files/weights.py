"""The door for weights: every tensor of a network comes from safetensors of the right names and shapes, or none does.

Libraries initialise a missing tensor at random and drop a tensor that they do not know, with a warning at most.
"""

from collections.abc import Callable, Collection, Mapping
from math import prod
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from g2rpo.messages import shown
from g2rpo.model_files.reading import known_files, read_config, read_json

_MOST_ELEMENTS = 200 * 10**9
"""Of one network; the largest that is published for these families has 12 billion."""
_PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.bin.index.json")
_SHARDS = "*.safetensors.index.json"
_TOKENIZER_FILES = {"vocab_file", "merges_file", "tokenizer_file", "spm_file", "fast_tokenizer_files"}
_DTYPES = {"F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2", "I64", "I32", "U8", "BOOL"}

Shapes = Mapping[str, tuple[int, ...]]


def load_network(kind: Any, folder: Path, *, dtype: torch.dtype, **how: Any) -> Any:
    """Return a network of a class of diffusers or transformers with the weights of a folder.

    Args:
        kind: The class; the configuration must be that of this class.
        folder: Holds config.json and safetensors, whole or in shards.
        dtype: Of the network.
        how: More arguments of `from_pretrained`.

    Raises:
        ValueError: If a file is no own file of the folder, no safetensors file, or cannot be read; if the
            configuration is that of another class; or if a tensor is missing, left over or of another shape.
    """
    config = read_config(folder / "config.json", folder)
    _require_kind(config, kind, folder)
    num_stored = sum(prod(shape) for shape in stored_shapes(folder).values())
    refuse_too_few(num_stored, empty_network(kind, config, folder), str(folder / "config.json"))
    if hasattr(kind, "config_class"):  # transformers; diffusers refuses a tensor of another shape itself
        how["ignore_mismatched_sizes"] = True  # they are refused below, all of them at once
    network, info = _quietly(
        lambda: kind.from_pretrained(
            folder, dtype=dtype, use_safetensors=True, local_files_only=True, output_loading_info=True, **how
        ),
        f"Weights of a {kind.__name__} are required in {folder}",
    )
    refuse_misfits(info, f"those of the {kind.__name__} in {folder}")
    return network


def load_tokenizer(kind: Any, folder: Path) -> Any:
    """Return a tokenizer of a class of transformers; none of its files is followed out of the folder, or is code.

    Raises:
        ValueError: If a file is no own file of the folder, no JSON object, or the files make no tokenizer.
    """
    known_files(folder, ["*.txt", "*.model"])
    for path in known_files(folder, ["*.json"]):
        values = read_json(path, folder)
        if path.name == "tokenizer_config.json":
            _refuse_other_files(values, path)
    required = f"A tokenizer of the class {kind.__name__} is required in {folder}"
    return _quietly(lambda: kind.from_pretrained(folder, local_files_only=True, trust_remote_code=False), required)


def _refuse_other_files(values: Mapping[str, Any], path: Path) -> None:
    """Refuse names of a tokenizer's files that lead out of its folder: transformers opens what they say."""
    for key in _TOKENIZER_FILES & values.keys():
        names = values[key] if isinstance(values[key], list) else [values[key]]
        for name in names:
            if name is not None and not (isinstance(name, str) and name == Path(name).name):
                raise ValueError(f"{path}: {key} must name a file beside it, got {shown(name)}. Remove the key.")


def empty_network(kind: Any, config: Mapping[str, Any], folder: Path) -> Any:
    """Return a network of a configuration without memory for its weights: names and shapes on the meta device.

    Raises:
        ValueError: If the class makes no network of it.
    """

    def made() -> torch.nn.Module:
        with torch.device("meta"):
            if hasattr(kind, "from_config"):
                return kind.from_config(config)
            return kind(kind.config_class.from_dict(config))

    return _quietly(made, f"The configuration of a {kind.__name__} is required in {folder / 'config.json'}")


def refuse_too_few(num_stored: int, empty: torch.nn.Module, whose: str) -> None:
    """Refuse weights that are by far too few for a network, before it takes memory.

    Args:
        num_stored: How many numbers there are.
        empty: The network on the meta device.
        whose: What describes it, for the message.

    Raises:
        ValueError: If it needs more than twice as many; shared tensors are stored once.
    """
    num_needed = sum(tensor.numel() for tensor in (*empty.parameters(), *empty.buffers()))
    if num_needed > 2 * num_stored:
        raise ValueError(
            f"Weights of {num_needed:,} numbers are required by {whose}, got {num_stored:,}. Download the model again."
        )


def refuse_misfits(info: Mapping[str, Any], whose: str) -> None:
    """Refuse weights that a library has not loaded one to one, by its `output_loading_info`.

    Raises:
        ValueError: With the names of the tensors that are missing, left over or of another shape.
    """
    shapes = [f"{name} {tuple(got)} for {tuple(need)}" for name, got, need in info["mismatched_keys"]]
    wrong = {"missing": info["missing_keys"], "left over": info["unexpected_keys"], "of another shape": shapes}
    if any(wrong.values()):
        raise ValueError(
            f"Weights are required whose names and shapes are {whose}, got "
            + "; ".join(f"{what}: {_some(names)}" for what, names in wrong.items() if names)
            + ". Name weights and config of the same model."
        )


def read_tensors(path: Path, folder: Path, *, like: Shapes | None = None) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file of a folder.

    Args:
        path: The file.
        folder: The model's folder.
        like: The required shapes by name; None accepts all.

    Raises:
        ValueError: If the file cannot be read, or has other names or shapes, or a number that is not finite.
    """
    known_files(folder, [str(path.relative_to(folder))])
    shapes = file_shapes(path)
    if like is not None and dict(shapes) != dict(like):
        wrong = sorted(name for name in shapes.keys() | like.keys() if shapes.get(name) != like.get(name))
        named = [f"{name} {shapes.get(name, 'missing')} for {like.get(name, 'none')}" for name in wrong]
        raise ValueError(f"Tensors of other names or shapes are required in {path}, got {_some(named)}. Replace it.")
    tensors = load_file(path)
    require_finite(tensors, path)
    return tensors


def require_finite(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Refuse weights that are infinite or no number.

    Raises:
        ValueError: With the names of the tensors.
    """
    wrong = [name for name, tensor in tensors.items() if not bool(tensor.isfinite().all())]
    if wrong:
        raise ValueError(f"Finite weights are required in {path}, got others in {_some(wrong)}. Replace the file.")


def stored_shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    """Return the shapes of all tensors of a component by name, from the headers of its safetensors.

    Raises:
        ValueError: If there are no safetensors, one cannot be read or is too large, or an index names other files.
    """
    files = known_files(folder, ["*.safetensors"])
    if not files:
        pickled = ", ".join(path.name for path in known_files(folder, _PICKLED)[:3])
        raise ValueError(
            f"Weights in safetensors are required in {folder}, got "
            + (f"{pickled}, which is pickled and could run code" if pickled else "none")
            + ". Take a revision with safetensors, or save the model again by `save_pretrained`."
        )
    for index in known_files(folder, [_SHARDS]):
        _require_shards(index, {file.name for file in files}, folder)
    shapes: dict[str, tuple[int, ...]] = {}
    for file in files:
        shapes |= file_shapes(file)
    return shapes


def file_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the tensors of a safetensors file by name; only its header is read.

    Raises:
        ValueError: If it is none, has tensors of a dtype that is not known here, or more than 200 billion numbers.
    """
    try:
        with safe_open(path, framework="numpy") as file:  # torch would ask for memory of the file's size
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118  (no mapping)
            dtypes = {name: part.get_dtype() for name, part in slices.items()}
            shapes = {name: tuple(part.get_shape()) for name, part in slices.items()}
    except (SafetensorError, OSError, RuntimeError, MemoryError) as error:
        raise ValueError(
            f"Weights in safetensors are required in {path}, got a file that cannot be read as such ({error}). "
            "Download it again."
        ) from error
    if odd := sorted(set(dtypes.values()) - _DTYPES):
        raise ValueError(f"Tensors of numbers are required in {path}, got dtype {_some(odd)}. Take another revision.")
    if (number := sum(prod(shape) for shape in shapes.values())) > _MOST_ELEMENTS:
        raise ValueError(f"At most {_MOST_ELEMENTS:,} numbers are required in {path}, got {number:,}. Replace it.")
    return shapes


def _require_shards(index: Path, names: set[str], folder: Path) -> None:
    """Refuse an index of shards that names files elsewhere: libraries join the names to the folder."""
    named = read_json(index, folder).get("weight_map")
    values = [str(value) for value in named.values()] if isinstance(named, dict) else []
    if not values or not set(values) <= names:
        raise ValueError(
            f"The names of the shards in {folder} are required in {index.name}, got "
            f"{_some(set(values) - names) or 'none'}. Download the model again."
        )


def _require_kind(config: Mapping[str, Any], kind: Any, folder: Path) -> None:
    """Refuse the configuration of another class: `_class_name` of diffusers, `model_type` of transformers."""
    own = getattr(getattr(kind, "config_class", None), "model_type", None)
    key, need = ("model_type", own) if own else ("_class_name", kind.__name__)
    if config.get(key, need) != need:
        raise ValueError(
            f"{key} {need} is required in {folder / 'config.json'}, got {str(config[key])[:100]!r}. Name the folder of "
            f"a {kind.__name__}."
        )


def _quietly(load: Callable[[], Any], required: str) -> Any:
    """Return what a library loads; whatever it raises on files of others is told in one sentence."""
    from g2rpo.quiet import quietly

    try:
        with quietly():
            return load()
    except Exception as error:
        first = next(iter(str(error).splitlines()), "")[:300]
        raise ValueError(f"{required}, got {type(error).__name__}: {first} Download the model again.") from error


def _some(names: Collection[str]) -> str:
    first = sorted(names)[:3]
    return ", ".join(name[:200] for name in first) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
