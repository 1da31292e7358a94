"""Sides of the pictures that a generator maps to their own size."""

from cyclegan_style.config import GeneratorConfig

SMALLEST_SIDE = 8
"""Below it, reflection at a quarter of the resolution has nothing to reflect."""
LARGEST_KERNEL = 15
"""Side of the first and last kernels that reach 7 pixels beyond the border, which is as many as the
smallest picture can reflect."""


def size_divisor(generator: GeneratorConfig) -> int:
    """Number that divides the side of every picture the generator can map to its own size.

    One that makes pictures out of noise maps none.
    """
    if generator.architecture == "dcgan":
        return 1
    return 4 if generator.architecture == "resnet" else 2 ** max(generator.levels, 0)


def is_kernel(side: object) -> bool:
    """Whether a first or last layer's kernels can have this side."""
    # A model's file may hold anything, and True is an int.
    return type(side) is int and 1 <= side <= LARGEST_KERNEL and side % 2 == 1
