"""What a configuration may not ask of its task: every complaint names the field."""

from cyclegan_style.config import Config, flat_fields, square_side
from cyclegan_style.data.shapes import crop_sizes
from cyclegan_style.evaluation.scores import OF_TRANSLATIONS
from cyclegan_style.networks.noise import doublings_to
from cyclegan_style.networks.sizes import size_divisor
from cyclegan_style.stylizing.network import NETWORKS

OF_ONE_TASK = {
    "style.": ("one_style",),
    "generator.styles": ("one_style",),  # which counts them itself
    "generator.latent": ("noise",),
    "generator.dropout": ("cyclegan", "one_style"),
    "generator.skip": ("cyclegan", "one_style"),
    "generator.attention": ("cyclegan", "one_style"),
    "generator.full_size_channels": ("cyclegan", "one_style"),
    "generator.downsampling": ("cyclegan", "one_style"),
    "discriminator.": ("cyclegan", "noise"),
    "loss.cycle_": ("cyclegan",),
    "loss.identity_": ("cyclegan",),
    "loss.contrastive": ("cyclegan",),
    "loss.feature_matching": ("cyclegan",),
    "loss.detail": ("cyclegan",),
    "loss.adversarial_weight": ("cyclegan",),
    "loss.paired": ("cyclegan",),
    "data.pairs": ("cyclegan",),
    "loss.": ("cyclegan", "noise"),
    "train.one_sided": ("cyclegan",),
    "train.identity_steps": ("cyclegan",),
    "train.pool_size": ("cyclegan",),
    "train.start_from": ("cyclegan", "one_style"),
    "train.checkpoint_activations": ("cyclegan", "one_style"),
    "train.convolutions": ("cyclegan", "one_style"),
    "data.a": ("cyclegan", "one_style"),
    "data.test_a": ("cyclegan", "one_style"),
    "data.channels_a": ("cyclegan", "one_style"),
}
"""Which tasks fields are for, by the beginning of their names; of several the first counts. Others
are for all."""


def problems_of_task(config: Config) -> list[str]:
    """Fields of other tasks that are set, and what this one cannot do."""
    return problems_of_fields(config) + problems_of_style(config) + problems_of_noise(config)


def problems_of_fields(config: Config) -> list[str]:
    """Fields of other tasks with a value that is not the default."""
    usual, problems = flat_fields(Config()), []
    for name, value in flat_fields(config).items():
        tasks = next((of for start, of in OF_ONE_TASK.items() if name.startswith(start)), None)
        if tasks is not None and config.task not in tasks and value != usual[name]:
            problems.append(f"{name} is for task {' and '.join(tasks)}, not for {config.task}")
    return problems


def problems_of_style(config: Config) -> list[str]:
    """What a generator of styles cannot be or do without."""
    if config.task != "one_style":
        return []
    data, style, problems = config.data, config.style, []
    if not data.channels_a == data.channels_b == 3:
        problems.append("data.channels_a and data.channels_b must be 3 for task one_style")
    smallest = NETWORKS[style.features].input.smallest
    if min(map(min, crop_sizes(data, size_divisor(config.generator)))) < smallest:
        problems.append(f"data.crop_size must be at least {smallest} for task one_style")
    if not style.style_weight:
        problems.append("style.style_weight must be above 0: nothing else is learned")
    if not style.scale * min(data.load) >= smallest:
        problems.append(
            f"style.scale ({style.scale}) times data.load_size ({data.load_size}) must be at least"
            f" {smallest}, the shorter side of a painting"
        )
    return problems


def problems_of_noise(config: Config) -> list[str]:
    """What a generator of pictures out of noise cannot be, and what is no use for it."""
    generator, problems = config.generator, []
    if (generator.architecture == "dcgan") != (config.task == "noise"):
        problems.append(
            "generator.architecture must be dcgan for task noise, and only for it, not"
            f" {generator.architecture} for task {config.task}"
        )
    if config.task != "noise":
        return problems
    try:
        doublings_to(square_side(config.data.crop_size))
    except ValueError as error:
        problems.append(f"data.crop_size: {error}")
    if of_inputs := sorted(set(config.evaluation.metrics) & set(OF_TRANSLATIONS)):
        problems.append(
            f"evaluation.metrics: {' and '.join(of_inputs)} compare with the input of a"
            " translation, and noise is none"
        )
    return problems
