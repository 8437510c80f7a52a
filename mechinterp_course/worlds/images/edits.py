"""Counterfactual pictures: change one thing, and leave every other pixel as it is, to the last bit.

A pixel outside the masks of what is taken away and of what is put in its place is never touched; behind a
part that goes, whatever was behind it appears.
"""

from dataclasses import replace
from random import Random

from mechinterp_course.errors import CourseError
from mechinterp_course.worlds.images.parts import PARTS, Surface, part_surface, texture_surface
from mechinterp_course.worlds.images.patterns import PATTERNS, TEXTURES
from mechinterp_course.worlds.images.samples import VERSION, Sample
from mechinterp_course.worlds.images.scene import Layer, Place, render


def replace_part(sample: Sample, old: str, new: str, seed: int = 0) -> Sample:
    """Return the picture with a part of kind `new` wherever one of kind `old` was, as large and as turned.

    Raises CourseError when the picture has no such part or `new` is no kind of part.
    """
    rng = Random(f"{VERSION} replace {old} {new} {sample.seed} {seed}")
    surface = part_surface(rng, _known(new))
    scene = sample.scene
    for index in _found(sample, old):
        scene = scene.with_layer(index, replace(scene.layers[index], kind=new, surface=surface))
    return Sample(sample.seed, render(scene))


def remove_part(sample: Sample, kind: str) -> Sample:
    """Return the picture without its parts of that kind; raises CourseError when it has none."""
    scene = sample.scene
    for index in reversed(_found(sample, kind)):
        scene = scene.with_layer(index, None)
    return Sample(sample.seed, render(scene))


def insert_part(sample: Sample, kind: str, place: Place | None = None, seed: int = 0) -> Sample:
    """Return the picture with one more part, in front of everything; `place` is drawn unless given.

    Raises CourseError when there is no such kind of part.
    """
    rng = Random(f"{VERSION} insert {kind} {sample.seed} {seed}")
    where = Place(rng.uniform(12, 52), rng.uniform(12, 52), rng.uniform(8, 11), rng.uniform(-0.3, 0.3))
    layer = Layer(_known(kind), "part", place or where, part_surface(rng, kind))
    return Sample(sample.seed, render(replace(sample.scene, layers=(*sample.scene.layers, layer))))


def change_texture(sample: Sample, what: str, pattern: str, seed: int = 0) -> Sample:
    """Return the picture with another pattern, in the same colours, on a kind of part, "body", "background".

    Outlines stay. Any pattern goes onto a part or body (a wheel may be tiled), onto the background only an
    endless one. Raises CourseError when the picture has no such thing or there is no such pattern.
    """
    rng = Random(f"{VERSION} texture {what} {pattern} {sample.seed} {seed}")
    if pattern not in (TEXTURES if what == "background" else PATTERNS):
        raise CourseError(f"no pattern of {what} is called {pattern!r}; there are {', '.join(TEXTURES)}")
    scene = sample.scene
    if what == "background":
        return Sample(
            sample.seed, render(replace(scene, background=_repaint(scene.background, pattern, rng)))
        )
    for index in _found(sample, what):
        layer = scene.layers[index]
        scene = scene.with_layer(index, replace(layer, surface=_repaint(layer.surface, pattern, rng)))
    return Sample(sample.seed, render(scene))


def _repaint(surface: Surface, pattern: str, rng: Random) -> Surface:
    """Return a surface with the colours and form of `surface` and another pattern."""
    lie = texture_surface(rng)
    return replace(surface, pattern=pattern, frequency=lie.frequency, angle=lie.angle, phase=lie.phase)


def _known(kind: str) -> str:
    if kind not in PARTS:
        raise CourseError(f"no part is called {kind!r}; there are {', '.join(PARTS)}")
    return kind


def _found(sample: Sample, what: str) -> list[int]:
    found = sample.places_of(what)
    if not found:
        there = sorted({layer.kind for layer in sample.scene.layers if layer.role == "part"})
        raise CourseError(f"this picture has no {what}; its parts are {', '.join(there) or 'none'}")
    return found
