"""True pictures: drawn alike everywhere, apart, and in the place that the caption names."""

import hashlib

import numpy as np
import pytest

from g2rpo.shapes.captions import captions, scene_of
from g2rpo.shapes.renderer import BACKGROUND, GAP, LEAD, MARGIN, PALETTE, SIDE, coverage, place, render
from g2rpo.shapes.scenes import SHAPES

SCENES = [scene_of(text) for text in captions()]


def test_the_same_generator_draws_the_same_bytes():
    pictures = render(SCENES, np.random.default_rng(3))
    again = render(SCENES, np.random.default_rng(3))
    other = render(SCENES, np.random.default_rng(4))
    assert pictures.tobytes() == again.tobytes() != other.tobytes()


def test_the_pictures_of_a_seed_are_the_same_on_every_machine():
    pictures = render(SCENES, np.random.default_rng(3))
    assert hashlib.sha256(pictures.tobytes()).hexdigest() == RENDER_DIGEST


def test_boxes_keep_apart_and_inside_the_picture():
    boxes = place(SCENES * 2, np.random.default_rng(0))
    for scene, box in zip(SCENES * 2, boxes, strict=True):
        number = len(scene.things)
        x, y, radius = box[:number].T
        assert np.all(np.minimum(x, y) - radius >= MARGIN - 1e-9)
        assert np.all(np.maximum(x, y) + radius <= SIDE - MARGIN + 1e-9)
        for one in range(number):
            for two in range(one):
                apart = max(abs(x[one] - x[two]), abs(y[one] - y[two]))
                assert apart >= radius[one] + radius[two] + GAP
        assert np.all(box[number:] == 0)


@pytest.mark.parametrize(("relation", "axis"), [("left of", 0), ("above", 1)])
def test_relations_are_told_by_the_eye(relation: str, axis: int):
    scenes = [scene for scene in SCENES if scene.relation == relation]
    boxes = place(scenes, np.random.default_rng(0))
    between = boxes[:, 1, :2] - boxes[:, 0, :2]
    assert np.all(between[:, axis] >= np.abs(between[:, 1 - axis]) + LEAD)


def test_a_pair_lies_in_every_direction():
    scenes = [scene for scene in SCENES if scene.kind == "pair"] * 4
    boxes = place(scenes, np.random.default_rng(0))
    right, down = (boxes[:, 1, :2] - boxes[:, 0, :2]).T
    for share in (right > abs(down), -right > abs(down), down > abs(right), -down > abs(right)):
        assert 0.15 < share.mean() < 0.35


@pytest.mark.parametrize(("shape", "area"), [("circle", np.pi * 9), ("square", 5.4**2), ("triangle", 18.0)])
def test_a_shape_of_radius_3_covers_its_area(shape: str, area: float):
    number = np.array([SHAPES.index(shape)])
    samples = coverage(number, np.array([8.0]), np.array([8.0]), np.array([3.0]))
    assert samples.sum() / 16 == pytest.approx(area, rel=0.05)


def test_a_triangle_points_up():
    samples = coverage(np.array([2]), np.array([8.0]), np.array([8.0]), np.array([3.0]))[0]
    widths = samples[5:11].sum(axis=1)
    assert np.all(np.diff(widths) > 0)


def test_a_picture_holds_its_colours_on_a_dark_ground():
    picture = render([scene_of("a red square left of a blue square")], np.random.default_rng(0))[0]
    colours = {tuple(int(value) for value in pixel) for pixel in picture.reshape(-1, 3)}
    assert {BACKGROUND, PALETTE["red"], PALETTE["blue"]} <= colours
    assert PALETTE["green"] not in colours
    assert np.median(picture, axis=(0, 1)).tolist() == list(BACKGROUND)


RENDER_DIGEST = "03850e4a7319d360e2561a2ed28023bd2407163b361e952086422101887421b0"
