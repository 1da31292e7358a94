"""Every rule of the configuration names its field, and files say again what they were told."""

import dataclasses
import types
import typing
from pathlib import Path

import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import configure
from torch import nn

from cyclegan_style.commands.train import parse_training_options
from cyclegan_style.config import (
    Config,
    DiscriminatorConfig,
    GeneratorConfig,
    from_yaml,
    parse_bytes,
    to_yaml,
    with_values,
)
from cyclegan_style.networks import build_discriminator, build_generator
from cyclegan_style.training.config_checks import ConfigError, remarks, validate

CONFIG_FILES = sorted((Path(__file__).parent.parent / "configs").glob("*.yaml"))
GOOD = configure(data__a="photos", data__b="paintings")

BAD_VALUES = [
    ("data.load_size", 0),
    ("data.crop_size", 0),
    ("data.crop_size", 254),
    ("data.crop_size", 288),
    ("data.num_workers", -1),
    ("data.channels_a", 0),
    ("data.channels_a", 5),
    ("data.channels_b", 0),
    ("data.channels_b", 5),
    ("data.memory_budget", "much"),
    ("data.memory_budget", "-1GB"),
    ("data.min_readable", 0.0),
    ("data.min_readable", 1.1),
    ("data.min_readable", float("nan")),
    ("data.a", None),
    ("data.a", ""),
    ("data.b", None),
    ("data.root", "pictures"),
    ("generator.channels", 0),
    ("generator.blocks", -1),
    ("generator.levels", 4),
    ("discriminator.channels", 0),
    ("discriminator.layers", 0),
    ("loss.cycle_a", -1.0),
    ("loss.cycle_b", float("nan")),
    ("loss.identity_a", -0.5),
    ("loss.identity_b", -0.5),
    ("loss.penalty_weight", -1.0),
    ("loss.feature_matching", -1.0),
    ("loss.detail", -1.0),
    ("loss.cycle_decay", 1.5),
    ("loss.cycle_noise", -0.1),
    ("discriminator.scales", 0),
    ("optimizer.learning_rate", -2e-4),
    ("optimizer.learning_rate", float("nan")),
    ("optimizer.beta1", 1.0),
    ("optimizer.beta1", -0.1),
    ("optimizer.beta2", 1.0),
    ("optimizer.beta2", float("nan")),
    ("optimizer.clip_norm", 0.0),
    ("optimizer.clip_norm", float("nan")),
    ("train.epochs", -1),
    ("train.decay_epochs", -1),
    ("train.max_steps", 0),
    ("train.batch_size", 0),
    ("train.accumulation_steps", 0),
    ("train.seed", -1),
    ("train.seed", 2**32 - 1),
    ("train.pool_size", -1),
    ("train.ema_decay", 1.0),
    ("train.ema_decay", -0.1),
    ("checkpoint.every_steps", 0),
    ("checkpoint.keep", 0),
    ("evaluation.every_steps", -1),
    ("tracking.log_every_steps", 0),
    ("tracking.sample_every_steps", 0),
    ("tracking.sample_count", 0),
]

