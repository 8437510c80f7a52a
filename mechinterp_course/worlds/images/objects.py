"""Objects: sixteen classes, each a body of any shape and texture with three kinds of parts on it.

Every kind of part belongs to several classes, and no two classes have more than two kinds in common, so
that one part never gives a class away: an eye and a tail may be a cat's, a bird's or a snail's.
"""

from collections.abc import Mapping
from math import cos, sin
from random import Random

from mechinterp_course.worlds.images.outlines import BODIES, SHAPES
from mechinterp_course.worlds.images.parts import PARTS, Surface, part_surface, texture_surface
from mechinterp_course.worlds.images.scene import SIZE, Layer, Light, Place, Scene

Spots = tuple[tuple[float, float, float], ...]

BELOW: Spots = ((-0.62, 0.85, 0.55), (0.66, 0.85, 0.55))
ABOVE: Spots = ((-0.62, -0.95, 0.62), (0.5, -0.95, 0.62))
TOP: Spots = ((0.0, -1.05, 1.05),)
FRONT: Spots = ((0.55, -0.35, 0.5),)
BEHIND: Spots = ((-1.3, 0.15, 0.75),)
MIDDLE: Spots = ((0.0, 0.0, 0.5),)
PAIR: Spots = ((-0.48, 0.05, 0.42), (0.5, 0.05, 0.42))
BACK: Spots = ((-0.4, -0.35, 0.85),)
SIDES: Spots = ((1.1, 0.6, 0.62), (-1.05, 0.65, 0.62))
MAST: Spots = ((0.1, -1.25, 0.85),)
FACE: Spots = ((-0.35, -0.2, 0.45), (0.5, -0.2, 0.45))
STALK: Spots = ((0.0, 1.1, 0.75),)

CLASSES: Mapping[str, Mapping[str, Spots]] = {
    "car": {"wheel": BELOW, "window": MIDDLE, "eye": ((1.0, 0.15, 0.36),)},
    "caravan": {"wheel": BELOW, "window": PAIR, "roof": TOP},
    "cottage": {"window": PAIR, "roof": TOP, "leaf": SIDES},
    "windmill": {"window": MIDDLE, "roof": TOP, "sail": ((0.85, -0.15, 0.75),)},
    "ship": {"sail": MAST, "window": PAIR, "tail": BEHIND},
    "plane": {"wing": BACK, "window": ((0.6, -0.1, 0.42),), "tail": BEHIND},
    "yacht": {"wheel": BELOW, "sail": MAST, "tail": BEHIND},
    "bird": {"wing": BACK, "eye": FRONT, "tail": BEHIND},
    "owl": {"ear": ABOVE, "eye": FACE, "wing": ((-0.95, 0.45, 0.8),)},
    "cat": {"ear": ABOVE, "eye": FACE, "tail": BEHIND},
    "hare": {"ear": ABOVE, "eye": FRONT, "leg": BELOW},
    "turtle": {"shell": ((-0.15, -0.4, 0.8),), "eye": ((0.85, -0.2, 0.42),), "leg": BELOW},
    "crab": {"shell": ((0.0, -0.4, 0.8),), "leg": BELOW, "tail": ((1.25, 0.0, 0.7),)},
    "flower": {"petals": ((0.0, -0.75, 0.95),), "leaf": SIDES, "leg": STALK},
    "butterfly": {"wing": ((-0.75, -0.25, 0.85), (0.9, -0.25, 0.8)), "petals": MIDDLE, "leg": STALK},
    "snail": {"shell": ((-0.3, -0.35, 0.8),), "leaf": ((0.2, 1.0, 0.75),), "eye": FRONT},
}
"""Each class's kinds of parts and where they sit: (right, down, half width), in half widths of the body."""


def class_of(kinds: frozenset[str]) -> str | None:
    """Return the class whose kinds of parts these are, or None when they make no known object."""
    return next((name for name, parts in CLASSES.items() if parts.keys() == kinds), None)


def object_scene(rng: Random, name: str) -> Scene:
    """Return a scene with one object of that class among clutter, drawn from `rng`."""
    body = Place(
        x=SIZE / 2 + rng.uniform(-5, 5),
        y=SIZE / 2 + rng.uniform(-4, 5),
        size=rng.uniform(12.5, 17.5),
        turn=rng.gauss(0, 0.16),
        mirrored=rng.random() < 0.5,
    )
    layers = [
        *(clutter(rng, rng.uniform(5, 11)) for _ in range(rng.choice((0, 0, 1, 2, 3)))),
        *parts_on(rng, body, name),
        *(clutter(rng, rng.uniform(3, 6)) for _ in range(rng.choice((0, 0, 1, 2)))),
    ]
    return Scene(texture_surface(rng), tuple(layers), light(rng))


def parts_on(rng: Random, body: Place, name: str) -> list[Layer]:
    """Return the layers of an object from back to front: tails first, then the body, then other parts."""
    behind, front = [], []
    for kind, spots in CLASSES[name].items():
        surface = part_surface(rng, kind)
        layers = [_part(rng, body, kind, spot, surface) for spot in spots]
        (behind if kind in ("tail", "leg") else front).extend(layers)
    rng.shuffle(front)
    trunk = Layer(rng.choice(BODIES), "body", body, texture_surface(rng, contrast=(0.12, 0.3)))
    return [*behind, trunk, *front]


def _part(rng: Random, body: Place, kind: str, spot: tuple[float, float, float], surface: Surface) -> Layer:
    right, down, size = spot
    right = (right + rng.gauss(0, 0.07)) * (-1 if body.mirrored else 1)
    down += rng.gauss(0, 0.07)
    turn = body.turn + rng.gauss(0, 0.5) * PARTS[kind].turn
    place = Place(
        x=body.x + body.size * (cos(body.turn) * right - sin(body.turn) * down),
        y=body.y + body.size * (sin(body.turn) * right + cos(body.turn) * down),
        size=body.size * size * rng.uniform(0.88, 1.15),
        turn=turn,
        mirrored=body.mirrored != (spot[0] > 0.7 and kind == "wing"),
    )
    return Layer(kind, "part", place, surface)


def clutter(rng: Random, size: float) -> Layer:
    """Return a shape without meaning, anywhere in the picture."""
    place = Place(rng.uniform(0, SIZE), rng.uniform(0, SIZE), size, rng.uniform(0, 6.2832))
    return Layer(rng.choice(tuple(SHAPES)), "clutter", place, texture_surface(rng))


def light(rng: Random) -> Light:
    """Return a light that may come from any side."""
    return Light(rng.uniform(0.75, 1.1), rng.uniform(-0.2, 0.2), rng.uniform(-0.2, 0.2))
