"""Exported graphs compute what the model computes, at sizes they were not traced with."""

import json
import sys
from collections.abc import Callable
from copy import deepcopy
from functools import cache
from pathlib import Path

import onnx
import onnxruntime
import pytest
import torch
from tiny import enlarge_weights, make_pictures, stray
from torch import Tensor

from cyclegan_style.commands.main import main
from cyclegan_style.config import GeneratorConfig, model_yaml
from cyclegan_style.errors import UserError
from cyclegan_style.models import graph_files
from cyclegan_style.models.export import export_model
from cyclegan_style.models.graph_files import (
    METADATA_FILE,
    GraphCheck,
    write_onnx,
    write_torch_export,
)
from cyclegan_style.models.model_files import LoadedGenerator, load_generator
from cyclegan_style.networks import build_generator

pytestmark = pytest.mark.numeric

GENERATORS = {
    "resnet": (GeneratorConfig(channels=4, blocks=1, dropout=True), 3, 3),
    "unet": (GeneratorConfig("unet", channels=2, levels=5, dropout=True), 1, 3),
}
OTHER_LAYERS = {
    "unet, resampled": GeneratorConfig(
        "unet",
        channels=1,
        levels=5,
        upsampling="nearest",
        downsampling="blurred",
        first_kernel=2,
        last_kernel=7,
        skip=True,
    ),
    "unet, full size": GeneratorConfig(
        "unet",
        channels=1,
        levels=5,
        upsampling="bilinear",
        first_kernel=8,
        last_kernel=5,
        skip=True,
        full_size_channels=2,
    ),
    "resnet, resampled": GeneratorConfig(
        channels=2, blocks=0, upsampling="bilinear", downsampling="blurred", skip=True
    ),
    "residual_unet, group": GeneratorConfig(
        "residual_unet",
        channels=2,
        levels=5,
        norm="group",
        first_kernel=6,
        last_kernel=2,
        skip=True,
    ),
    "resnet, demodulated and padded": GeneratorConfig(
        channels=2, blocks=1, norm="demodulated", padding="zero", first_kernel=15, last_kernel=1
    ),
    "resnet, unshuffled, attention": GeneratorConfig(
        channels=2, blocks=0, upsampling="subpixel", downsampling="unshuffled", attention=True
    ),
    "resnet, attention": GeneratorConfig(channels=2, blocks=0, attention=True),
    "unet, padded": GeneratorConfig(
        "unet", channels=1, levels=5, upsampling="bilinear", padding="reflect"
    ),
}
WRITTEN = [
    pytest.param("unet, resampled", "onnx", marks=pytest.mark.slow),
    pytest.param("residual_unet, group", "onnx", marks=pytest.mark.slow),
    pytest.param("resnet, demodulated and padded", "onnx", marks=pytest.mark.slow),
    pytest.param("resnet, attention", "onnx", marks=pytest.mark.slow),
    pytest.param("unet, full size", "onnx", marks=pytest.mark.slow),
    pytest.param("unet, padded", "onnx", marks=pytest.mark.slow),
    ("unet, full size", "pt2"),
    pytest.param("resnet, resampled", "pt2", marks=pytest.mark.slow),
    pytest.param("residual_unet, group", "pt2", marks=pytest.mark.slow),
    ("resnet, demodulated and padded", "pt2"),
    ("resnet, unshuffled, attention", "pt2"),
    pytest.param("resnet, attention", "pt2", marks=pytest.mark.slow),
]
SMALLEST = (GeneratorConfig(channels=2, blocks=0), 3, 3)
# Batch, height and width in multiples of the divisor; the file's own check has other sizes.
SIZES = {"resnet": [(3, 2, 9), (1, 13, 2), (2, 3, 3)], "unet": [(3, 1, 2), (1, 3, 1), (2, 1, 1)]}


def generator(config: GeneratorConfig, *channels: int) -> LoadedGenerator:
    network = build_generator(config, *channels).eval()
    enlarge_weights(network)
    return LoadedGenerator(network.requires_grad_(False), config, *channels, "ba")


def open_onnx(path: Path) -> Callable[[Tensor], Tensor]:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda image: torch.from_numpy(session.run(None, {"image": image.numpy()})[0])


def open_torch_export(path: Path) -> Callable[[Tensor], Tensor]:
    return torch.export.load(path).module()