UNET = {"generator.architecture": "unet"}
SCORED = {"evaluation.every_steps": 100}
HEADS = {"discriminator.feature_layers": ("fire3", "fire9")}
ONE_SIDED = {
    "train.one_sided": True,
    "loss.contrastive": 0.5,
    "loss.contrastive_identity": 0.5,
    "loss.cycle_a": 0.0,
    "loss.cycle_b": 0.0,
    "loss.identity_a": 0.0,
}
BAD_COMBINATIONS = [
    ({"data.fast_jpeg": True, "data.resize": "none"}, "data.fast_jpeg needs data.resize square or"),
    ({**ONE_SIDED, "loss.cycle_a": 1.0, "loss.cycle_b": 1.0}, "loss.cycle_a and loss.cycle_b must"),
    ({**ONE_SIDED, "loss.identity_a": 1.0}, "loss.identity_a must be 0 with train.one_sided"),
    ({**ONE_SIDED, "loss.contrastive": 0.0}, "loss.contrastive or loss.paired must be"),
    ({**ONE_SIDED, "loss.contrastive_identity": -1.0}, "loss.contrastive_identity must be at"),
    ({**ONE_SIDED, "data.channels_a": 1, "loss.identity_b": 0.0}, "train.one_sided needs equal"),
    ({"loss.contrastive_identity": 0.5}, "loss.contrastive_identity needs train.one_sided"),
    ({"train.epochs": 0, "train.decay_epochs": 0}, "train.epochs"),
    ({"data.channels_a": 1, "loss.identity_b": 0.0}, "loss.identity_a"),
    (
        {
            "data.channels_a": 1,
            "loss.identity_a": 0.0,
            "loss.identity_b": 0.0,
            "train.identity_steps": 1,
        },
        "train.identity_steps",
    ),
    ({"data.channels_b": 1, "loss.identity_a": 0.0}, "loss.identity_b"),
    ({"loss.adversarial": "wgan_gp", "loss.gradient_penalty": "r1"}, "loss.gradient_penalty"),
    ({"loss.adversarial": "wgan_gp", "discriminator.norm": "batch"}, "discriminator.norm"),
    ({"loss.gradient_penalty": "r1_r2", "loss.adversarial": "wgan_gp"}, "loss.gradient_penalty"),
    ({"loss.gradient_penalty": "r1", "discriminator.norm": "batch"}, "discriminator.norm"),
    (
        {"discriminator.augment": ("color",), "data.channels_a": 1, "data.channels_b": 1},
        "discriminator.augment",
    ),
    (
        {**HEADS, "data.channels_a": 4, "data.channels_b": 4},
        "discriminator.feature_layers needs domains of 3 channels",
    ),
    ({**HEADS, "data.crop_size": 28}, "at least 32 for discrim"),
    ({"loss.cycle_features": ("fire3",), "data.crop_size": 28}, "at least 32 for loss.cycle_feat"),
    (
        {"loss.cycle_features": ("fire3",), "data.channels_a": 4, "data.channels_b": 4},
        "loss.cycle_features needs domains of 3 channels",
    ),
    ({**HEADS, "loss.adversarial": "wgan_gp"}, "discriminator.feature_layers needs"),
    ({"generator.architecture": "unet", "data.crop_size": 128}, "data.crop_size"),
    (
        {"generator.architecture": "unet", "generator.upsampling": "subpixel"},
        "generator.upsampling subpixel is for",
    ),
    *(
        (
            {**UNET, "generator.first_kernel": side},
            f"generator.first_kernel must be an even number from 2 to 16, or null, not {side}: the"
            " first layer of this unet halves",
        )
        for side in (0, 5, 7, 18)
    ),
    ({**UNET, "generator.last_kernel": 7}, "last_kernel must be an even number from 2 to 16"),
    (
        {**UNET, "generator.upsampling": "nearest", "generator.last_kernel": 4},
        "last_kernel must be an odd number from 1 to 15, or null, not 4: the last layer of this",
    ),
    (
        {**UNET, "generator.full_size_channels": 2, "generator.last_kernel": 4},
        "last_kernel must be an odd number",
    ),
    (
        {"generator.downsampling": "unshuffled", "generator.first_kernel": 5},
        "first_kernel must be null, not 5: the first layer of this resnet is given unshuffled",
    ),
    ({"generator.full_size_channels": 8}, "generator.full_size_channels is for U-Nets"),
    *(
        (
            {"generator.first_kernel": side},
            f"first_kernel must be an odd number from 1 to 15, or null, not {side}",
        )
        for side in (-1, 0, 4, 17)
    ),
    ({"generator.last_kernel": 6}, "generator.last_kernel must be an odd number"),
    ({"generator.full_size_channels": -1}, "generator.full_size_channels"),
    (
        {
            "generator.skip": True,
            "data.channels_a": 1,
            "loss.identity_a": 0.0,
            "loss.identity_b": 0.0,
        },
        "generator.skip",
    ),
    ({"discriminator.layers": 5, "data.crop_size": 92}, "discriminator.layers"),
    ({"discriminator.scales": 4, "data.crop_size": 188}, "at least 192 for discriminator.layers"),
    ({"discriminator.scales": 2, "discriminator.architecture": "pixel"}, "discriminator.scales"),
    ({"data.crop_size": 4, "discriminator.architecture": "pixel"}, "data.crop_size"),
    ({"tracking.log_model": True}, "tracking.log_model"),
    ({"tracking.log_model": True, "tracking.backend": "tensorboard"}, "tracking.log_model"),
    ({"evaluation.metrics": ("swd",), "evaluation.weights": "x.pth"}, "evaluation.weights"),
    ({"evaluation.metrics": ("swd",), "evaluation.definition": "clean"}, "evaluation.definition"),
    ({"evaluation.metrics": ("fid", "fd")}, "evaluation.metrics: fd and fid are the same"),
    ({"evaluation.metrics": ("fd", "art_fid")}, "evaluation.metrics: art_fid cannot"),
    (
        {"evaluation.metrics": ("art_fid",), "evaluation.definition": "squeezenet"},
        "evaluation.metrics: art_fid cannot",
    ),
    (
        {**SCORED, "evaluation.metrics": ("squeezenet_distance",), "evaluation.patience": 2},
        "evaluation.patience needs a metric",
    ),
    ({**SCORED, "evaluation.metrics": ("lpips",), "evaluation.weights": "x"}, "evaluation.weights"),
    ({**SCORED, "evaluation.lpips_weights": "alexnet.pth"}, "evaluation.lpips_weights"),
]

