"""What can be trained: every complaint about a configuration, raised as one."""

import math

from cyclegan_style.config import (
    Config,
    EvaluationConfig,
    GeneratorConfig,
    flat_fields,
    parse_bytes,
)
from cyclegan_style.errors import UserError
from cyclegan_style.evaluation.scores import OF_FEATURES, contradiction, definition_for
from cyclegan_style.networks.discriminators import MOST_SCALES
from cyclegan_style.networks.sizes import pads, problems_of_kernels
from cyclegan_style.synthetic import DEMO_SPECS
from cyclegan_style.training.pair_checks import problems_of_pairs
from cyclegan_style.training.size_checks import (
    layers_of_squeezenet,
    problems_of_buckets,
    problems_of_sizes,
    problems_of_written_sizes,
)
from cyclegan_style.training.task_checks import problems_of_task
from cyclegan_style.training.value_ranges import problems_of_value_ranges

_LEAST = {
    "data.rotate": 0,
    "data.scale": 0,
    "data.num_workers": 0,
    "data.channels_a": 1,
    "data.channels_b": 1,
    "generator.channels": 1,
    "generator.latent": 1,
    "generator.blocks": 0,
    "generator.levels": 5,
    "generator.full_size_channels": 0,
    "generator.styles": 1,
    "discriminator.channels": 1,
    "discriminator.layers": 1,
    "discriminator.scales": 1,
    "discriminator.feature_weight": 0,
    "loss.adversarial_weight": 0,
    "loss.cycle_a": 0,
    "loss.cycle_b": 0,
    "loss.cycle_decay": 0,
    "loss.cycle_noise": 0,
    "loss.identity_a": 0,
    "loss.identity_b": 0,
    "loss.paired": 0,
    "loss.contrastive": 0,
    "loss.contrastive_identity": 0,
    "loss.feature_matching": 0,
    "loss.detail": 0,
    "loss.penalty_weight": 0,
    "style.paintings": 1,
    "style.content_weight": 0,
    "style.style_weight": 0,
    "style.variation_weight": 0,
    "optimizer.learning_rate": 0,
    "train.epochs": 0,
    "train.decay_epochs": 0,
    "train.epochs + train.decay_epochs": 1,
    "train.steps": 1,
    "train.max_steps": 1,
    "train.identity_steps": 0,
    "train.batch_size": 1,
    "train.accumulation_steps": 1,
    "train.seed": 0,
    "train.pool_size": 0,
    "train.cpu_threads": 1,
    "checkpoint.every_steps": 1,
    "checkpoint.keep": 1,
    "evaluation.every_steps": 0,
    "evaluation.max_images": 2,
    "evaluation.patience": 1,
    "tracking.log_every_steps": 1,
    "tracking.sample_every_steps": 1,
    "tracking.sample_count": 1,
}
_MOST = {
    "data.rotate": 45,
    "data.scale": 1,
    "discriminator.scales": MOST_SCALES,
    "loss.cycle_decay": 1,
    # NumPy's seeds have 32 bits, and each process adds its number.
    "train.seed": 2**32 - 2**16,
}
_BELOW_ONE = ("optimizer.beta1", "optimizer.beta2", "train.ema_decay")


class ConfigError(UserError):
    """A configuration that cannot be trained, with every field at fault named."""


def validate(config: Config) -> None:
    """Raise one ConfigError that names every field at fault."""
    problems = problems_of_written_sizes(config) or [
        *problems_of_task(config),
        *_problems_of_domains(config),
        *problems_of_sizes(config),
        *problems_of_buckets(config),
        *_problems_of_ranges(config),
        *problems_of_value_ranges(config),
        *_problems_of_combinations(config),
        *_problems_of_one_side(config),
        *problems_of_pairs(config),
        *_problems_of_what_would_not_happen(config),
    ]
    if problems:
        raise ConfigError("; ".join(problems))


def _problems_of_domains(config: Config) -> list[str]:
    data, problems = config.data, []
    if data.root is not None and (data.a is not None or data.b is not None):
        problems.append("data.root already names both domains: leave out data.a and data.b")
    if data.root is None:
        problems += [
            f"data.{name} is missing: name a folder, a glob pattern or {' or '.join(DEMO_SPECS)}"
            for name, spec in (("a", data.a), ("b", data.b))
            if not spec and not (name == "a" and config.task == "noise")
        ]
    try:
        parse_bytes(data.memory_budget)
    except ValueError as error:
        problems.append(f"data.memory_budget: {error}")
    return problems


