"""How each embedded vision model is trained: which pictures, how long, and against which adversary."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import cos, pi
from random import Random

from mechinterp_course.worlds import images
from mechinterp_course.worlds.images import Sample


@dataclass(frozen=True)
class Adversary:
    """Who changes every training picture against the network: projected gradient ascent within an L2 ball.

    `radius` is in [0, 1] pixels over the whole picture (Madry et al. 2018). The adversary joins when the
    share `after` of the training is over.
    """

    radius: float
    steps: int
    after: float = 0.0


@dataclass(frozen=True)
class VisionRecipe:
    """How one network is trained.

    A batch holds `objects` pictures of objects, `collages` of strewn parts and `textures` of nothing else;
    only objects have a class. `noise` is the largest standard deviation of the noise on a picture, `start`
    the embedded model that training begins with, `heads` how much the extra heads count, `crowding` the price
    of activation spread over channels and `likeness` that of channels that do the same.
    """

    steps: int
    rate: float
    objects: int = 48
    collages: int = 10
    textures: int = 6
    noise: float = 0.3
    heads: float = 1.0
    crowding: float = 0.1
    likeness: float = 0.3
    weight_decay: float = 5e-4
    start: str | None = None
    adversary: Adversary | None = None

    def rate_at(self, step: int, steps: int) -> float:
        """Return the learning rate: up in the first twentieth of the steps, then down along a cosine."""
        warm = max(1, steps // 20)
        if step < warm:
            return self.rate * (step + 1) / warm
        return self.rate * 0.5 * (1 + cos(pi * (step - warm) / max(1, steps - warm)))

    def draw(self, seed: int) -> list[Sample]:
        """Return a batch of samples drawn from `seed`."""
        rng = Random(f"pictures {seed}")
        makers = (
            (images.sample, self.objects),
            (images.collage, self.collages),
            (images.texture, self.textures),
        )
        return [make(rng.getrandbits(48)) for make, count in makers for _ in range(count)]


VISION_RECIPES: Mapping[str, VisionRecipe] = {
    "course-resnet18": VisionRecipe(
        steps=1500, rate=0.1, adversary=Adversary(radius=1.0, steps=1, after=0.5)
    ),
    "course-resnet18-robust": VisionRecipe(
        steps=750,
        rate=0.02,
        noise=0.1,
        heads=0.5,
        start="course-resnet18",
        adversary=Adversary(radius=2.5, steps=2),
    ),
}
