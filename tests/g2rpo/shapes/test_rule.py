"""The rule: true pictures pass, wrong captions, extra things and blurred shapes do not."""

import numpy as np
import pytest

from g2rpo.shapes.captions import captions, scene_of
from g2rpo.shapes.parser import MIN_AREA, Found, parse
from g2rpo.shapes.renderer import BACKGROUND, PALETTE, SIDE, coverage, render
from g2rpo.shapes.rule import COLOUR_CREDIT, Verdict, verify
from g2rpo.shapes.scenes import SHAPES
from g2rpo.shapes_build.near_misses import near_misses


def describe(things):
    """The things in words, as "red circle, blue ?"; "nothing" for none."""
    return ", ".join(f"{thing.colour} {thing.shape or '?'}" for thing in things) or "nothing"


def drawn(*things: tuple[str, str, float, float], radius: float = 3.0) -> np.ndarray:
    """One picture (1, 3, 16, 16) in [0, 1] of shapes at the given centres (x, y) of their boxes."""
    picture = np.ones((SIDE, SIDE, 3)) * BACKGROUND
    for colour, shape, x, y in things:
        box = [np.array([value]) for value in (SHAPES.index(shape), x, y, radius)]
        share = coverage(box[0], box[1], box[2], box[3])[0][..., None] / 16
        picture = picture * (1 - share) + np.array(PALETTE[colour]) * share
    return picture.transpose(2, 0, 1)[None] / 255


def found(colour: str, shape: str | None, x: float = 8.0, y: float = 8.0) -> Found:
    return Found(colour=colour, shape=shape, x=x, y=y, area=20, misfit=0.0)


def verdict(picture: np.ndarray, caption: str) -> Verdict:
    return verify(parse(picture)[0], scene_of(caption))


@pytest.fixture(scope="module")
def truth() -> tuple[tuple[str, ...], list[tuple[Found, ...]]]:
    texts = captions() * 3
    pictures = render([scene_of(text) for text in texts], np.random.default_rng(77))
    return texts, parse(pictures.transpose(0, 3, 1, 2) / 255)


@pytest.mark.long
def test_true_pictures_pass(truth: tuple[tuple[str, ...], list[tuple[Found, ...]]]):
    texts, things = truth
    verdicts = [verify(seen, scene_of(text)) for text, seen in zip(texts, things, strict=True)]
    assert len(verdicts) == 2187
    assert np.mean([v.strict for v in verdicts]) >= 0.99


def test_other_captions_fail(truth: tuple[tuple[str, ...], list[tuple[Found, ...]]]):
    texts, things = truth
    others = np.random.default_rng(5).permutation(len(texts))
    verdicts = [
        verify(seen, scene_of(texts[i])) for seen, i, own in zip(things, others, texts, strict=True) if texts[i] != own
    ]
    assert np.mean([v.strict for v in verdicts]) < 0.03
    assert np.mean([v.soft for v in verdicts]) < 0.2


@pytest.mark.long
def test_every_near_miss_fails(truth: tuple[tuple[str, ...], list[tuple[Found, ...]]]):
    texts, things = truth
    for text, seen in zip(texts[:729], things[:729], strict=True):
        for miss in (miss for group in near_misses(text) for miss in group):
            assert verify(seen, scene_of(miss)).strict == 0.0


def test_and_holds_in_every_direction():
    for x, y in ((3.5, 8.0), (12.5, 8.0), (8.0, 3.5), (8.0, 12.5)):
        seen = [found("red", "circle", x, y), found("blue", "square", 16 - x, 16 - y)]
        assert verify(seen, scene_of("a red circle and a blue square")).strict == 1.0


def test_a_relation_holds_one_way_round_only():
    seen = [found("red", "circle", x=4.0), found("blue", "square", x=12.0)]
    assert verify(seen, scene_of("a red circle left of a blue square")).strict == 1.0
    for wrong in (
        "a blue square left of a red circle",
        "a red circle above a blue square",
        "a blue square above a red circle",
    ):
        assert verify(seen, scene_of(wrong)) == Verdict(soft=2 / 3, strict=0.0)


def test_soft_counts_things_and_relation_over_what_was_asked_or_found():
    pair, ordered = scene_of("a red circle and a blue square"), scene_of("a red circle above a blue square")
    red, blue, dot = found("red", "circle", y=4.0), found("blue", "square", y=12.0), found("white", "circle")
    assert verify([], pair).soft == 0.0
    assert verify([red], pair).soft == pytest.approx(1 / 2)
    assert verify([red, found("blue", "circle")], pair).soft == pytest.approx((1 + COLOUR_CREDIT) / 2)
    assert verify([red, blue, dot], pair).soft == pytest.approx(2 / 3)
    assert verify([red, blue], ordered).soft == 1.0
    assert verify([red, found("blue", None, y=12.0)], ordered).soft == pytest.approx((2 + COLOUR_CREDIT) / 3)
    assert verify([red], ordered).soft == pytest.approx(1 / 3)


