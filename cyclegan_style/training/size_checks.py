"""Which sizes of pictures the networks of a configuration take: every complaint names the field."""

from cyclegan_style.config import Config, parse_size
from cyclegan_style.data.shapes import crop_sizes
from cyclegan_style.features.squeezenet import SQUEEZENET
from cyclegan_style.networks.discriminators import MOST_SCALES, side_of_whole
from cyclegan_style.networks.sizes import size_divisor


def problems_of_written_sizes(config: Config) -> list[str]:
    """Sizes that are none, of which nothing else can be said."""
    written = {"data.load_size": config.data.load_size, "data.crop_size": config.data.crop_size}
    problems = []
    for name, size in written.items():
        try:
            if min(parse_size(size)) < 1:
                problems.append(f"{name} must be at least 1, not {size}")
        except ValueError as error:
            problems.append(f"{name}: {error}")
    return problems


def problems_of_sizes(config: Config) -> list[str]:
    """Crops that are no part of a picture, or that a network cannot take."""
    data, generator, discriminator = config.data, config.generator, config.discriminator
    problems = []
    height, width = data.crop
    divisor = size_divisor(generator)
    shorter = min(map(min, crop_sizes(data, divisor)))
    in_buckets = f", which makes sides of {shorter} with data.buckets," if data.buckets else ""
    crop_size = f"data.crop_size ({data.crop_size}){in_buckets}"
    if data.resize != "none" and (height > data.load[0] or width > data.load[1]):
        problems.append(
            f"data.crop_size ({data.crop_size}) is larger than data.load_size ({data.load_size})"
        )
    if discriminator.architecture == "whole" and 1 <= discriminator.layers <= 8:
        side = side_of_whole(discriminator.layers)
        if (height, width) != (side, side):
            problems.append(
                f"data.crop_size ({data.crop_size}) must be {side} for discriminator.layers"
                f" ({discriminator.layers}) of a whole picture: 4 for 64, 5 for 128"
            )
    if height % divisor or width % divisor:
        problems.append(
            f"data.crop_size ({data.crop_size}) must be divisible by {divisor}, by which the"
            f" {generator.architecture} generator divides the resolution"
        )
    if generator.architecture == "resnet" and shorter < 8:
        problems.append(f"{crop_size} must be at least 8")
    layers, scales = discriminator.layers, discriminator.scales
    if discriminator.architecture == "patch" and layers >= 1 and 1 <= scales <= MOST_SCALES:
        # Each strided layer halves, then two 4×4 convolutions with padding 1 take a pixel each.
        smallest = 2**layers * 3 * 2 ** (scales - 1)
        if shorter < smallest:
            also = f" and discriminator.scales ({scales})" if scales > 1 else ""
            problems.append(
                f"{crop_size} must be at least {smallest} for discriminator.layers ({layers}){also}"
            )
    smallest_seen = SQUEEZENET.input.smallest
    problems += [
        f"{crop_size} must be at least {smallest_seen} for {name}"
        for name in layers_of_squeezenet(config)
        if shorter < smallest_seen
    ]
    return problems


def problems_of_buckets(config: Config) -> list[str]:
    """What does not go with batches that have pictures of one of several shapes."""
    data, problems = config.data, []
    if not data.buckets:
        return []
    if data.resize != "shortest":
        problems.append(f"data.buckets needs data.resize shortest, not {data.resize}")
    for name, (height, width) in (("load_size", data.load), ("crop_size", data.crop)):
        if height != width:
            problems.append(f"data.{name} must be one number with data.buckets: shapes vary anyway")
    if config.task == "noise" or config.discriminator.architecture == "whole":
        problems.append(
            "data.buckets is not for task noise or discriminator.architecture whole, which need"
            " squares"
        )
    if config.train.compile is True:
        problems.append(
            "train.compile must not be true with data.buckets, of which each shape would be"
            " compiled by itself: take blocks or false"
        )
    return problems


def layers_of_squeezenet(config: Config) -> list[str]:
    """Fields that name layers of SqueezeNet, where they name any."""
    fields = {
        "discriminator.feature_layers": config.discriminator.feature_layers,
        "loss.cycle_features": config.loss.cycle_features,
    }
    return [name for name, layers in fields.items() if layers]
