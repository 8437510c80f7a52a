"""A world of small pictures that knows the truth: textures, shapes, and objects built from shared parts.

`sample(seed)` is a picture of one of sixteen kinds of toys (64 px, colours in [0, 1]) that tells what is in
it: its class, its parts with place, colours, texture and mask, and the background. `replace_part`,
`remove_part`, `insert_part` and `change_texture` return the same picture with one thing changed. Nothing
has an outline drawn around it, so that a part is known by its shape, its texture and its colours.
"""

from mechinterp_course.worlds.images.edits import change_texture, insert_part, remove_part, replace_part
from mechinterp_course.worlds.images.objects import CLASSES, class_of
from mechinterp_course.worlds.images.parts import PARTS, Surface
from mechinterp_course.worlds.images.patterns import PART_PATTERNS, PATTERNS, TEXTURES
from mechinterp_course.worlds.images.samples import (
    KINDS,
    NAMES,
    VERSION,
    Batch,
    Sample,
    batch,
    collage,
    gather,
    part,
    sample,
    shape,
    texture,
)
from mechinterp_course.worlds.images.scene import SIZE, Layer, Light, Place, Scene

__all__ = [
    "CLASSES",
    "KINDS",
    "NAMES",
    "PARTS",
    "PART_PATTERNS",
    "PATTERNS",
    "SIZE",
    "TEXTURES",
    "VERSION",
    "Batch",
    "Layer",
    "Light",
    "Place",
    "Sample",
    "Scene",
    "Surface",
    "batch",
    "change_texture",
    "class_of",
    "collage",
    "gather",
    "insert_part",
    "part",
    "remove_part",
    "replace_part",
    "sample",
    "shape",
    "texture",
]
