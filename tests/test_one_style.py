"""Photographs painted by one network in the styles of a few paintings."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import yaml
from accelerate import Accelerator
from PIL import Image
from runs_in_tests import assert_equal_state, killed_in_step, metrics_of, run_training
from tiny import configure, enlarge_weights, make_pictures, tiny_config
from torch import Tensor

from cyclegan_style import Predictor
from cyclegan_style.applying.tiling import StripedGenerator
from cyclegan_style.commands.main import main
from cyclegan_style.config import Config, GeneratorConfig
from cyclegan_style.errors import UserError
from cyclegan_style.features.squeezenet import SQUEEZENET
from cyclegan_style.models.model_files import LoadedGenerator, load_generator, load_generators
from cyclegan_style.models.publish import model_card
from cyclegan_style.models.styles import shares_of, with_strength, with_style
from cyclegan_style.networks import build_generator
from cyclegan_style.networks.styles import StyleScales, choose_styles
from cyclegan_style.stylizing.losses import gram
from cyclegan_style.stylizing.place import Place
from cyclegan_style.training.config_checks import ConfigError, validate
from cyclegan_style.training.one_style import OneStyleStep, with_styles
from cyclegan_style.training.style_losses import StyleLosses

OF_CYCLEGAN = ("discriminator.channels", "discriminator.layers", "train.pool_size")
"""What the smallest CycleGAN has and a painter has not."""


def style_config(folder: Path, **fields: Any) -> Config:
    """A run on nine photographs and three paintings."""
    if not (folder / "photos").exists():
        make_pictures(folder / "photos", 9, 40, 48, seed=1)
        make_pictures(folder / "paintings", 3, 44, 36, seed=2)
    usual = configure()
    own = {
        "task": "one_style",
        "run__dir": str(folder / "run"),
        "data__a": str(folder / "photos"),
        "data__b": str(folder / "paintings"),
        "data__load_size": 36,
        "data__crop_size": 32,
        "discriminator__channels": usual.discriminator.channels,
        "discriminator__layers": usual.discriminator.layers,
        "train__pool_size": usual.train.pool_size,
        "train__epochs": 10,
    }
    return tiny_config(**own | fields)


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A finished run of twenty steps over three styles."""
    folder = tmp_path_factory.mktemp("styles")
    fields = {"train__ema_decay": 0.9, "train__batch_size": 2, "train__max_steps": 20}
    run_training(style_config(folder, **fields, tracking__log_every_steps=5))
    return folder


# Networks


def test_each_picture_has_the_scales_and_shifts_of_its_style():
    scales = StyleScales(3, 2).double()
    enlarge_weights(scales)
    x = torch.randn(2, 2, 4, 5, dtype=torch.float64)

    scales.shares = F.one_hot(torch.tensor([2, 0]), 3)
    each = scales(x)
    scales.shares = torch.tensor([[0.25, 0.0, 0.75]])
    blended = scales(x)

    for number, style in enumerate((2, 0)):
        for channel in range(2):
            expected = (
                scales.weight[style, channel] * x[number, channel] + scales.bias[style, channel]
            )
            torch.testing.assert_close(each[number, channel], expected)
    weight, bias = (0.25 * each[0] + 0.75 * each[2] for each in (scales.weight, scales.bias))
    torch.testing.assert_close(blended, weight[:, None, None] * x + bias[:, None, None])


@pytest.mark.parametrize("architecture", ["resnet", "unet", "residual_unet"])
def test_styles_change_a_generator_only_by_scales_and_shifts(architecture):
    plain = GeneratorConfig(architecture, channels=4, blocks=2, levels=5)
    networks = []
    for styles in (1, 3):
        torch.manual_seed(0)
        networks.append(build_generator(GeneratorConfig(**vars(plain) | {"styles": styles})))
    x = torch.rand(1, 3, 64, 64)

    assert torch.equal(networks[0](x), networks[1](x))
    norms = [m for m in networks[0].modules() if isinstance(m, torch.nn.InstanceNorm2d)]
    scales = [m for m in networks[1].modules() if isinstance(m, StyleScales)]
    assert len(scales) == len(norms) > 5
    enlarge_weights(networks[1])
    outputs = []
    for style in (1, 2):
        choose_styles(networks[1], F.one_hot(torch.tensor([style]), 3))
        outputs.append(networks[1](x))
    assert (outputs[0] - outputs[1]).abs().max() > 0.1


@pytest.mark.parametrize("architecture", ["resnet", "unet"])
def test_stripes_are_painted_in_the_chosen_style(architecture):
    config = GeneratorConfig(architecture, channels=4, blocks=1, levels=5, styles=2)
    network = build_generator(config).double().eval().requires_grad_(False)
    enlarge_weights(network)
    choose_styles(network, torch.tensor([[0.3, 0.7]]))
    x = torch.rand(1, 3, 96, 64, dtype=torch.float64)

    torch.testing.assert_close(StripedGenerator(network, 16)(x), network(x), rtol=0, atol=1e-10)