FORMATS = {"onnx": (write_onnx, open_onnx), "pt2": (write_torch_export, open_torch_export)}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A generator in a format, written once: the model, its file and what was said of it."""
    folder = tmp_path_factory.mktemp("graphs")

    @cache
    def write_once(name: str, ending: str) -> tuple[LoadedGenerator, Path, GraphCheck]:
        model = generator(*GENERATORS[name])
        path = folder / name / f"model.{ending}"
        return model, path, FORMATS[ending][0](model, path)

    return write_once


@pytest.mark.parametrize(
    ("name", "ending"),
    [
        ("unet", "onnx"),
        ("unet", "pt2"),
        # The other layers' test has resnets in pt2, the command's one in ONNX.
        pytest.param("resnet", "pt2", marks=pytest.mark.slow),
        pytest.param("resnet", "onnx", marks=pytest.mark.slow),
    ],
)
def test_a_written_graph_computes_what_the_generator_does(written, name, ending):
    model, path, check = written(name, ending)
    assert check.path == str(path)
    assert 0 <= check.largest_error <= graph_files.TOLERANCE
    translate = FORMATS[ending][1](path)
    divisor = 4 if model.config.architecture == "resnet" else 32
    for batch, rows, columns in SIZES[model.config.architecture]:
        image = torch.rand(batch, model.in_channels, rows * divisor, columns * divisor) * 2 - 1
        expected = model.network(image)
        assert expected.std() > 0.1
        exact = deepcopy(model.network).double()(image.double())
        assert stray(translate(image), exact) < 5 * stray(expected, exact)
    assert {file.name for file in path.parent.iterdir()} <= {"model.onnx", "model.pt2"}


@pytest.mark.parametrize(("name", "ending"), WRITTEN)
def test_other_layers_are_written_too(name, ending, tmp_path):
    write, read = FORMATS[ending]
    model = generator(OTHER_LAYERS[name], 3, 3)
    assert write(model, tmp_path / f"model.{ending}").largest_error < graph_files.TOLERANCE
    image = torch.rand(2, 3, 96, 32) * 2 - 1
    expected = model.network(image)
    assert expected.std() > 0.1
    exact = deepcopy(model.network).double()(image.double())
    translation = read(tmp_path / f"model.{ending}")(image)
    assert stray(translation, exact) < 5 * stray(expected, exact)


def test_files_tell_what_they_take(written):
    read = onnx.load(written("unet", "onnx")[1])
    onnx.checker.check_model(read, full_check=True)
    extra = {METADATA_FILE: ""}
    torch.export.load(written("unet", "pt2")[1], extra_files=extra)
    told = {entry.key: entry.value for entry in read.metadata_props}
    assert json.loads(extra[METADATA_FILE]) == told
    assert (told["direction"], told["size_divisor"], told["smallest_side"]) == ("ba", "32", "32")
    shape = read.graph.input[0].type.tensor_type.shape.dim
    taken = [dim.dim_param or dim.dim_value for dim in shape]
    assert taken == ["batch", 1, "32*height", "32*width"]


def test_a_graph_that_differs_is_not_written(tmp_path, monkeypatch):
    monkeypatch.setattr(graph_files, "TOLERANCE", -1.0)
    path = tmp_path / "model.pt2"
    path.write_bytes(b"what was there before")

    with pytest.raises(UserError, match="not written, since its output differs"):
        write_torch_export(generator(*SMALLEST), path)

    assert path.read_bytes() == b"what was there before"
    assert list(tmp_path.iterdir()) == [path]


def test_weights_that_are_not_numbers_are_noticed(tmp_path):
    model = generator(*SMALLEST)
    model.network.model[1].weight[0, 0, 0, 0] = float("nan")
    with pytest.raises(UserError, match="nan"):
        write_torch_export(model, tmp_path / "model.pt2")


def test_a_path_that_cannot_be_written_costs_one_line(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UserError, match="cannot be written"):
        write_torch_export(generator(*SMALLEST), tmp_path / "file" / "model.pt2")


def test_a_missing_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(
        UserError, match=r"onnxruntime is not .*pip install 'cyclegan-style\[onnx\]'"
    ):
        write_onnx(generator(*SMALLEST), tmp_path / "model.onnx")


@pytest.fixture
def folder(tmp_path):
    config = GeneratorConfig(channels=2, blocks=1, norm="batch")
    networks = {"ab": build_generator(config, 3, 1), "ba": build_generator(config, 1, 3)}
    export_model(tmp_path / "model", networks, model_yaml(config, 3, 1))
    return tmp_path / "model"


def test_the_command_writes_everything_at_once(folder, tmp_path, capfd):
    options = ["--direction", "ba", "--onnx", str(tmp_path / "a.onnx")]
    options += ["--folder", str(tmp_path / "copy")]

    assert main(["export", str(folder), *options, "--json"]) == 0

    (line,) = capfd.readouterr().out.splitlines()  # also of what torch prints
    told = json.loads(line)
    assert told["onnx"]["path"] == str(tmp_path / "a.onnx")
    assert told["onnx"]["largest_error"] <= graph_files.TOLERANCE
    assert told["onnx"]["sizes"][0] == [1, 1, 8, 8]
    assert [Path(path).parent.name for path in told["folder"]] == 3 * ["copy"]
    image = torch.rand(1, 1, 16, 8) * 2 - 1
    network = load_generator(tmp_path / "copy", "ba").network
    expected = network(image)
    assert torch.equal(expected, load_generator(folder, "ba").network(image))
    exact = network.double()(image.double())
    assert stray(open_onnx(tmp_path / "a.onnx")(image), exact) < 5 * stray(expected, exact)


def test_one_reference_file_becomes_a_folder_of_one_direction(tmp_path, capsys):
    network = build_generator(GeneratorConfig(channels=2, blocks=1), 1, 3)
    torch.save(network.state_dict(), tmp_path / "latest_net_G_B.pth")

    arguments = [str(tmp_path / "latest_net_G_B.pth"), "--folder", str(tmp_path / "ours")]
    assert main(["export", *arguments]) == 0

    assert len(capsys.readouterr().out.splitlines()) == 2
    loaded = load_generator(tmp_path / "ours", "ba")
    assert (loaded.in_channels, loaded.out_channels) == (1, 3)
    picture = make_pictures(tmp_path / "pictures", 1, channels=1)
    options = ["--input", str(picture), "--output", str(tmp_path / "out")]
    assert main(["translate", "--model", str(tmp_path / "ours"), *options]) == 0
    other = ["--onnx", str(tmp_path / "x.onnx"), "--direction", "ab"]
    assert main(["export", str(tmp_path / "ours"), *other]) == 2
    assert "this model translates B to A only" in capsys.readouterr().err


def test_nothing_to_write_is_told(folder, capsys):
    assert main(["export", str(folder)]) == 2
    assert "--onnx" in capsys.readouterr().err