def _problems_of_ranges(config: Config) -> list[str]:
    values = flat_fields(config)
    values["train.epochs + train.decay_epochs"] = config.train.epochs + config.train.decay_epochs
    problems = [
        f"{name} must be at least {least}, not {values[name]}"
        for name, least in _LEAST.items()
        if values[name] is not None and not values[name] >= least
    ]
    problems += [
        f"{name} must be at most {most}, not {values[name]}"
        for name, most in _MOST.items()
        if values[name] > most
    ]
    problems += [
        f"{name} must be at least 0 and below 1, not {values[name]}"
        for name in _BELOW_ONE
        if not 0 <= values[name] < 1
    ]
    problems += [
        f"{name} must be a finite number, not {value}"
        for name, value in values.items()
        if isinstance(value, float) and not math.isfinite(value)
    ]
    if not 0 < config.data.min_readable <= 1:
        readable = config.data.min_readable
        problems.append(f"data.min_readable must be above 0 and at most 1, not {readable}")
    if config.optimizer.clip_norm is not None and not config.optimizer.clip_norm > 0:
        problems.append("optimizer.clip_norm must be above 0, or null for no limit")
    return problems


def _problems_of_combinations(config: Config) -> list[str]:
    loss, evaluation = config.loss, config.evaluation
    problems = []
    if not evaluation.metrics:
        problems.append("evaluation.metrics must name at least one, such as swd")
    if evaluation.patience is not None and not evaluation.every_steps:
        problems.append("evaluation.patience needs evaluation.every_steps above 0")
    if evaluation.raw_weights and not config.train.ema_decay:
        problems.append(
            "evaluation.raw_weights needs train.ema_decay above 0, without which no other weights"
            " are scored"
        )
    if evaluation.patience is not None and set(evaluation.metrics) <= {
        "lpips",
        "squeezenet_distance",
    }:
        problems.append(
            "evaluation.patience needs a metric of which less is better, such as swd: nearness to"
            " the input is no quality"
        )
    definition = definition_for(evaluation.metrics, evaluation.definition)
    if contradictory := contradiction(evaluation.metrics, definition):
        problems.append(f"evaluation.metrics: {contradictory}")
    from_noise = config.task == "noise"  # where there is no domain A
    different_channels = not from_noise and config.data.channels_a != config.data.channels_b
    if different_channels and (loss.identity_a or loss.identity_b):
        problems.append(
            "loss.identity_a and loss.identity_b must be 0 when data.channels_a and"
            " data.channels_b differ: an identity needs equal channels"
        )
    if different_channels and config.train.identity_steps:
        problems.append(
            "train.identity_steps must be 0 when data.channels_a and data.channels_b differ: an"
            " identity needs equal channels"
        )
    if different_channels and config.generator.skip:
        problems.append(
            "generator.skip must be false when data.channels_a and data.channels_b differ: the"
            " input is added to the output"
        )
    if config.train.checkpoint_activations and config.train.compiles:
        problems.append(
            "train.checkpoint_activations must be false with train.compile, whose compiler itself"
            " chooses what to keep"
        )
    if config.train.convolutions == "winograd":
        if config.train.compiles:
            problems.append("train.compile must be false with train.convolutions winograd")
        if config.train.mixed_precision == "fp16":
            problems.append(
                "train.mixed_precision must not be fp16 with train.convolutions winograd, which is"
                " for CPUs"
            )
    if loss.adversarial == "wgan_gp" and loss.gradient_penalty != "none":
        problems.append("loss.gradient_penalty must be none with wgan_gp, which brings its own")
    if loss.penalises_gradients and config.discriminator.norm == "batch":
        problems.append(
            "discriminator.norm must be instance or none with a gradient penalty, which is"
            " defined for each image alone"
        )
    return problems + _problems_of_layers(config.generator) + _problems_of_discriminators(config)


def _problems_of_layers(generator: GeneratorConfig) -> list[str]:
    """Layers that a generator of this architecture has not."""
    problems = problems_of_kernels(generator)
    if generator.architecture != "resnet":
        of_resnets = [
            name
            for name in ("downsampling", "upsampling")
            if getattr(generator, name) in ("unshuffled", "subpixel")
        ]
        problems += [
            f"generator.{name} {getattr(generator, name)} is for generator.architecture resnet"
            for name in of_resnets
        ]
    elif generator.full_size_channels:
        problems.append(
            "generator.full_size_channels is for U-Nets: a resnet has maps at full size anyway"
        )
    if generator.padding is not None and not pads(generator):
        problems.append(
            "generator.padding must be null for a dcgan with generator.upsampling transposed, whose"
            " layers see nothing beyond a map's border; nearest and bilinear have it"
        )
    return problems