# Losses


def test_losses_are_those_of_gatys_at_the_chosen_style(tmp_path):
    losses = StyleLosses(style_config(tmp_path, style__variation_weight=2.0), torch.device("cpu"))
    photos, fakes = torch.rand(2, 2, 3, 32, 32) * 2 - 1
    place = Place(3, 5)
    found = losses(fakes, photos, [2, 0], place)

    def activations(pictures: Tensor) -> dict[str, Tensor]:
        network = losses.network(SQUEEZENET.input.normalised(place.around(pictures)), losses.layers)
        return {
            name: place.inside(each, (32, 32)) / losses.scales[name]
            for name, each in network.items()
        }

    of_fakes, of_photos = activations(fakes), activations(photos)
    content = (of_fakes["fire5"] - of_photos["fire5"]).square().mean()
    torch.testing.assert_close(found["content_ab"], content)
    style = torch.zeros(())
    for number, chosen in enumerate((2, 0)):
        for name in ("conv1", "fire2", "fire3", "fire5"):
            wanted = losses.targets[chosen][name].target
            style += (gram(of_fakes[name][number : number + 1]) - wanted).square().mean() / 4
    torch.testing.assert_close(found["style_ab"], 40 * style / 2)
    rows = (fakes[:, :, 1:] - fakes[:, :, :-1]).square().mean()
    columns = (fakes[..., 1:] - fakes[..., :-1]).square().mean()
    torch.testing.assert_close(found["variation_ab"], 2 * (rows + columns))


def test_a_painting_has_its_own_style_and_a_photograph_its_own_content(tmp_path):
    config = style_config(tmp_path, data__load_size=32)
    losses = StyleLosses(config, torch.device("cpu"))
    (first, *_) = sorted((tmp_path / "paintings").iterdir())
    picture = np.asarray(Image.open(first).resize((32, 39), Image.Resampling.BICUBIC))
    painting = torch.from_numpy(picture.copy()).permute(2, 0, 1)[None] / 127.5 - 1

    own, other = (losses(painting, painting, [style], Place(0, 0)) for style in (0, 1))

    assert own["content_ab"] == other["content_ab"] == 0
    assert own["style_ab"] < 0.02 * other["style_ab"]


@pytest.mark.parametrize("loss", ["gram", "moments"])
def test_paintings_together_have_the_mean_of_their_statistics(tmp_path, loss):
    apart, together = (
        StyleLosses(
            style_config(tmp_path, style__together=each, style__loss=loss), torch.device("cpu")
        )
        for each in (False, True)
    )
    name = "target" if loss == "gram" else "mean"

    assert (apart.names, together.names) == (["000", "001", "002"], ["all"])
    for layer in together.style_layers:
        power = 2 if loss == "gram" else 1
        each = [
            getattr(target[layer], name) * apart.scales[layer] ** power for target in apart.targets
        ]
        whole = getattr(together.targets[0][layer], name) * together.scales[layer] ** power
        torch.testing.assert_close(whole, torch.stack(each).mean(0), rtol=1e-4, atol=1e-5)


# Training


def test_every_image_of_all_processes_has_the_next_style(tmp_path):
    step = OneStyleStep(with_styles(style_config(tmp_path)), Accelerator(cpu=True))
    seen = []
    for number in range(3):
        step.set_progress(0.0, number)
        seen += [style for index in range(2) for style in step._styles_of(index, 2, 2)]

    assert seen == [number % 3 for number in range(12)]


@pytest.mark.parametrize(
    "fields",
    [
        {"train__ema_decay": 0.9, "data__num_workers": 1},
        {"train__batch_size": 2, "train__accumulation_steps": 2},
    ],
)
def test_a_killed_run_goes_on_bit_for_bit(tmp_path, monkeypatch, fields):
    def config(name: str) -> Config:
        return style_config(
            tmp_path,
            run__dir=str(tmp_path / name),
            train__max_steps=20,
            checkpoint__every_steps=5,
            **fields,
        )

    run_training(config("whole"))
    with killed_in_step(14, monkeypatch):
        run_training(config("parts"))
    run_training(config("parts"))

    assert_equal_state(tmp_path / "whole", tmp_path / "parts", 20)
    assert metrics_of(tmp_path / "parts")[-1]["style_ab"] > 0


def test_a_painter_learns(tmp_path):
    config = style_config(
        tmp_path,
        generator__channels=16,
        generator__skip=True,
        optimizer__learning_rate=0.003,
        style__together=True,
        train__batch_size=4,
        train__steps=40,
        tracking__log_every_steps=5,
    )
    run_training(config)

    losses = [row["content_ab"] + row["style_ab"] for row in metrics_of(tmp_path / "run")]
    assert losses[-1] < 0.6 * losses[0]


