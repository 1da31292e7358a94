"""Sides of the pictures that a generator maps to their own size, and of kernels at its ends."""

from typing import NamedTuple

from cyclegan_style.config import GeneratorConfig

SMALLEST_SIDE = 8
"""Below it, reflection at a quarter of the resolution has nothing to reflect."""
LARGEST_KERNEL = 15
"""Side of the first and last kernels that reach 7 pixels beyond the border, which is as many as the
smallest picture can reflect; an even one that reaches as far is larger by one."""
LARGEST_OF_NOISE = 11
"""The same of maps that a dcgan enlarges, of which the smallest is one of 4 × 4."""

ODD = range(1, LARGEST_KERNEL + 1, 2)
EVEN = range(2, LARGEST_KERNEL + 2, 2)
NONE = range(0)
KERNELS_OF_BEFORE = (7, 7)
"""First and last kernels that earlier versions noted for every generator, and gave to resnets."""


class EndLayer(NamedTuple):
    """The first or last layer of a generator."""

    description: str
    kernels: range
    """Sides that can be chosen."""
    usual: int
    """The side in the reference."""


def size_divisor(generator: GeneratorConfig) -> int:
    """Number that divides the side of every picture the generator can map to its own size.

    One that makes pictures out of noise maps none.
    """
    if generator.architecture == "dcgan":
        return 1
    return 4 if generator.architecture == "resnet" else 2 ** max(generator.levels, 0)


def first_end(generator: GeneratorConfig) -> EndLayer:
    """What is given the picture, or a dcgan's latent."""
    if generator.architecture == "dcgan":
        return EndLayer("projects a latent", NONE, 4)
    if generator.architecture != "resnet":
        return EndLayer("halves the picture", EVEN, 4)
    if generator.downsampling == "unshuffled":
        return EndLayer("is given unshuffled pixels", NONE, 7)
    return EndLayer("convolves the picture", ODD, 7)


def last_end(generator: GeneratorConfig) -> EndLayer:
    """What the output comes out of."""
    if generator.architecture == "resnet":
        return EndLayer("convolves maps at full size", ODD, 7)
    if generator.full_size_channels and generator.architecture != "dcgan":
        return EndLayer("convolves maps at full size", ODD, 3)
    if generator.upsampling == "transposed":
        return EndLayer("is a transposed convolution", EVEN, 4)
    of_noise = range(1, LARGEST_OF_NOISE + 1, 2)
    odd = of_noise if generator.architecture == "dcgan" else ODD
    return EndLayer("convolves enlarged maps", odd, 3)


def kernels_at_ends(generator: GeneratorConfig) -> tuple[int, int]:
    """Sides of the first and the last layer's kernels."""
    first, last = _chosen_kernels(generator)
    return (
        first_end(generator).usual if first is None else first,
        last_end(generator).usual if last is None else last,
    )


def pads(generator: GeneratorConfig) -> bool:
    """Whether any of its layers sees something beyond a map's border."""
    return generator.architecture != "dcgan" or generator.upsampling != "transposed"


def problems_of_kernels(generator: GeneratorConfig) -> list[str]:
    """First and last kernels that its layers cannot have."""
    first, last = _chosen_kernels(generator)
    chosen = {
        "first": (first, first_end(generator)),
        "last": (last, last_end(generator)),
    }
    return [
        f"generator.{place}_kernel must be {_described(layer.kernels)}, not {kernel!r}: the"
        f" {place} layer of this {generator.architecture} {layer.description}"
        for place, (kernel, layer) in chosen.items()
        # A model's file may hold anything, and True is an int.
        if kernel is not None
        and not (type(kernel) is int and kernel in (*layer.kernels, layer.usual))
    ]


def _chosen_kernels(generator: GeneratorConfig) -> tuple[int | None, int | None]:
    chosen = (generator.first_kernel, generator.last_kernel)
    # Nobody can choose 7 for the first kernel of another generator.
    of_before = generator.architecture != "resnet" and chosen == KERNELS_OF_BEFORE
    return (None, None) if of_before else chosen


def _described(kernels: range) -> str:
    if not kernels:
        return "null"
    parity = "odd" if kernels[0] % 2 else "even"
    return f"an {parity} number from {kernels[0]} to {kernels[-1]}, or null"