TWO_LAYERS = {"discriminator.layers": 2}
SMALL_UNET = {**UNET, "generator.levels": 5, "data.crop_size": 32} | TWO_LAYERS
GOOD_COMBINATIONS = [
    ONE_SIDED,
    {"data.root": "pictures", "data.a": None, "data.b": None},
    {"train.epochs": 0, "train.decay_epochs": 1},
    {"data.channels_a": 1, "loss.identity_a": 0.0, "loss.identity_b": 0.0},
    {"data.channels_a": 4, "data.channels_b": 4},
    {"loss.adversarial": "wgan_gp", "discriminator.norm": "none"},
    {"discriminator.augment": ("cutout",), "data.channels_a": 1, "data.channels_b": 1},
    SMALL_UNET,
    {"data.resize": "none", "data.load_size": 16},
    {**HEADS, "data.crop_size": 32},
    {**HEADS, "loss.adversarial": "wgan_gp", "discriminator.spectral_norm": True},
    {"generator.padding": "zero", "generator.first_kernel": 1, "generator.last_kernel": 15},
    {"generator.downsampling": "unshuffled", "generator.last_kernel": 3},
    # As it stands in runs that began when it was for resnets alone.
    {**SMALL_UNET, "generator.first_kernel": 7, "generator.last_kernel": 7},
    {**SMALL_UNET, "generator.first_kernel": 16, "generator.last_kernel": 2},
    {**SMALL_UNET, "generator.upsampling": "bilinear", "generator.last_kernel": 7},
    {**SMALL_UNET, "generator.full_size_channels": 2, "generator.last_kernel": 1},
    {"discriminator.layers": 5, "data.crop_size": 96},
    {"discriminator.scales": 4, "data.crop_size": 192},
    {"optimizer.learning_rate": 0.0, "optimizer.clip_norm": 0.1, "train.ema_decay": 0.999},
    {"tracking.log_model": True, "tracking.backend": "wandb"},
    {"train.seed": 2**32 - 2**16},
    {"evaluation.metrics": ("fid",)},  # with the scores switched off for once
    # As it stands in runs that began when this was the default.
    {"evaluation.metrics": ("swd",), "evaluation.definition": "pytorch-fid"},
    {"evaluation.metrics": ("fd", "art_fid"), "evaluation.definition": "clean"},
    {**SCORED, "evaluation.metrics": ("art_fid",), "evaluation.definition": "clean"}
    | {"evaluation.weights": "inception.pth", "evaluation.lpips_weights": "alexnet.pth"},
]


def complaint_about(config: Config) -> str:
    with pytest.raises(ConfigError) as caught:
        validate(config)
    return str(caught.value)


