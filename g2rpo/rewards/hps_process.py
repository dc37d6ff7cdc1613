"""The process that the real hpsv2 package runs in. It is started by `hps_isolated.py` and imports nothing of ours.

Its standard input and output carry frames: a length in four bytes, then JSON. A request is
{"texts": [...], "sizes": [...]} followed by as many PNG files of those sizes, one per text; the answer is
{"scores": [...]} or {"error": "..."}. The first answer, before any request, says that the model is loaded. What
libraries print goes to standard error. The process ends at the end of its input, so also when its parent is killed.
"""

import argparse
import functools
import io
import json
import os
import signal
import struct
import sys
import traceback
import types
from pathlib import Path
from typing import Any, BinaryIO, cast

ARCHITECTURE = "ViT-H-14"


def receive(stream: BinaryIO) -> tuple[dict[str, Any], list[bytes]] | None:
    """Return the next frame and the files that follow it, or None at the end of the stream."""
    head = stream.read(4)
    if len(head) < 4:
        return None
    message = json.loads(stream.read(struct.unpack(">I", head)[0]))
    files = [stream.read(size) for size in message.get("sizes", [])]
    return message, files


def send(stream: BinaryIO, message: dict[str, Any], files: list[bytes] | None = None) -> None:
    """Write a frame and the files that follow it."""
    body = json.dumps(message).encode()
    stream.write(struct.pack(">I", len(body)) + body + b"".join(files or []))
    stream.flush()


def make_importable(folder: Path) -> object:
    """Put the folder on the path and replace the modules that hpsv2 imports and never uses.

    Returns:
        The library that declares the missing operators of torchvision; they exist as long as it does.
    """
    import torch

    sys.path.insert(0, str(folder))
    turtle: Any = types.ModuleType("turtle")  # hpsv2's `from turtle import forward`, an accident, needs tkinter
    turtle.forward = None
    sys.modules["turtle"] = turtle
    sys.modules |= {"transformers": cast(Any, None)}  # for other text towers; slow to import
    library = torch.library.Library("torchvision", "DEF")  # the folder's torchvision has no compiled operators
    for operator in ("nms", "qnms"):
        library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    return library


class Scorer:
    """The model of hpsv2 as the package builds it, in fp32, with its own tokenizer and preprocessing."""

    def __init__(self, *, weights: Path | None, model_config: Path | None, device: str) -> None:
        import torch
        from hpsv2.src import open_clip  # pyrefly: ignore[missing-import]

        if model_config is not None:
            open_clip.add_model_config(model_config)
        name = ARCHITECTURE if model_config is None else model_config.stem
        self._torch, self._device = torch, device
        self._model, _, self._preprocess = open_clip.create_model_and_transforms(
            name, pretrained=None, light_augmentation=True, output_dict=True
        )
        if weights is not None:
            state = torch.load(weights, map_location="cpu", weights_only=True)
            self._model.load_state_dict(state.get("state_dict", state))
        self._model.requires_grad_(False).eval().to(device)
        self._tokenizer = open_clip.get_tokenizer(name)
        self._side: int = self._model.visual.image_size[0]
        # one text at a time: its features do not depend on the other texts of its batch
        self._read = functools.lru_cache(maxsize=4096)(self._read_once)

    def _read_once(self, text: str) -> Any:
        return self._model.encode_text(self._tokenizer([text]).to(self._device), normalize=True)[0]

    def _pixels(self, file: bytes) -> Any:
        from PIL import Image

        picture = Image.open(io.BytesIO(file)).convert("RGB")
        if max(picture.size) == self._side and min(picture.size) < self._side:  # the package would not pad this one
            square = Image.new("RGB", (self._side, self._side))
            square.paste(picture, ((self._side - picture.width) // 2, (self._side - picture.height) // 2))
            picture = square
        return self._preprocess(picture)

    def score(self, texts: list[str], files: list[bytes]) -> list[float]:
        """Return the cosine of each picture with its text."""
        torch = self._torch
        if len(texts) != len(files):
            raise ValueError(f"got {len(files)} pictures and {len(texts)} texts")
        with torch.no_grad():
            pixels = torch.stack([self._pixels(file) for file in files]).to(self._device)
            of_pictures = self._model.encode_image(pixels, normalize=True)
            of_texts = torch.stack([self._read(text) for text in texts])
            return (of_pictures * of_texts).sum(dim=1).tolist()


def serve(requests: BinaryIO, answers: BinaryIO, scorer: Scorer) -> None:
    """Answer requests until their stream ends."""
    while (request := receive(requests)) is not None:
        message, files = request
        try:
            answer: dict[str, Any] = {"scores": scorer.score(message["texts"], files)}
        except Exception as error:
            traceback.print_exc()
            answer = {"error": f"{type(error).__name__}: {error}"}
        send(answers, answer)


def main() -> None:
    """Build the model that the arguments name, report that it is loaded, and serve."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--model-config", type=Path)
    parser.add_argument("--device", required=True)
    arguments = parser.parse_args()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C; it then closes our input
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    try:
        operators = make_importable(arguments.folder)
        scorer = Scorer(weights=arguments.weights, model_config=arguments.model_config, device=arguments.device)
    except Exception as error:
        traceback.print_exc()
        send(answers, {"error": f"{type(error).__name__}: {error}"})
        sys.exit(1)
    send(answers, {"ready": True})
    serve(sys.stdin.buffer, answers, scorer)
    del operators


if __name__ == "__main__":
    main()
