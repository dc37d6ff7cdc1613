"""The content of a caption of the shapes world: coloured shapes, how many, and how they lie."""

from dataclasses import dataclass

COLOURS = ("red", "green", "blue", "yellow", "purple", "white")
SHAPES = ("circle", "square", "triangle")
COUNTS = ("a", "two", "three")
ORDERED_RELATIONS = ("left of", "above")
KINDS = ("count", "relation", "pair")


@dataclass(frozen=True, order=True)
class Thing:
    """One coloured shape.

    Example: `Thing("red", "circle")`.
    """

    colour: str
    shape: str


@dataclass(frozen=True)
class Scene:
    """One to three things and, between two unlike things, how they lie.

    A scene of kind "count" holds one to three equal things and no relation. Kinds "relation" and "pair" hold
    two things of different colours, in the order of the caption.

    Example: `Scene((Thing("red", "circle"), Thing("blue", "square")), "left of")`.
    """

    things: tuple[Thing, ...]
    relation: str | None = None

    @property
    def kind(self) -> str:
        """One of `KINDS`: how the caption is built."""
        if self.relation is None:
            return "count"
        return "relation" if self.relation in ORDERED_RELATIONS else "pair"

    @property
    def caption(self) -> str:
        """The one sentence for this scene, in at most eight words: "a red circle left of a blue square"."""
        first = self.things[0]
        if self.relation is None:
            plural = "" if len(self.things) == 1 else "s"
            return f"{COUNTS[len(self.things) - 1]} {first.colour} {first.shape}{plural}"
        second = self.things[1]
        return f"a {first.colour} {first.shape} {self.relation} a {second.colour} {second.shape}"


def all_things() -> tuple[Thing, ...]:
    """Return the 18 things, colour by colour."""
    return tuple(Thing(colour, shape) for colour in COLOURS for shape in SHAPES)


def all_scenes() -> tuple[Scene, ...]:
    """Return the 729 scenes in a fixed order: 54 counts, then 540 relations, then 135 pairs.

    Things of a relation or pair differ in colour, so there are 18 x 15 = 270 ordered and 135 unordered pairs.
    """
    things = all_things()
    counts = [Scene((thing,) * count) for count in range(1, len(COUNTS) + 1) for thing in things]
    ordered = [(one, two) for one in things for two in things if one.colour != two.colour]
    relations = [Scene(pair, relation) for relation in ORDERED_RELATIONS for pair in ordered]
    rank = {thing: index for index, thing in enumerate(things)}
    pairs = [Scene(pair, "and") for pair in ordered if rank[pair[0]] < rank[pair[1]]]
    return (*counts, *relations, *pairs)
