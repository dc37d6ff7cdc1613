"""Two judges of picture and caption, unlike in architecture, seed and data; each is a two-tower cosine."""

from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from g2rpo.model_files.weights import read_tensors
from g2rpo.shapes.captions import NUM_WORDS, VOCABULARY, tokens
from g2rpo.shapes.renderer import SIDE
from g2rpo.shapes.shipped import JUDGES, judge_path
from g2rpo.types import Images, Rewards

OUT = 64  # dimensions of the space in which picture and caption meet


class Judge(nn.Module):
    """Two towers into one space; the score is the cosine of their embeddings."""

    def see(self, images: Images) -> Float[Tensor, "b 64"]:
        """Return the unscaled embedding of pictures in [0, 1]."""
        raise NotImplementedError

    def read(self, numbers: Tensor) -> Float[Tensor, "b 64"]:
        """Return the unscaled embedding of rows of word numbers."""
        raise NotImplementedError

    @torch.no_grad()
    def score(self, images: Images, texts: Sequence[str]) -> Rewards:
        """Return the cosine of each picture and its text, in [-1, 1].

        Raises:
            ValueError: If there are not as many texts as pictures, the pictures are not 16x16 with three channels, or
                a text has an unknown word.
        """
        if len(images) != len(texts):
            raise ValueError(
                f"A judge needs one text per picture, got {len(images)} pictures and {len(texts)} texts. "
                "Repeat or drop texts until they match."
            )
        if tuple(images.shape[1:]) != (3, SIDE, SIDE):
            raise ValueError(
                f"A judge sees pictures of shape (n, 3, {SIDE}, {SIDE}), got {tuple(images.shape)}. "
                "Use it with the shapes world, or choose a reward that fits the model."
            )
        embedded = self.see(images.float())
        return functional.cosine_similarity(embedded, self.read(torch.tensor(tokens(texts), device=embedded.device)))


class ConvolutionJudge(Judge):
    """Judge A: three convolutions for the picture, a perceptron over the eight words for the caption."""

    def __init__(self) -> None:
        super().__init__()
        self.picture = nn.Sequential(
            nn.Conv2d(3, 32, 3, padding=1),
            nn.GroupNorm(4, 32),
            nn.SiLU(),
            nn.Conv2d(32, 64, 3, stride=2, padding=1),
            nn.GroupNorm(8, 64),
            nn.SiLU(),
            nn.Conv2d(64, 96, 3, stride=2, padding=1),
            nn.GroupNorm(8, 96),
            nn.SiLU(),
            nn.Flatten(),
            nn.Linear(96 * (SIDE // 4) ** 2, 160),
            nn.SiLU(),
            nn.Linear(160, OUT),
        )
        self.words = nn.Embedding(len(VOCABULARY), 32)
        self.caption = nn.Sequential(
            nn.Linear(32 * NUM_WORDS, 256), nn.SiLU(), nn.Linear(256, 256), nn.SiLU(), nn.Linear(256, OUT)
        )

    def see(self, images: Images) -> Float[Tensor, "b 64"]:
        """Return the unscaled embedding of pictures in [0, 1]."""
        return self.picture(2 * images - 1)

    def read(self, numbers: Tensor) -> Float[Tensor, "b 64"]:
        """Return the unscaled embedding of rows of word numbers."""
        return self.caption(self.words(numbers).flatten(1))


class AttentionJudge(Judge):
    """Judge B: a transformer over 4x4 patches for the picture, a recurrent network for the caption."""

    def __init__(self) -> None:
        super().__init__()
        width = 96
        self.patches = nn.Conv2d(3, width, 4, stride=4)
        self.places = nn.Parameter(0.02 * torch.randn((SIDE // 4) ** 2, width))
        layers = [
            nn.TransformerEncoderLayer(width, 4, 3 * width, dropout=0.0, batch_first=True, norm_first=True)
            for _ in range(3)
        ]
        self.layers = nn.Sequential(*layers)
        self.picture = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, OUT))
        self.words = nn.Embedding(len(VOCABULARY), 64)
        self.reader = nn.GRU(64, 128, batch_first=True)
        self.caption = nn.Linear(128, OUT)

    def see(self, images: Images) -> Float[Tensor, "b 64"]:
        """Return the unscaled embedding of pictures in [0, 1]."""
        patches = self.patches(2 * images - 1).flatten(2).transpose(1, 2)
        return self.picture(self.layers(patches + self.places).mean(dim=1))

    def read(self, numbers: Tensor) -> Float[Tensor, "b 64"]:
        """Return the unscaled embedding of rows of word numbers."""
        states, _ = self.reader(self.words(numbers))
        return self.caption(states[:, -1])


ARCHITECTURES: dict[str, type[Judge]] = dict(zip(JUDGES, (ConvolutionJudge, AttentionJudge), strict=True))


def new_judge(name: str) -> Judge:
    """Return an untrained judge, initialised from torch's global generator.

    Raises:
        ValueError: If no judge has this name.
    """
    if name not in ARCHITECTURES:
        raise ValueError(f"A judge is one of {', '.join(ARCHITECTURES)}, got {name!r}. Name one of these.")
    return ARCHITECTURES[name]()


def save_judge(judge: Judge, path: Path) -> None:
    """Write a judge's weights in fp16."""
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.half().contiguous() for name, tensor in judge.state_dict().items()}, path)


def load_judge(name: str, *, folder: Path | None = None) -> Judge:
    """Return a trained judge in fp32 on the CPU, frozen; without a folder, the shipped one.

    Raises:
        ValueError: If no judge has this name, or the folder does not hold it.
    """
    judge = new_judge(name)
    path = judge_path(name, folder=folder)
    if not path.is_file():
        raise ValueError(
            f"The judge {name} is a file {name}.safetensors, got none at {path}. "
            "Name another folder, or make one with `g2rpo shapes build`."
        )
    shapes = {key: tuple(tensor.shape) for key, tensor in judge.state_dict().items()}
    tensors = read_tensors(path, path.parent, like=shapes)
    judge.load_state_dict({key: tensor.float() for key, tensor in tensors.items()})
    return judge.eval().requires_grad_(False)
