"""The output of the text encoders for each prompt, computed once: `$G2RPO_HOME/embeddings` has one file per text.

Only drawn prompts are encoded: all 104 thousand of HPDv2 would take 435 GB for FLUX.1. The encoders are loaded if a
text is missing, and freed afterwards.
"""

from collections.abc import Sequence
from functools import lru_cache
from math import prod
from pathlib import Path

import torch
from torch import Tensor

from g2rpo.policies.compute import Compute
from g2rpo.policies.protocol import Condition, Pretrained, TextEncoder
from stages.disk.files import value_digest
from stages.disk.tables import EMBEDDINGS, arrow, read_shard, shard_stamp, write_shard

_HELD = 256  # texts whose embeddings stay in memory, on the CPU: 1.1 GB for FLUX.1
_AS_INTEGERS = {torch.bfloat16: torch.int16}  # Parquet knows no bfloat16


class Embeddings:
    """The conditions of texts by one base model's encoders.

    Args:
        folder: Cache of these encoders; None: encode anew each time, if that costs nothing.
    """

    def __init__(self, base: Pretrained, compute: Compute, folder: Path | None) -> None:
        self._base, self._compute, self._folder = base, compute, folder
        self._encoder: TextEncoder | None = None
        self._held = lru_cache(maxsize=_HELD)(self._read)

    def condition(self, texts: Sequence[str]) -> Condition:
        """Return the condition of texts on the device, one row per text, with the negative prompt that all share.

        Raises:
            ValueError: If the model cannot read a text.
        """
        self.encode(texts)
        negative = self._base.negative_text
        shared = {} if negative is None else self._rows([negative])
        return Condition(self._rows(texts), shared)

    def encode(self, texts: Sequence[str]) -> int:
        """Encode the texts that the cache does not have, free the encoders, and return the number of these texts.

        The encoders get one text per call, so an embedding does not depend on other texts.
        """
        if self._folder is None:
            return 0
        negative = self._base.negative_text
        required = [*texts] if negative is None else [*texts, negative]
        missing = [text for text in dict.fromkeys(required) if not self._path(text).is_file()]
        if missing:
            encoder = self._base.load_encoder(self._compute)
            for text in missing:
                self._write(text, encoder.encode([text]))
            del encoder
            if self._compute.device.type == "cuda":
                torch.cuda.empty_cache()
        return len(missing)

    def _rows(self, texts: Sequence[str]) -> dict[str, Tensor]:
        if self._folder is None:
            self._encoder = self._encoder or self._base.load_encoder(self._compute)
            return dict(self._encoder.encode(texts).tensors)
        each = [self._held(text) for text in texts]
        return {name: torch.cat([row[name] for row in each]).to(self._compute.device) for name in each[0]}

    def _path(self, text: str) -> Path:
        assert self._folder is not None
        digest = value_digest(text)
        return self._folder / digest[:2] / digest[2:] / "part-00000.parquet"

    def _write(self, text: str, condition: Condition) -> None:
        rows = [(name, tensor.cpu()) for name, tensor in condition.tensors.items()]
        columns = {
            "name": [name for name, _ in rows],
            "text": [text] * len(rows),
            "dtype": [str(tensor.dtype).removeprefix("torch.") for _, tensor in rows],
            "shape": [list(tensor.shape) for _, tensor in rows],
            "values": [
                tensor.view(_AS_INTEGERS.get(tensor.dtype, tensor.dtype)).numpy().tobytes() for _, tensor in rows
            ],
        }
        write_shard(self._path(text).parent, 0, EMBEDDINGS, arrow(EMBEDDINGS, columns), stamp=value_digest(text))

    def _read(self, text: str) -> dict[str, Tensor]:
        try:
            return self._stored(text)
        except ValueError:  # damaged: encode the text again
            self._path(text).unlink()
            self.encode([text])
            return self._stored(text)

    def _stored(self, text: str) -> dict[str, Tensor]:
        """Return the cached embedding of a text.

        Raises:
            ValueError: If the file is damaged, or without the stamp of this text.
        """
        folder = self._path(text).parent
        rows = read_shard(folder, 0, EMBEDDINGS).to_pylist()
        if shard_stamp(folder, 0) != value_digest(text) or any(row["text"] != text for row in rows):
            raise ValueError(f"{folder} must hold the embedding of {text!r}, got another.")
        return {row["name"]: _tensor(row["values"], row["dtype"], row["shape"]) for row in rows}


def _tensor(values: bytes, dtype: str, shape: Sequence[int]) -> Tensor:
    """Return a tensor of stored bytes.

    Raises:
        ValueError: If there is no such dtype, or the bytes do not fill the shape.
    """
    kind = getattr(torch, dtype, None)
    if not isinstance(kind, torch.dtype) or min(shape, default=1) < 1 or len(values) != prod(shape) * kind.itemsize:
        raise ValueError(f"A tensor of {shape} is required, got {len(values)} bytes of {dtype}.")
    return torch.frombuffer(bytearray(values), dtype=kind).reshape(*shape)