def _problems_of_one_side(config: Config) -> list[str]:
    """What needs the generator that is not trained, and what must keep the content in its stead."""
    loss, problems = config.loss, []
    if not config.train.one_sided:
        if loss.contrastive_identity:
            problems.append(
                "loss.contrastive_identity needs train.one_sided; loss.identity_a and"
                " loss.identity_b are for both sides"
            )
        return problems
    weights = {"cycle_a": loss.cycle_a, "cycle_b": loss.cycle_b, "identity_a": loss.identity_a}
    if weighted := [f"loss.{name}" for name, weight in weights.items() if weight]:
        problems.append(
            f"{' and '.join(weighted)} must be 0 with train.one_sided, which trains no generator_ba"
        )
    if not (loss.contrastive or loss.paired):
        problems.append(
            "loss.contrastive or loss.paired must be above 0 with train.one_sided: nothing else"
            " keeps the content"
        )
    if loss.contrastive_identity and not loss.contrastive:
        problems.append("loss.contrastive_identity needs loss.contrastive above 0")
    if config.data.channels_a != config.data.channels_b:
        problems.append(
            "train.one_sided needs equal data.channels_a and data.channels_b: generator_ab's"
            " encoder looks at pictures of both domains"
        )
    return problems


def _problems_of_discriminators(config: Config) -> list[str]:
    discriminator, problems = config.discriminator, []
    in_colour = config.data.channels_a == config.data.channels_b == 3
    if "color" in discriminator.augment and not in_colour:
        problems.append("discriminator.augment: color needs domains of 3 channels")
    if not in_colour:
        problems += [f"{name} needs domains of 3 channels" for name in layers_of_squeezenet(config)]
    if (
        discriminator.feature_layers
        and config.loss.adversarial == "wgan_gp"
        and not discriminator.spectral_norm
    ):
        problems.append(
            "discriminator.feature_layers needs discriminator.spectral_norm with wgan_gp, whose"
            " penalty bounds the PatchGAN but not the heads"
        )
    if discriminator.scales > 1 and discriminator.architecture != "patch":
        problems.append(
            "discriminator.scales needs discriminator.architecture patch: a pixel discriminator"
            " judges no shapes, and a whole one pictures of one size"
        )
    return problems


def _problems_of_what_would_not_happen(config: Config) -> list[str]:
    """Fields that ask for something of which nothing would come.

    What merely tunes a thing that is off, such as generator.levels beside a resnet, is let pass: a
    file of fields stays of use when an option on the command line chooses another architecture.
    """
    problems = []
    if config.tracking.log_model and config.tracking.backend != "wandb":
        problems.append("tracking.log_model needs tracking.backend wandb, which keeps the model")
    if config.data.fast_jpeg and config.data.resize == "none":
        problems.append(
            "data.fast_jpeg needs data.resize square or shortest, which reduce pictures"
        )
    return problems + _problems_of_scores_not_made(config.evaluation)


def remarks(config: Config) -> list[str]:
    """What a run is trained without although it was asked for.

    It is no error, or runs that began with it could not go on, as little as with another value.
    """
    if config.generator.dropout and not _levels_with_dropout(config.generator):
        return [
            "generator.dropout has no layer to act on: a resnet has it from 1 generator.blocks on,"
            " a U-Net from 6 generator.levels on"
        ]
    return []


def _levels_with_dropout(generator: GeneratorConfig) -> int:
    return generator.blocks if generator.architecture == "resnet" else max(0, generator.levels - 5)


def _problems_of_scores_not_made(evaluation: EvaluationConfig) -> list[str]:
    metrics = set(evaluation.metrics)
    problems = []
    if not metrics & set(OF_FEATURES):
        # pytorch-fid was the default, and stands in the configurations of earlier runs.
        chosen = {
            "definition": evaluation.definition not in (None, "pytorch-fid"),
            "weights": evaluation.weights is not None,
        }
        problems += [
            f"evaluation.{name} is for fd, fid, kid, precision_recall and art_fid, none of which is"
            " in evaluation.metrics"
            for name, unused in chosen.items()
            if unused
        ]
    if evaluation.lpips_weights is not None and not metrics & {"lpips", "art_fid"}:
        problems.append(
            "evaluation.lpips_weights is for lpips and art_fid, none of which is in"
            " evaluation.metrics"
        )
    return problems