def test_one_thing_is_not_counted_twice():
    assert verify([found("red", "circle")], scene_of("two red circles")).soft == pytest.approx(1 / 2)


def test_an_extra_shape_is_rejected():
    caption = "a red circle left of a blue square"
    things = (("red", "circle", 4.0, 4.0), ("blue", "square", 12.0, 4.0))
    assert verdict(drawn(*things), caption).strict == 1.0
    assert verdict(drawn(*things, ("green", "triangle", 8.0, 12.0)), caption).strict == 0.0
    assert verdict(drawn(*things, ("red", "circle", 8.0, 12.0)), caption).strict == 0.0


def test_a_speck_below_the_least_area_is_no_thing():
    picture = drawn(("red", "circle", 4.0, 4.0))
    row = np.array(PALETTE["blue"])[:, None] / 255
    speck, spot = picture.copy(), picture.copy()
    speck[0, :, 12, 8 : 8 + MIN_AREA - 1] = row
    spot[0, :, 12, 8 : 8 + MIN_AREA] = row
    assert verdict(speck, "a red circle").strict == 1.0
    assert verdict(spot, "a red circle").strict == 0.0


def test_things_are_named_where_they_are():
    seen = parse(drawn(("purple", "circle", 4.0, 11.5), ("yellow", "square", 12.0, 5.0)))[0]
    assert describe(seen) == "yellow square, purple circle"
    assert (seen[0].x, seen[0].y) == pytest.approx((12.0, 5.0), abs=0.05)
    assert (seen[1].x, seen[1].y) == pytest.approx((4.0, 11.5), abs=0.05)


def test_touching_things_of_two_colours_stay_two():
    seen = parse(drawn(("red", "square", 5.0, 8.0), ("blue", "square", 11.0, 8.0), radius=10 / 3))[0]
    assert describe(seen) == "red square, blue square"


def test_a_thing_keeps_its_shape_beside_one_that_holds_its_colour_too():
    seen = parse(drawn(("white", "square", 5.0, 8.0), ("red", "triangle", 11.0, 8.0), radius=10 / 3))[0]
    assert {(thing.colour, thing.shape) for thing in seen} == {("white", "square"), ("red", "triangle")}
    assert max(thing.misfit for thing in seen) < 0.05


def test_a_bar_a_ring_and_a_wide_blur_have_no_shape():
    red, ground = np.array(PALETTE["red"]) / 255, np.array(BACKGROUND) / 255
    bar = np.broadcast_to(ground[:, None, None], (3, SIDE, SIDE)).copy()
    ring = bar.copy()
    bar[:, 7:9, 2:14] = red[:, None, None]
    ring[:, 4:12, 4:12] = red[:, None, None]
    ring[:, 6:10, 6:10] = ground[:, None, None]
    distance = np.hypot(*np.meshgrid(np.arange(SIDE) - 7.5, np.arange(SIDE) - 7.5))
    share = np.exp(-((distance / 6) ** 2))
    blur = ground[:, None, None] * (1 - share) + red[:, None, None] * share
    for picture in (bar, ring, blur):
        assert describe(parse(picture[None])[0]) == "red ?"


def test_an_empty_picture_holds_nothing():
    assert describe(parse(drawn())[0]) == "nothing"


def test_a_dim_or_a_noisy_picture_is_read_as_long_as_it_is_clear():
    rng = np.random.default_rng(0)
    picture = drawn(("green", "triangle", 5.0, 5.0), ("white", "circle", 11.0, 11.0))
    ground = np.array(BACKGROUND)[None, :, None, None] / 255
    dim = ground + 0.75 * (picture - ground)
    noisy = (picture + 0.06 * rng.standard_normal(picture.shape)).clip(0, 1)
    for changed in (dim, noisy):
        assert verdict(changed, "a green triangle and a white circle").strict == 1.0
    assert verdict(ground + 0.4 * (picture - ground), "a green triangle and a white circle").strict == 0.0


def test_a_picture_is_read_alike_alone_and_in_a_batch():
    texts = captions()[::29]
    pictures = render([scene_of(text) for text in texts], np.random.default_rng(1)).transpose(0, 3, 1, 2) / 255
    together = parse(pictures)
    assert [describe(seen) for seen in together] == [describe(parse(picture[None])[0]) for picture in pictures]