@pytest.mark.parametrize(("field", "value"), BAD_VALUES)
def test_a_bad_value_is_refused_by_the_name_of_its_field(field, value):
    complaint = complaint_about(with_values(GOOD, {field: value}))

    assert field in complaint
    assert "\n" not in complaint


@pytest.mark.parametrize(("values", "field"), BAD_COMBINATIONS)
def test_fields_that_do_not_fit_together_are_refused(values, field):
    assert field in complaint_about(with_values(GOOD, values))


@pytest.mark.parametrize("values", [{}, *GOOD_COMBINATIONS])
def test_what_can_be_trained_is_accepted(values):
    validate(with_values(GOOD, values))


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"generator.blocks": 0}, 1),
        ({"generator.blocks": 1}, 0),
        ({**UNET, "generator.levels": 5}, 1),
        ({**UNET, "generator.levels": 6}, 0),
    ],
)
def test_dropout_without_a_layer_is_trained_without_but_told(values, told):
    config = with_values(GOOD, {"generator.dropout": True, "data.crop_size": 64, **values})
    generator = build_generator(config.generator, 3, 3)

    validate(config)
    assert len(remarks(config)) == told
    assert told == (not any(isinstance(layer, nn.Dropout) for layer in generator.modules()))


def test_all_faults_are_told_at_once():
    wrong = {
        "data.a": None,
        "data.memory_budget": "lots",
        "data.crop_size": 255,
        "optimizer.beta1": 2.0,
        "train.batch_size": 0,
        "discriminator.norm": "batch",
        "loss.gradient_penalty": "zero_centred",
        "optimizer.clip_norm": -1.0,
    }

    complaint = complaint_about(with_values(GOOD, wrong))

    assert [field for field in wrong if field not in complaint] == ["loss.gradient_penalty"]


@pytest.mark.parametrize("layers", [1, 2, 3, 4])
def test_the_smallest_crop_of_a_discriminator_is_the_smallest_that_works(layers):
    discriminator = build_discriminator(DiscriminatorConfig(channels=1, layers=layers))
    smallest = next(size for size in range(8, 512, 4) if accepts_crop(layers, size))

    assert discriminator(torch.rand(1, 3, smallest, smallest)).shape[-1] >= 1
    if smallest > 8:
        with pytest.raises((RuntimeError, ValueError)):
            discriminator(torch.rand(1, 3, smallest - 4, smallest - 4))


def accepts_crop(layers: int, size: int) -> bool:
    values = {"discriminator.layers": layers, "data.crop_size": size, "data.load_size": 600}
    try:
        validate(with_values(GOOD, values))
    except ConfigError:
        return False
    return True


def test_the_smallest_crops_of_the_generators_work():
    resnet = build_generator(GeneratorConfig(channels=1, blocks=1))
    unet = build_generator(GeneratorConfig("unet", channels=1, levels=5))

    assert resnet(torch.rand(1, 3, 8, 8)).shape == (1, 3, 8, 8)
    assert unet(torch.rand(1, 3, 32, 32)).shape == (1, 3, 32, 32)


def test_the_defaults_are_the_recipe_of_the_paper():
    config = Config()
    generator = build_generator(config.generator)
    discriminator = build_discriminator(config.discriminator)

    assert sum(p.numel() for p in generator.parameters()) == 11_378_179
    assert sum(p.numel() for p in discriminator.parameters()) == 2_764_737
    assert (config.loss.cycle_a, config.loss.cycle_b) == (10, 10)
    assert (config.loss.identity_a, config.loss.identity_b) == (5, 5)
    assert config.loss.adversarial == "least_squares"
    adam = config.optimizer
    assert (adam.learning_rate, adam.beta1, adam.beta2) == (2e-4, 0.5, 0.999)
    assert (adam.schedule, adam.clip_norm) == ("linear", None)
    train = config.train
    assert (train.epochs, train.decay_epochs, train.batch_size) == (100, 100, 1)
    assert (train.pool_size, train.ema_decay, train.accumulation_steps) == (50, 0, 1)
    data = config.data
    assert (data.resize, data.load_size, data.crop_size, data.flip) == ("square", 286, 256, True)
    assert config.discriminator.augment == ()
    assert not config.discriminator.spectral_norm
    assert not config.generator.dropout