def test_a_run_shows_its_styles_and_says_its_losses(trained):
    run = trained / "run"
    sheet = Image.open(run / "samples/step-00000020.png")
    assert sheet.size == (4 * 32 + 5 * 4, 4 * 32 + 5 * 4 + 20)  # photographs, three styles
    rows = metrics_of(run)
    assert all({"content_ab", "style_ab"} <= row.keys() for row in rows)
    assert not any("variation_ab" in row or "discriminator_b" in row for row in rows)
    measured = {name for name in rows[-1] if name.startswith("health_")}
    assert measured == {"health_change_ab"}  # pictures of 32 pixels have no grid to speak of
    report = (run / "report.html").read_text(encoding="utf-8")
    assert "Task one_style." in report
    assert "Style loss" in report
    assert {path.name for path in (run / "model").iterdir()} == {
        "config.yaml",
        "generator_ab.safetensors",
    }


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"loss__cycle_a": 3.0}, "loss.cycle_a is for task cyclegan, not for one_style"),
        ({"discriminator__layers": 2}, "discriminator.layers is for task cyclegan and noise"),
        ({"train__one_sided": True}, "train.one_sided is for task cyclegan"),
        ({"data__channels_b": 1}, "data.channels_a and data.channels_b must be 3"),
        ({"data__crop_size": 24}, "data.crop_size must be at least 32"),
        ({"style__style_weight": 0.0}, "style.style_weight must be above 0"),
        ({"style__scale": 0.8}, "style.scale (0.8) times data.load_size (36) must be at least 32"),
        ({"style__paintings": 0}, "style.paintings must be at least 1"),
        ({"task": "cyclegan", "style__loss": "moments"}, "style.loss is for task one_style"),
    ],
)
def test_what_a_painter_cannot_be_is_refused_by_name(tmp_path, fields, complaint):
    with pytest.raises(ConfigError, match=re.escape(complaint)):
        validate(style_config(tmp_path, **fields))


def test_several_styles_need_an_instance_norm(tmp_path):
    config = style_config(tmp_path, generator__norm="group")
    with pytest.raises(UserError, match="must be instance for the 3 styles"):
        run_training(config)


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"generator__styles": 4}, "generator.styles: 3 are counted in data.b, not 4"),
        ({"style__weights": "nowhere.pth"}, "style.weights: nowhere.pth: no such file"),
    ],
)
def test_what_a_painter_learns_from_is_looked_at_before_there_is_a_run(tmp_path, fields, complaint):
    with pytest.raises(UserError, match=complaint):
        run_training(style_config(tmp_path, **fields))
    assert not (tmp_path / "run").exists()


def test_a_painting_that_cannot_be_read_is_named(tmp_path):
    config = style_config(tmp_path)
    (tmp_path / "paintings/001.png").write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"data\.b: .*001\.png"):
        run_training(config)


# Models


