"""Reading a picture back: pixels to colours, colours to connected parts, parts to coloured shapes."""

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from g2rpo.shapes.renderer import BACKGROUND, PALETTE, SIDE, coverage
from g2rpo.shapes.scenes import COLOURS, SHAPES

MIN_ALPHA = 0.5  # share of colour over background from which a pixel belongs to a thing
MIN_AREA = 4  # pixels; a smaller part is a speck and no thing (the smallest true thing has about 13)
MAX_MISFIT = 0.15  # of the energy of the template; a part that fits worse has no shape
CROP = 11  # pixels, the side of the window in which parts are compared with templates

Reals = NDArray[np.float64]


@dataclass(frozen=True)
class Found:
    """A thing that the parser finds; `shape` is None where no template fits.

    Example: `Found(colour="red", shape="circle", x=4.2, y=8.0, area=24, misfit=0.03)`; x and y are the
    centroid in pixels from the left and from the top.
    """

    colour: str
    shape: str | None
    x: float
    y: float
    area: int
    misfit: float


@dataclass(frozen=True)
class _Parts:
    picture: NDArray[np.int64]
    colour: NDArray[np.int64]
    mask: NDArray[np.bool_]
    alpha: Reals


def parse(pictures: NDArray[np.floating[Any]]) -> list[tuple[Found, ...]]:
    """Return the things in each picture, in the order of the first pixels row by row.

    Each pixel is explained as a mixture of background and the palette colour that leaves the smallest
    residual; pixels with at least half colour are joined over their four neighbours of the same colour; each
    part takes the shape of the nearest template (three shapes, ten radii, 36 sub-pixel places).

    Args:
        pictures: (n, 3, 16, 16) in [0, 1].
    """
    parts = _parts(np.asarray(pictures, dtype=np.float64))
    found: list[list[Found]] = [[] for _ in range(len(pictures))]
    if not len(parts.picture):
        return [tuple(things) for things in found]
    rows, columns = np.arange(SIDE)[None, :, None], np.arange(SIDE)[None, None, :]
    weight = parts.alpha.sum(axis=(1, 2))
    y = (parts.alpha * rows).sum(axis=(1, 2)) / weight
    x = (parts.alpha * columns).sum(axis=(1, 2)) / weight
    shape, misfit = _nearest_shape(parts.alpha, x, y)
    for i, picture in enumerate(parts.picture):
        found[picture].append(
            Found(
                colour=COLOURS[parts.colour[i]],
                shape=SHAPES[shape[i]] if misfit[i] <= MAX_MISFIT else None,
                x=float(x[i]) + 0.5,
                y=float(y[i]) + 0.5,
                area=int(parts.mask[i].sum()),
                misfit=float(misfit[i]),
            )
        )
    return [tuple(things) for things in found]


def _parts(pictures: Reals) -> _Parts:
    alpha, colour = _unmix(pictures)
    coloured = np.take_along_axis(alpha, colour[:, None], axis=1)[:, 0] >= MIN_ALPHA
    label = _connect(np.where(coloured, colour, -1))
    owner, first = np.unique(label[label >= 0], return_counts=True)
    roots = owner[first >= MIN_AREA]
    cell = SIDE * SIDE
    picture = roots // cell
    kind = colour.reshape(-1)[roots]
    mask = label[picture] == roots[:, None, None]
    others = (label[picture] >= 0) & ~mask
    near = _widen(mask) & ~others
    own = np.clip(alpha[picture, kind], 0.0, 1.0) * near
    return _Parts(picture=picture, colour=kind, mask=mask, alpha=own)


def _unmix(pictures: Reals) -> tuple[Reals, NDArray[np.int64]]:
    """Return each palette colour's share of each pixel, (n, 6, 16, 16), and the colour that explains it."""
    ground = np.array(BACKGROUND) / 255
    direction = np.array([PALETTE[name] for name in COLOURS]) / 255 - ground
    offset = pictures - ground[None, :, None, None]
    alpha = np.einsum("nchw,kc->nkhw", offset, direction) / (direction**2).sum(axis=1)[None, :, None, None]
    explained = np.clip(alpha, 0.0, 1.0)[:, :, None] * direction[None, :, :, None, None]
    residual = ((offset[:, None] - explained) ** 2).sum(axis=2)
    return alpha, residual.argmin(axis=1)


def _connect(colour: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return for each pixel the number of the first pixel of its part, or -1 where colour is -1."""
    padded = np.pad(colour, ((0, 0), (1, 1), (1, 1)), constant_values=-1)
    label = np.arange(colour.size).reshape(colour.shape)
    label = np.where(colour >= 0, label, -1)
    far = colour.size
    shifts = ((0, 1), (2, 1), (1, 0), (1, 2))
    joined = [padded[:, r : r + SIDE, c : c + SIDE] == colour for r, c in shifts]
    while True:
        wide = np.pad(label, ((0, 0), (1, 1), (1, 1)), constant_values=-1)
        lowest = label
        for (r, c), same in zip(shifts, joined, strict=True):
            lowest = np.minimum(lowest, np.where(same, wide[:, r : r + SIDE, c : c + SIDE], far))
        if np.array_equal(lowest, label):
            return label
        label = lowest


def _widen(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    wide = np.pad(mask, ((0, 0), (1, 1), (1, 1)))
    return np.any([wide[:, r : r + SIDE, c : c + SIDE] for r in range(3) for c in range(3)], axis=0)


@cache
def _templates() -> tuple[Reals, NDArray[np.int64]]:
    """Return windows of ideal shapes about their centroids, (m, CROP squared), and their shape numbers."""
    places = np.linspace(-0.625, 0.625, 6)
    radii = np.arange(2.2, 4.1, 0.2)
    grid = np.array([(s, r, u, v) for s in range(3) for r in radii for u in places for v in places])
    shape, radius = grid[:, 0].astype(np.int64), grid[:, 1]
    sink = np.where(shape == SHAPES.index("triangle"), radius / 3, 0.0)
    samples = coverage(shape, 8.5 + grid[:, 2], 8.5 + grid[:, 3] - sink, radius) / 16
    edge = 8 - CROP // 2
    return samples[:, edge : edge + CROP, edge : edge + CROP].reshape(len(grid), -1), shape


def _nearest_shape(alpha: Reals, x: Reals, y: Reals) -> tuple[NDArray[np.int64], Reals]:
    """Return the nearest template's shape and the squared distance to it over the template's energy."""
    half = CROP // 2
    padded = np.pad(alpha, ((0, 0), (half, half), (half, half)))
    left, top = np.rint(x).astype(np.int64), np.rint(y).astype(np.int64)
    steps = np.arange(CROP)
    i = np.arange(len(alpha))[:, None, None]
    window = padded[i, top[:, None, None] + steps[None, :, None], left[:, None, None] + steps[None, None, :]]
    templates, shape = _templates()
    energy = (templates**2).sum(axis=1)
    total = (alpha**2).sum(axis=(1, 2))
    inside = window.reshape(len(alpha), -1)
    misfit = (total[:, None] - 2 * inside @ templates.T + energy[None]) / energy[None]
    best = misfit.argmin(axis=1)
    return shape[best], misfit[np.arange(len(alpha)), best]
