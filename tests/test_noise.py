"""Pictures out of noise: the networks, the task in the loop, the model's files, the command."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from runs_in_tests import assert_equal_state, killed_in_step, metrics_of, run_training
from safetensors.torch import load_file, save_file
from tiny import make_pictures, tiny_config

from cyclegan_style.applying.generate import BLOCK, NoisePainter, between, grid, latent
from cyclegan_style.commands.main import main
from cyclegan_style.config import Config, DiscriminatorConfig, GeneratorConfig, to_yaml
from cyclegan_style.data.images import read_image
from cyclegan_style.errors import UserError
from cyclegan_style.evaluation.health import mean_distance
from cyclegan_style.models.discriminator_files import read_discriminator_file
from cyclegan_style.models.export import export_model
from cyclegan_style.models.model_files import load_generator
from cyclegan_style.models.noise_files import load_noise_generator
from cyclegan_style.models.publish import noise_card
from cyclegan_style.networks import build_discriminator, build_noise_generator
from cyclegan_style.networks.noise import doublings_to
from cyclegan_style.networks.resampling import last_layer
from cyclegan_style.training.config_checks import ConfigError, validate
from cyclegan_style.training.cyclegan import build_generators

TINY = GeneratorConfig(architecture="dcgan", channels=4, latent=8)


def noise_config(**fields: object) -> Config:
    """A tiny run of task noise."""
    fields = {
        "task": "noise",
        "data__a": None,
        "data__crop_size": 32,
        "generator__architecture": "dcgan",
        "generator__latent": 8,
        "discriminator__architecture": "whole",
        "discriminator__layers": 3,
        "train__pool_size": 50,
        **fields,
    }
    return tiny_config(**fields)


@pytest.fixture(scope="module")
def paintings(tmp_path_factory) -> Path:
    return make_pictures(tmp_path_factory.mktemp("paintings") / "b", 9)


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    """An exported model folder whose pictures are not all alike."""
    folder = tmp_path_factory.mktemp("model")
    torch.manual_seed(0)
    network = build_noise_generator(replace(TINY, norm="batch"), 32)
    for parameter in network.parameters():
        parameter.data.mul_(4)
    export_model(folder, {"b": network}, to_yaml(noise_config(generator__norm="batch")))
    return folder


@pytest.mark.parametrize("upsampling", ["transposed", "nearest", "bilinear"])
@pytest.mark.parametrize(("side", "channels"), [(8, 1), (32, 3), (64, 4)])
def test_every_latent_becomes_a_picture_of_the_size(upsampling, side, channels):
    network = build_noise_generator(replace(TINY, upsampling=upsampling), side, channels)

    pictures = network(torch.randn(2, TINY.latent))

    assert pictures.shape == (2, channels, side, side)
    assert pictures.abs().max() <= 1


@pytest.mark.parametrize(
    ("upsampling", "last_kernel", "padding"),
    [
        ("transposed", 2, None),
        ("transposed", 16, None),
        ("nearest", 11, "reflect"),
        ("bilinear", 11, "reflect"),
        ("bilinear", 1, "zero"),
    ],
)
def test_the_last_kernel_is_chosen(upsampling, last_kernel, padding):
    config = replace(TINY, upsampling=upsampling, last_kernel=last_kernel, padding=padding)
    network = build_noise_generator(config, 8)

    assert network(torch.randn(1, TINY.latent)).shape == (1, 3, 8, 8)
    assert last_layer(network).weight.shape[2:] == (last_kernel, last_kernel)


@pytest.mark.parametrize("upsampling", ["transposed", "nearest"])
def test_the_kernels_that_earlier_versions_noted_were_not_its_own(upsampling):
    config = replace(TINY, upsampling=upsampling)
    noted = replace(config, first_kernel=7, last_kernel=7)
    states = [build_noise_generator(each, 8).state_dict() for each in (config, noted)]

    shapes, others = ({key: t.shape for key, t in state.items()} for state in states)
    assert shapes == others


def test_the_widths_are_those_of_the_paper():
    network = build_noise_generator(replace(TINY, channels=64, latent=100, norm="batch"), 64)
    widths = [tuple(p.shape[:2]) for p in network.parameters() if p.ndim == 4]
    assert widths == [(100, 512), (512, 256), (256, 128), (128, 64), (64, 3)]


@pytest.mark.parametrize("side", [0, 4, 24, 48, 2048])
def test_sizes_that_are_no_doublings_of_4_are_refused(side):
    with pytest.raises(ValueError, match=f"^{side} pixels"):
        doublings_to(side)


@pytest.mark.parametrize(("layers", "side"), [(1, 8), (3, 32), (4, 64)])
def test_a_whole_picture_gets_one_verdict_that_all_of_it_sways(layers, side):
    config = DiscriminatorConfig("whole", channels=4, layers=layers, norm="none")
    judge = build_discriminator(config)
    pictures = torch.randn(2, 3, side, side, requires_grad=True)

    verdicts = judge(pictures)

    assert verdicts.shape == (2, 1, 1, 1)
    verdicts.sum().backward()
    assert pictures.grad is not None
    assert (pictures.grad != 0).all()


@pytest.mark.parametrize("norm", ["none", "instance", "batch"])
def test_a_whole_pictures_discriminator_is_told_by_its_tensors(tmp_path, norm):
    config = DiscriminatorConfig("whole", channels=4, layers=3, norm=norm)
    save_file(build_discriminator(config).state_dict(), tmp_path / "d.safetensors")

    found = read_discriminator_file(tmp_path / "d.safetensors").config

    assert (found.architecture, found.channels, found.layers) == ("whole", 4, 3)
    assert found.norm == norm


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"generator__architecture": "unet"}, "must be dcgan for task noise"),
        ({"task": "cyclegan", "data__a": "a"}, "must be dcgan for task noise, and only for it"),
        ({"data__crop_size": 24}, "data.crop_size: 24 pixels are not 4 doubled"),
        (
            {"discriminator__layers": 4},
            r"data.crop_size \(32\) must be 64 for discriminator.layers",
        ),
        ({"generator__upsampling": "subpixel"}, "generator.upsampling subpixel"),
        ({"generator__latent": 0}, "generator.latent must be at least 1"),
        ({"generator__padding": "zero"}, "generator.padding must be null for a dcgan with"),
        ({"generator__first_kernel": 6}, "generator.first_kernel must be null, not 6"),
        ({"generator__last_kernel": 3}, "generator.last_kernel must be an even number"),
        (
            {"generator__last_kernel": 13, "generator__upsampling": "nearest"},
            "generator.last_kernel must be an odd number from 1 to 11",
        ),
        ({"generator__skip": True}, "generator.skip is for task cyclegan and one_style"),
        ({"loss__cycle_a": 2.0}, "loss.cycle_a is for task cyclegan, not for noise"),
        ({"data__a": "photos"}, "data.a is for task cyclegan and one_style"),
        ({"evaluation__metrics": ("fd", "lpips")}, "evaluation.metrics: lpips compare"),
    ],
)
def test_what_task_noise_cannot_do_is_named(fields, complaint):
    with pytest.raises(ConfigError, match=complaint):
        validate(noise_config(**fields))


def test_the_task_is_killed_and_resumed_to_the_same_bits_and_its_model_is_applied(
    paintings, tmp_path, monkeypatch, capsys
):
    fields = {
        "data__b": str(paintings),
        "generator__norm": "batch",
        "discriminator__spectral_norm": True,
        "discriminator__augment": ("translation",),
        "loss__adversarial": "relativistic",
        "loss__gradient_penalty": "r1_r2",
        "train__batch_size": 2,
        "train__accumulation_steps": 2,
        "train__ema_decay": 0.9,
        "train__epochs": 100,
        "train__max_steps": 20,
        "checkpoint__every_steps": 8,
        "evaluation__every_steps": 10,
        "evaluation__metrics": ("fd", "precision_recall"),
        "tracking__sample_every_steps": 10,
        "tracking__log_every_steps": 5,
    }
    whole, parts = (noise_config(run__dir=str(tmp_path / n), **fields) for n in ("whole", "parts"))

    run_training(whole)
    with killed_in_step(13, monkeypatch):
        run_training(parts)
    result = run_training(parts)

    assert result.step == 20
    assert_equal_state(tmp_path / "whole", tmp_path / "parts", 20)
    rows = metrics_of(tmp_path / "whole")
    assert [row["step"] for row in rows] == [5, 10, 15, 20]
    assert {"adversarial_b", "discriminator_b"} < rows[0].keys()
    expected = {"fd_squeezenet_b", "precision_b", "recall_b", "health_diversity_b"}
    assert expected < rows[1].keys()
    assert rows[1]["fd_squeezenet_b"] > 0
    assert {path.name for path in (tmp_path / "whole" / "best").iterdir()} >= {"fd_squeezenet_b"}
    folder = tmp_path / "whole" / "model"
    assert {path.name for path in folder.iterdir()} == {"config.yaml", "generator_b.safetensors"}
    assert yaml.safe_load((folder / "config.yaml").read_text())["task"] == "noise"
    assert "samples/" in capsys.readouterr().err

    # What the samples show is what the command makes.
    assert main(["generate", "--model", str(tmp_path / "whole"), "--output", str(tmp_path / "o"),
                 "--count", "36", "--device", "cpu"]) == 0  # fmt: skip
    sample = read_image(tmp_path / "whole" / "samples" / "step-00000020.png")
    assert np.array_equal(sample, read_image(tmp_path / "o" / "grid.png"))


def test_number_and_seed_make_the_picture_whatever_else_is_made(model):
    few, many = (NoisePainter.load(model, "cpu", seed=7) for _ in range(2))

    alone = [next(few.numbered([number])) for number in (0, 3, BLOCK + 1)]
    together = list(many.numbered(range(BLOCK + 2)))

    for number, pixels in zip((0, 3, BLOCK + 1), alone, strict=True):
        assert np.array_equal(pixels, together[number])
    assert not np.array_equal(together[0], together[1])
    other = next(NoisePainter.load(model, "cpu", seed=8).numbered([0]))
    assert not np.array_equal(together[0], other)


def test_latents_are_pinned_and_normal():
    assert latent(0, 0, 3).tolist() == pytest.approx([1.117622, -1.387125, -0.426572], abs=1e-6)
    drawn = torch.stack([latent(1, number, 64) for number in range(200)])
    assert abs(float(drawn.mean())) < 0.02
    assert float(drawn.std()) == pytest.approx(1, abs=0.02)


def test_a_way_on_the_sphere_keeps_the_length_and_turns_evenly():
    first, second = torch.tensor([2.0, 0.0]), torch.tensor([0.0, 2.0])
    for share in (0.0, 1 / 3, 1.0):
        angle = torch.tensor(share * torch.pi / 2)
        expected = 2 * torch.stack([angle.cos(), angle.sin()])
        assert torch.allclose(between(first, second, share), expected, atol=1e-6)
    assert torch.allclose(between(first, 2 * first, 0.5), 1.5 * first)  # no turn at all


def test_a_model_is_exported_as_a_folder_that_makes_the_same(model, tmp_path, capsys):
    folder = tmp_path / "exported"
    assert main(["export", str(model), "--folder", str(folder), "--json"]) == 0
    written = json.loads(capsys.readouterr().out.splitlines()[-1])["folder"]
    assert sorted(written) == sorted(str(path) for path in folder.iterdir())
    before, after = (NoisePainter.load(each, "cpu").numbered([3, 4]) for each in (model, folder))
    np.testing.assert_array_equal(np.stack(list(before)), np.stack(list(after)))
    assert main(["export", str(model), "--onnx", str(tmp_path / "m.onnx")]) == 2
    assert "use cyclegan-style generate" in capsys.readouterr().err
    card = noise_card("somebody/dreams", load_noise_generator(folder))
    assert "generate --model somebody/dreams" in card
    assert "RGB pictures of 32 × 32" in card


def test_truncation_makes_pictures_more_alike(model):
    def variety(truncation: float) -> float:
        painter = NoisePainter.load(model, "cpu", truncation=truncation)
        pictures = [torch.tensor(each.astype(float)) for each in painter.numbered(range(6))]
        return mean_distance(torch.stack(pictures).permute(0, 3, 1, 2))

    assert variety(0.0) == 0
    assert 0 < variety(0.2) < 0.8 * variety(1.0)


def test_truncation_is_refused_where_it_changes_nothing(tmp_path):
    export_model(tmp_path, {"b": build_noise_generator(TINY, 32)}, to_yaml(noise_config()))
    with pytest.raises(UserError, match=r"generator\.norm instance undoes truncation"):
        NoisePainter.load(tmp_path, "cpu", truncation=0.5)


def test_a_grid_holds_pictures_row_by_row():
    pictures = [np.full((2, 2, 1), 10 * number, np.uint8) for number in range(1, 6)]
    assert grid(pictures)[::2, ::2, 0].tolist() == [[10, 20, 30], [40, 50, 0]]


def test_the_command_writes_pictures_a_grid_and_an_animation(model, tmp_path, capsys):
    arguments = ["generate", "--model", str(model), "--output", str(tmp_path), "--device", "cpu"]

    assert main([*arguments, "--count", "3", "--seed", "5", "--json"]) == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    names = ["00000.png", "00001.png", "00002.png", "grid.png"]
    assert told["outputs"] == [str(tmp_path / name) for name in names]
    assert (told["generated"], told["failed"]) == (3, [])
    assert told["images_per_second"] > 0
    assert read_image(tmp_path / "00002.png").shape == (32, 32, 3)

    assert main([*arguments, "--interpolate", "0", "2", "--frames", "5", "--seed", "5"]) == 0
    with Image.open(tmp_path / "00000-00002.gif") as animation:
        assert (animation.n_frames, animation.size) == (5, (32, 32))
        first = np.asarray(animation.convert("RGB")).astype(int)
    assert np.abs(first - read_image(tmp_path / "00000.png")).mean() < 8  # of 256 colours
    assert not (tmp_path / "00003.png").exists()


def test_pictures_of_others_are_not_mixed_with_new_ones(model, tmp_path, capsys, caplog):
    folder = tmp_path / "made"
    usual = ["generate", "--model", str(model), "--output", str(folder), "--device", "cpu"]
    assert main([*usual, "--count", "3", "--seed", "5"]) == 0
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    # The same model and seed: what lies there are its pictures.
    assert main([*usual, "--count", "2", "--seed", "5"]) == 0
    assert (folder / "00002.png").read_bytes() == before["00002.png"]
    capsys.readouterr()

    other = [*usual, "--count", "2", "--seed", "6"]
    assert main(other) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "holds 4 files, 00000.png to grid.png, made with seed 5 instead of 6" in line
    assert (folder / "00000.png").read_bytes() == before["00000.png"]

    assert main([*other, "--overwrite"]) == 0
    assert f"{folder} still holds 00002.png from before" in caplog.text
    assert (folder / "00000.png").read_bytes() != before["00000.png"]
    capsys.readouterr()
    assert main(other) == 2  # 00002.png is still there
    assert "made in a way it does not tell" in capsys.readouterr().err
    (folder / "00002.png").unlink()
    assert main([*other, "--overwrite"]) == 0
    assert main(other) == 0


def test_an_animation_as_mp4_begins_and_ends_with_the_pictures(model, tmp_path):
    av = pytest.importorskip("av")
    arguments = ["--model", str(model), "--output", str(tmp_path), "--device", "cpu"]
    assert main(["generate", *arguments, "--count", "2", "--interpolate", "1", "0",
                 "--frames", "6", "--format", "mp4"]) == 0  # fmt: skip
    with av.open(tmp_path / "00001-00000.mp4") as video:
        frames = [frame.to_ndarray(format="rgb24").astype(int) for frame in video.decode(video=0)]
    assert len(frames) == 6
    for frame, name in ((frames[0], "00001.png"), (frames[-1], "00000.png")):
        assert abs(frame.mean() - read_image(tmp_path / name).mean()) < 6


def test_what_cannot_be_written_is_named_and_counted(model, tmp_path, capsys):
    (tmp_path / "00001.png").mkdir()
    arguments = ["--model", str(model), "--output", str(tmp_path), "--device", "cpu", "--json"]

    assert main(["generate", *arguments, "--count", "2"]) == 1

    told = json.loads(capsys.readouterr().out)
    assert [failure["path"] for failure in told["failed"]] == [str(tmp_path / "00001.png")]
    assert told["generated"] == 1


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--count", "0"], "--count must be at least 1 without --interpolate"),
        (["--count", "-1"], "count"),
        (["--truncation", "1.5"], "--truncation must be 0 to 1, not 1.5"),
        (["--truncation", "nan"], "truncation"),
        (["--interpolate", "0", "1", "--frames", "1"], "--frames must be at least 2"),
        (["--interpolate", "3", "3"], "--interpolate: from 3 to 3 there is no way"),
        (["--interpolate", "0", "1", "--truncation", "0"], "--truncation must be above 0"),
        (["--device", "cuda:99"], "device"),
        (["--model", "no/such/model"], "no/such/model: no such file or folder"),
    ],
)
def test_bad_options_are_one_line(model, tmp_path, capsys, arguments, complaint):
    usual = ["generate", "--model", str(model), "--output", str(tmp_path)]
    assert main([*usual, *arguments]) == 2
    told = capsys.readouterr().err
    assert complaint in told
    assert told.count("\n") == 1


@pytest.mark.parametrize("command", [
    ["translate", "--input", "x.png", "--output", "o", "--model"],
    ["evaluate", "model", "--a", "x", "--b", "y", "--model"],
    ["export", "--onnx", "x.onnx"],
    ["convert"],
    ["serve", "--port", "0", "--model"],
])  # fmt: skip
def test_other_commands_refuse_a_model_of_noise_in_one_line(model, capsys, monkeypatch, command,
                                                            tmp_path):  # fmt: skip
    monkeypatch.chdir(tmp_path)
    make_pictures(tmp_path / "x", 2)
    make_pictures(tmp_path / "y", 2)
    (tmp_path / "x.png").write_bytes((tmp_path / "x" / "000.png").read_bytes())
    output = ["o"] if command == ["convert"] else []
    assert main([*command, str(model), *output]) == 2
    told = capsys.readouterr().err.splitlines()
    assert told[-1].startswith("error: ")
    assert told[-1].endswith("(task noise) and takes none: use cyclegan-style generate")


def test_its_file_alone_is_taken_by_generate_and_refused_by_the_others(model):
    file = model / "generator_b.safetensors"
    assert load_noise_generator(file).side == 32
    with pytest.raises(UserError, match="use cyclegan-style generate"):
        load_generator(file)


def test_generate_refuses_a_translator_in_one_line(tmp_path):
    export_model(tmp_path, build_generators(tiny_config()), to_yaml(tiny_config()))
    for model in (tmp_path, tmp_path / "generator_ab.safetensors"):
        with pytest.raises(UserError, match="translates pictures: use cyclegan-style translate"):
            load_noise_generator(model)


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"generator": {"architecture": "resnet"}}, "generator.architecture is 'resnet'"),
        ({"generator": {"norm": "odd"}}, "generator.norm is 'odd'"),
        ({"generator": {"upsampling": "subpixel"}}, "subpixel layers are for the resnet"),
        ({"generator": {"channels": 10**7}}, "does not fit"),
        ({"generator": {"latent": "many"}}, "no dcgan generator can be built"),
        ({"data": {"crop_size": 2**40}}, "pixels are not 4 doubled"),
        ({"data": {"crop_size": "large"}}, "no dcgan generator can be built"),
        ({"data": {"crop_size": 64}}, "does not fit"),
    ],
)
def test_a_folder_is_not_trusted(model, tmp_path, fields, complaint):
    values = yaml.safe_load((model / "config.yaml").read_text())
    for section, changed in fields.items():
        values[section] |= changed
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(values))
    save_file(load_file(model / "generator_b.safetensors"), tmp_path / "generator_b.safetensors")
    with pytest.raises(UserError, match=complaint):
        load_noise_generator(tmp_path)
