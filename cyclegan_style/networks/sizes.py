"""Sides of the pictures that a generator maps to their own size."""

from cyclegan_style.config import GeneratorConfig

SMALLEST_SIDE = 8
"""Below it, reflection at a quarter of the resolution has nothing to reflect."""


def size_divisor(generator: GeneratorConfig) -> int:
    """Number that divides the side of every picture the generator can map to its own size.

    One that makes pictures out of noise maps none.
    """
    if generator.architecture == "dcgan":
        return 1
    return 4 if generator.architecture == "resnet" else 2 ** max(generator.levels, 0)
