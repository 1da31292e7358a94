"""Perceptual distances equal those of the package that the authors publish."""

import json
from copy import deepcopy
from pathlib import Path

import lpips
import numpy as np
import pytest
import torch
from lpips_weights import distance_of_files, random_lpips, write_alexnet
from tiny import make_pictures
from torch import Tensor

from cyclegan_style.commands.main import main
from cyclegan_style.errors import UserError
from cyclegan_style.evaluation import lpips as ours
from cyclegan_style.evaluation.lpips import (
    LINEAR,
    PerceptualDistance,
    find_lpips,
    load_lpips,
)
from cyclegan_style.features.alexnet import ALEXNET
from cyclegan_style.system.whole_files import checksum

pytestmark = pytest.mark.numeric


@pytest.fixture(scope="module")
def theirs() -> lpips.LPIPS:
    return random_lpips()


@pytest.fixture(scope="module")
def alexnet_file(theirs, tmp_path_factory) -> Path:
    return write_alexnet(theirs, tmp_path_factory.mktemp("lpips") / "alexnet.pth")


@pytest.fixture(scope="module")
def own(alexnet_file) -> PerceptualDistance:
    return load_lpips(find_lpips(alexnet_file))


def random_images(count: int, height: int, width: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(height)
    first, second = torch.rand(2, count, 3, height, width, generator=generator) * 2 - 1
    second[0] = 0.9 * first[0] + 0.1 * second[0]
    return first, second


@pytest.mark.parametrize("size", [(64, 64), (ALEXNET.input.smallest, 90), (113, 78)])
def test_distances_are_those_of_the_package(theirs, own, size):
    images = [batch.double() for batch in random_images(3, *size)]

    with torch.no_grad():
        expected = deepcopy(theirs).double()(*images).flatten()
        found = deepcopy(own).double()(*images)

    assert expected.std() > 1e-4  # or every distance would do
    assert (found - expected).abs().max() < 1e-10 * expected.max()


def test_an_image_is_at_no_distance_from_itself(own):
    image, _ = random_images(1, 40, 40)

    assert own(image, image).item() == 0


def test_smaller_images_leave_nothing_to_compare(own):
    with pytest.raises(RuntimeError):
        own(*random_images(1, ALEXNET.input.smallest - 1, 90))


def test_files_are_found_in_the_cache_of_torch_hub(theirs, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    folder = tmp_path / "hub" / "checkpoints"
    file = write_alexnet(theirs, folder / ALEXNET.weights.names[0])
    package = Path(lpips.__file__).parent / "weights" / "v0.1" / "alex.pth"
    assert find_lpips() == (file, package)

    monkeypatch.setattr(ours.importlib.util, "find_spec", lambda name: None)
    (folder / LINEAR.names[1]).write_bytes(package.read_bytes())
    assert find_lpips() == (file, folder / LINEAR.names[1])


@pytest.mark.parametrize("missing", [ALEXNET.weights, LINEAR])
def test_without_network_one_line_says_which_file_goes_where(
    theirs, tmp_path, monkeypatch, missing
):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:1")
    monkeypatch.setattr(ours.importlib.util, "find_spec", lambda name: None)
    folder = tmp_path / "hub" / "checkpoints"
    if missing is LINEAR:
        write_alexnet(theirs, folder / ALEXNET.weights.names[0])
    with pytest.raises(UserError) as caught:
        find_lpips()

    or_else = "pip install lpips" if missing is LINEAR else "name it with --lpips-weights"
    assert f"put {missing.names[0]} into {folder} or {or_else}" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_other_files_are_refused(alexnet_file, tmp_path):
    alexnet_file, linear = find_lpips(alexnet_file)
    with pytest.raises(UserError, match=r"alex\.pth: not the weights of torchvision's AlexNet"):
        load_lpips((linear, linear))
    with pytest.raises(UserError, match="not the weights of LPIPS"):
        load_lpips((alexnet_file, alexnet_file))
    damaged = torch.load(alexnet_file) | {"features.3.bias": torch.full((192,), torch.nan)}
    torch.save(damaged, tmp_path / "damaged.pth")
    with pytest.raises(UserError, match=r"features\.3\.bias is not finite"):
        load_lpips((tmp_path / "damaged.pth", linear))


def test_pairs_of_files(theirs, alexnet_file, tmp_path, capsys):
    pictures = make_pictures(tmp_path / "truth", 3, 40, 48, seed=1)
    others = make_pictures(tmp_path / "fake", 3, 40, 48, seed=2)
    arguments = ["evaluate", "paired", "--truth", str(pictures), "--fake", str(others), "--json"]
    weights = ["--lpips-weights", str(alexnet_file)]
    assert main([*arguments, "--metrics", "lpips,psnr", *weights]) == 0

    scores = json.loads(capsys.readouterr().out)
    names = [path.name for path in pictures.iterdir()]
    expected = [distance_of_files(theirs, pictures / name, others / name) for name in names]
    assert scores["lpips"] == pytest.approx(np.mean(expected), rel=1e-5)  # in float32
    low, high = scores["lpips_interval"]
    assert low < scores["lpips"] < high
    assert scores["lpips_weights"].split()[0] == checksum(alexnet_file)
    assert "ssim" not in scores

    make_pictures(others, 1, 30, 48)
    make_pictures(pictures, 1, 30, 48)
    assert main([*arguments, "--metrics", "lpips", *weights]) == 1
    assert "lpips needs 31 × 31" in json.loads(capsys.readouterr().out)["failed"][0]["error"]
    assert main([*arguments, "--metrics", "dists"]) == 2
    assert "not dists, but psnr" in capsys.readouterr().err