def test_a_style_or_a_blend_is_chosen_where_a_model_is_applied(trained, tmp_path, capsys):
    model, photo = trained / "run", trained / "photos/000.png"
    both = load_generator(model).network
    inputs = torch.rand(1, 3, 32, 32) * 2 - 1
    shares = {"2": [[0.0, 1.0, 0.0]], "1:0.3,3:0.9": [[0.25, 0.0, 0.75]]}
    outputs = {}
    for style, expected in shares.items():
        choose_styles(both, torch.tensor(expected))
        predictor = Predictor.load(model, style=style, device="cpu", precision="fp32")
        outputs[style] = predictor.translate_tensor(inputs)
        torch.testing.assert_close(outputs[style], both(inputs), rtol=0, atol=1e-4)
    assert (outputs["2"] - outputs["1:0.3,3:0.9"]).abs().max() > 1e-4
    assert torch.equal(
        Predictor.load(model, device="cpu").translate_tensor(inputs),
        Predictor.load(model, style="1", device="cpu").translate_tensor(inputs),
    )

    command = ["translate", "--model", str(model), "--input", str(photo), "--style", "3"]
    assert main([*command, "--output", str(tmp_path / "out"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["translated"] == 1
    assert Image.open(tmp_path / "out/000.png").size == (48, 40)


@pytest.mark.parametrize(
    ("style", "complaint"),
    [
        ("4", "the model has 3 styles, from 1 to 3"),
        ("0", "the model has 3 styles"),
        ("monet", "is neither a number such as 2 nor"),
        ("1:x", "is neither a number"),
        ("1:-1", "shares must be numbers of at least 0"),
        ("1:nan", "shares must be numbers"),
        ("1:0", "one of the shares must be above 0"),
        ("1:", "is neither a number"),
        ("", "is neither a number"),
    ],
)
def test_a_style_that_there_is_not_is_refused(style, complaint):
    with pytest.raises(UserError, match=f"--style: .*{complaint}"):
        shares_of(style, 3)


def test_shares_of_any_size_have_the_sum_one():
    assert shares_of("1:3e38,2:1e308,3:1e308", 3).tolist() == [[0.0, 0.5, 0.5]]


def test_a_model_of_one_style_has_no_second(tmp_path):
    config = style_config(tmp_path, style__together=True, train__max_steps=1)
    run_training(config)
    generator = load_generator(tmp_path / "run")

    assert with_style(generator, "1") is generator
    with pytest.raises(UserError, match="the model has one style"):
        with_style(generator, "2")


@pytest.mark.slow
def test_a_style_is_exported(trained, tmp_path, capsys):
    path = tmp_path / "style.onnx"
    assert (
        main(["export", str(trained / "run"), "--style", "2", "--onnx", str(path), "--json"]) == 0
    )
    assert json.loads(capsys.readouterr().out)["onnx"]["largest_error"] < 1e-4


def test_all_styles_go_into_a_folder(trained, tmp_path):
    folder = tmp_path / "folder"
    assert main(["export", str(trained / "run"), "--folder", str(folder)]) == 0
    assert yaml.safe_load((folder / "config.yaml").read_text())["task"] == "one_style"
    assert "Fast style transfer" in model_card("user/painter", load_generators(folder))
    inputs = torch.rand(1, 3, 32, 32)
    again, first = (Predictor.load(m, style="3", device="cpu") for m in (folder, trained / "run"))
    assert torch.equal(again.translate_tensor(inputs), first.translate_tensor(inputs))


def test_a_painter_goes_to_the_reference_and_is_trained_further(tmp_path):
    config = style_config(tmp_path, style__together=True, train__max_steps=1)
    run_training(config)

    assert main(["convert", str(tmp_path / "run"), str(tmp_path / "reference")]) == 0
    again = style_config(
        tmp_path,
        style__together=True,
        run__dir=str(tmp_path / "further"),
        train__max_steps=1,
        train__start_from=str(tmp_path / "reference"),
        optimizer__learning_rate=0.0,
    )
    run_training(again)

    first, further = (load_generator(tmp_path / name).checksum() for name in ("run", "further"))
    assert first == further
    assert [path.name for path in (tmp_path / "reference").iterdir()] == ["latest_net_G_A.pth"]


def test_several_styles_are_no_model_of_the_reference(trained, tmp_path, capsys, caplog):
    assert main(["convert", str(trained / "run"), str(tmp_path / "reference")]) == 2
    assert "generator.styles 3" in capsys.readouterr().err
    assert not caplog.messages


def test_a_painter_is_evaluated_like_any_other(trained, capsys):
    arguments = ["--a", str(trained / "photos"), "--b", str(trained / "paintings")]
    metrics = ["--metrics", "swd", "--json", "--style", "2"]
    assert main(["evaluate", "model", "--model", str(trained / "run"), *arguments, *metrics]) == 0
    assert {"swd"} <= json.loads(capsys.readouterr().out.splitlines()[-1])["ab"].keys()


@pytest.mark.parametrize("architecture", ["resnet", "unet", "residual_unet"])
@pytest.mark.parametrize("full_size_channels", [0, 4])
def test_a_model_with_a_skip_changes_its_input_as_strongly_as_asked(
    architecture, full_size_channels
):
    if architecture == "resnet" and full_size_channels:
        return
    config = GeneratorConfig(
        architecture,
        channels=4,
        blocks=1,
        levels=5,
        skip=True,
        upsampling="bilinear",
        full_size_channels=full_size_channels,
    )
    network = build_generator(config).double().eval().requires_grad_(False)
    enlarge_weights(network)
    generator = LoadedGenerator(network, config, 3, 3, "ab")
    x = torch.rand(1, 3, 64, 64, dtype=torch.float64) * 2 - 1
    change = torch.atanh(network(x)) - torch.atanh(0.96 * x)

    for strength in (0.0, 0.5, 1.5):
        output = with_strength(generator, strength).network(x)
        expected = torch.tanh(torch.atanh(0.96 * x) + strength * change)
        torch.testing.assert_close(output, expected, rtol=0, atol=1e-6)
    assert change.abs().mean() > 0.05
    assert with_strength(generator, 1.0) is generator
    with pytest.raises(UserError, match="must be a number of at least 0, not -1"):
        with_strength(generator, -1.0)


def test_a_model_without_a_skip_has_no_strength(trained, tmp_path, capsys):
    command = ["translate", "--model", str(trained / "run"), "--input", str(trained / "photos")]
    assert main([*command, "--output", str(tmp_path / "out"), "--strength", "0.5"]) == 2
    assert "--strength: is for models with generator.skip" in capsys.readouterr().err