@pytest.mark.parametrize("path", CONFIG_FILES, ids=lambda path: path.name)
def test_every_shipped_configuration_can_be_trained(path):
    domains = ["--data.b", "y"] if path.name == "noise.yaml" else ["--data.a", "x", "--data.b", "y"]
    _, config = parse_training_options(["--config", str(path), *domains])

    validate(config)
    written = yaml.safe_load(path.read_text(encoding="utf-8"))
    for section, fields in written.items():
        for field in fields if isinstance(fields, dict) else ():
            assert hasattr(getattr(config, section), field)


def test_paper_yaml_says_what_the_defaults_say():
    (paper,) = (path for path in CONFIG_FILES if path.name == "paper.yaml")
    _, config = parse_training_options(["--config", str(paper)])

    for section in ("generator", "discriminator", "loss", "optimizer"):
        assert getattr(config, section) == getattr(Config(), section)


def any_section(section: typing.Any) -> st.SearchStrategy:
    if not dataclasses.is_dataclass(section):
        return any_value(section)
    hints = typing.get_type_hints(section)
    fields = {field.name: any_value(hints[field.name]) for field in dataclasses.fields(section)}
    return st.builds(section, **fields)


def any_value(hint: typing.Any) -> st.SearchStrategy:
    if hint is float:
        return st.floats(allow_nan=False, allow_infinity=False)
    if hint in (str, str | None):
        # What the command line takes for a path; words such as null and 1e3 would be read as such.
        text = st.from_regex(r"[a-zé/~]{2}[\w/ .*:äöü-]*[^\W_0-9]x", fullmatch=True)
        return text if hint is str else st.none() | text
    if hint == int | str:  # a size; a square is stored as a number
        side = st.integers(1, 999)
        pairs = st.tuples(side, side).filter(lambda size: size[0] != size[1])
        return side | pairs.map(lambda size: f"{size[0]}x{size[1]}")
    if hint == bool | typing.Literal["horizontal", "both", "none"]:
        return st.sampled_from([True, False, "both"])  # as which all are stored
    kinds = typing.get_args(hint)
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        return st.one_of(any_value(kind) for kind in kinds)
    if typing.get_origin(hint) is tuple:
        if Ellipsis not in kinds:
            return st.tuples(*map(any_value, kinds))
        return st.lists(any_value(kinds[0]), max_size=3).map(tuple)
    return st.from_type(hint)


ANY_CONFIG = st.builds(
    Config, **{field.name: any_section(field.type) for field in dataclasses.fields(Config)}
)


@settings(max_examples=8, deadline=None)
@given(config=ANY_CONFIG)
def test_a_written_configuration_is_read_back_as_it_was(config, tmp_path_factory):
    path = tmp_path_factory.mktemp("written") / "config.yaml"
    path.write_text(to_yaml(config), encoding="utf-8")

    _, again = parse_training_options(["--config", str(path)])

    assert again == config


@pytest.mark.parametrize(("opening", "end"), [("[", "]"), ("{a: ", "}"), ("- ", "")])
def test_yaml_that_nests_without_end_is_refused(opening, end):
    assert from_yaml(100 * opening + "x" + 100 * end)
    with pytest.raises(yaml.YAMLError, match="more than 100 sections in each other"):
        from_yaml(200_000 * opening)


UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "tb": 10**12, " gb ": 10**9}


@given(number=st.integers(0, 10**6), unit=st.sampled_from(sorted(UNITS)))
def test_sizes_are_read_with_any_unit(number, unit):
    assert parse_bytes(f"{number}{unit}") == number * UNITS[unit]


def test_sizes_may_have_a_fraction_and_spaces():
    assert parse_bytes("1.5GB") == 1_500_000_000
    assert parse_bytes(" 2 MB ") == 2_000_000


@given(st.text(alphabet="GBMK.-+einfa x%", max_size=6))
def test_what_is_no_size_is_refused_in_one_line(text):
    try:
        size = parse_bytes(text)
    except ValueError as error:
        assert repr(text) in str(error)
    else:
        assert size >= 0
        assert any(letter.isdigit() for letter in text)
