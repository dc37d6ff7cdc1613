"""Captions that are almost true of a picture: one colour, shape, number, place or thing is wrong."""

from functools import cache

from g2rpo.shapes.captions import captions, scene_of
from g2rpo.shapes.scenes import COLOURS, ORDERED_RELATIONS, SHAPES, Scene, Thing, all_things


@cache
def near_misses(text: str) -> tuple[tuple[str, ...], ...]:
    """Return the near misses of a caption, grouped by what is wrong: each is false for every picture of it.

    The groups, as far as they apply: another colour, another shape, another number, another place, a thing
    too few, a thing too many. "and" says nothing of the place, so no "and" caption is a near miss of a
    relation between the same things, and no relation one of "and".

    Raises:
        ValueError: If the text is none of the 729 captions.
    """
    scene = scene_of(text)
    groups = (
        _recoloured(scene),
        _reshaped(scene),
        _recounted(scene),
        _moved(scene),
        [Scene((thing,)) for thing in scene.things] if scene.relation else [],
        _extended(scene),
    )
    known = set(captions("all"))
    kept = (tuple(c for s in group if (c := _canonical(s).caption) in known and c != text) for group in groups)
    return tuple(group for group in kept if group)


def _canonical(scene: Scene) -> Scene:
    if scene.relation != "and":
        return scene
    order = all_things()
    return Scene(tuple(sorted(scene.things, key=order.index)), "and")


def _replaced(scene: Scene, old: Thing, new: Thing) -> Scene:
    return Scene(tuple(new if thing == old else thing for thing in scene.things), scene.relation)


def _recoloured(scene: Scene) -> list[Scene]:
    things = dict.fromkeys(scene.things)
    return [_replaced(scene, thing, Thing(colour, thing.shape)) for thing in things for colour in COLOURS]


def _reshaped(scene: Scene) -> list[Scene]:
    things = dict.fromkeys(scene.things)
    return [_replaced(scene, thing, Thing(thing.colour, shape)) for thing in things for shape in SHAPES]


def _recounted(scene: Scene) -> list[Scene]:
    if scene.relation is not None:
        return []
    return [Scene((scene.things[0],) * count) for count in (1, 2, 3)]


def _moved(scene: Scene) -> list[Scene]:
    if scene.relation not in ORDERED_RELATIONS:
        return []
    orders = (scene.things, scene.things[::-1])
    return [Scene(things, relation) for things in orders for relation in ORDERED_RELATIONS]


def _extended(scene: Scene) -> list[Scene]:
    if len(scene.things) != 1:
        return []
    pairs = [(scene.things[0], other) for other in all_things()]
    return [Scene(pair, "and") for pair in pairs]
