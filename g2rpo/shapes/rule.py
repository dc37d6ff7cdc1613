"""The rule that verifies a picture: it shows everything in the caption, and nothing else."""

from collections.abc import Sequence
from dataclasses import dataclass

from g2rpo.shapes.parser import Found
from g2rpo.shapes.scenes import ORDERED_RELATIONS, Scene

COLOUR_CREDIT = 1 / 3  # of a thing whose colour is right and whose shape is not


@dataclass(frozen=True)
class Verdict:
    """The verdict of the rule on one picture.

    Example: `Verdict(soft=0.67, strict=0.0)`, where both things are present and the relation is wrong.
    """

    soft: float
    strict: float


def verify(found: Sequence[Found], scene: Scene) -> Verdict:
    """Return how far the things found in a picture are those of the scene.

        soft = (sum of credits + [relation holds]) / (max(things required, things found) + [relation required])

    in [0, 1]; a thing earns 1 for colour and shape, `COLOUR_CREDIT` for its colour alone. strict is
    1 where soft is 1, that is, every thing and the relation are right and nothing else is present, else 0.
    "left of" holds where the first centroid is further left and the two differ more across than down.
    """
    left = list(found)
    credit = 0.0
    partners: list[Found | None] = []
    for thing in scene.things:
        exact = [f for f in left if (f.colour, f.shape) == (thing.colour, thing.shape)]
        alike = exact or [f for f in left if f.colour == thing.colour]
        partners.append(alike[0] if alike else None)
        if alike:
            left.remove(alike[0])
            credit += 1.0 if exact else COLOUR_CREDIT
    required = max(len(scene.things), len(found))
    if scene.relation in ORDERED_RELATIONS:
        credit += float(_holds(scene.relation, partners))
        required += 1
    soft = credit / required
    return Verdict(soft=soft, strict=float(soft == 1.0))


def _holds(relation: str, partners: Sequence[Found | None]) -> bool:
    first, second = partners
    if first is None or second is None:
        return False
    right, down = second.x - first.x, second.y - first.y
    return right > abs(down) if relation == "left of" else down > abs(right)
