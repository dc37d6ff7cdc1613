"""True pictures of a scene: 16x16 pixels, drawn with integers so that they are the same on every machine."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from g2rpo.shapes.scenes import COLOURS, SHAPES, Scene

SIDE = 16  # pixels
SUPERSAMPLE = 4  # per axis, so a coverage is a multiple of 1/16
RADII = (2.6, 3.5)  # pixels, half the side of the box that holds a shape
MARGIN = 0.2  # pixels between a shape and the edge of the picture
GAP = 1.5  # pixels between the boxes of two shapes
LEAD = 2.0  # pixels by which the named direction of a relation exceeds the other
BACKGROUND = (20, 20, 28)
PALETTE = {
    "red": (225, 45, 45),
    "green": (40, 185, 70),
    "blue": (55, 95, 240),
    "yellow": (245, 215, 50),
    "purple": (185, 65, 215),
    "white": (240, 240, 240),
}
_PROPOSALS = 32

Reals = NDArray[np.float64]
Pictures = NDArray[np.uint8]


def coverage(shape: NDArray[np.int64], x: Reals, y: Reals, radius: Reals) -> NDArray[np.int64]:
    """Return how many of the 16 samples of each pixel lie inside a shape, as (n, 16, 16) integers in 0..16.

    A circle has the given radius, a square half a side of 0.9 radius, a triangle base and height 2 radius
    with the apex up. Only sums, products and comparisons are used, so every machine gives the same answer.

    Args:
        shape: Numbers of the shapes in `SHAPES`, (n,).
        x: Centres of the boxes in pixels from the left, (n,).
        y: Centres of the boxes in pixels from the top, (n,).
        radius: Half the side of the boxes in pixels, (n,).
    """
    fine = (np.arange(SIDE * SUPERSAMPLE) + 0.5) / SUPERSAMPLE
    dx = fine[None, None, :] - x[:, None, None]
    dy = fine[None, :, None] - y[:, None, None]
    r = radius[:, None, None]
    square = (np.abs(dx) <= 0.9 * r) & (np.abs(dy) <= 0.9 * r)
    circle = dx * dx + dy * dy <= r * r
    triangle = (2 * np.abs(dx) <= dy + r) & (dy <= r)
    kind = shape[:, None, None]
    inside = np.where(kind == 0, circle, np.where(kind == 1, square, triangle))
    blocks = inside.reshape(-1, SIDE, SUPERSAMPLE, SIDE, SUPERSAMPLE)
    return blocks.sum(axis=(2, 4), dtype=np.int64)


def place(scenes: Sequence[Scene], rng: np.random.Generator) -> Reals:
    """Return a box (x, y, radius) for each thing, as (n, 3, 3); rows beyond the last thing of a scene are 0.

    Radii and centres are uniform, rejected until the boxes are `GAP` apart and the eye tells the relation:
    "left of" means that the first centre is further left, by at least `LEAD` more than it is higher or lower.
    """
    num_things = np.array([len(scene.things) for scene in scenes])
    relation = np.array(
        [("left of", "above").index(r) if (r := s.relation) in ("left of", "above") else -1 for s in scenes]
    )
    boxes = np.zeros((len(scenes), 3, 3))
    waiting = np.arange(len(scenes))
    while len(waiting):
        size = (len(waiting), _PROPOSALS, 3)
        radius = rng.uniform(*RADII, size=size)
        centre = rng.uniform(0.0, 1.0, size=(2, *size))
        centre = (radius + MARGIN) + centre * (SIDE - 2 * (radius + MARGIN))
        proposal = np.stack([centre[0], centre[1], radius], axis=-1)
        fits = _fits(proposal, num_things[waiting, None], relation[waiting, None])
        placed = fits.any(axis=1)
        boxes[waiting[placed]] = proposal[placed, fits[placed].argmax(axis=1)]
        waiting = waiting[~placed]
    boxes[np.arange(3)[None, :] >= num_things[:, None]] = 0.0
    return boxes


def _fits(proposal: Reals, num_things: NDArray[np.int64], relation: NDArray[np.int64]) -> NDArray[np.bool_]:
    fits = np.ones(proposal.shape[:2], dtype=np.bool_)
    for one, two in ((0, 1), (0, 2), (1, 2)):
        between = proposal[:, :, two] - proposal[:, :, one]
        apart = np.maximum(np.abs(between[..., 0]), np.abs(between[..., 1]))
        needed = proposal[:, :, one, 2] + proposal[:, :, two, 2] + GAP
        fits &= (apart >= needed) | (num_things <= two)
    dx = proposal[:, :, 1, 0] - proposal[:, :, 0, 0]
    dy = proposal[:, :, 1, 1] - proposal[:, :, 0, 1]
    fits &= (relation != 0) | (dx >= np.abs(dy) + LEAD)
    fits &= (relation != 1) | (dy >= np.abs(dx) + LEAD)
    return fits


def render(scenes: Sequence[Scene], rng: np.random.Generator) -> Pictures:
    """Return one true picture for each scene, as (n, 16, 16, 3) bytes, rows from the top.

    Integers only after the placement: the same generator gives the same bytes on every machine. The picture
    of a scene depends on the scenes drawn with it, because they share the generator.
    """
    boxes = place(scenes, rng)
    pictures = np.empty((len(scenes), SIDE, SIDE, 3), dtype=np.int64)
    pictures[:] = BACKGROUND
    for slot in range(3):
        rows = np.array([row for row, scene in enumerate(scenes) if len(scene.things) > slot], dtype=np.int64)
        if not len(rows):
            continue
        things = [scenes[row].things[slot] for row in rows]
        shape = np.array([SHAPES.index(thing.shape) for thing in things])
        colour = np.array([PALETTE[thing.colour] for thing in things])[:, None, None, :]
        x, y, radius = boxes[rows, slot].T
        samples = coverage(shape, x, y, radius)[..., None]
        pictures[rows] = (pictures[rows] * (16 - samples) + colour * samples + 8) // 16
    return pictures.astype(np.uint8)


assert tuple(PALETTE) == COLOURS
