"""Perceptual distances equal those of the package that the authors publish."""

from pathlib import Path

import lpips
import pytest
import torch
from torch import Tensor

from cyclegan_style.errors import UserError
from cyclegan_style.evaluation import lpips as ours
from cyclegan_style.evaluation.lpips import (
    ALEXNET,
    LINEAR,
    SMALLEST,
    PerceptualDistance,
    find_lpips,
    load_lpips,
)


def write_alexnet(network: lpips.LPIPS, path: Path) -> Path:
    """Its convolutions under torchvision's names, beside a classifier that is of no use here."""
    state = {
        f"features.{key.partition('.')[2]}": tensor
        for key, tensor in network.net.state_dict().items()
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(state | {"classifier.1.weight": torch.zeros(2, 2)}, path)
    return path


@pytest.fixture(scope="module")
def networks(tmp_path_factory) -> tuple[lpips.LPIPS, PerceptualDistance]:
    """Theirs and ours with the same random AlexNet and the published weights of its channels."""
    torch.manual_seed(5)
    theirs = lpips.LPIPS(net="alex", pnet_rand=True, verbose=False)
    file = write_alexnet(theirs, tmp_path_factory.mktemp("lpips") / "alexnet.pth")
    return theirs, load_lpips(find_lpips(file))


def random_images(count: int, height: int, width: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(height)
    first, second = torch.rand(2, count, 3, height, width, generator=generator) * 2 - 1
    second[0] = 0.9 * first[0] + 0.1 * second[0]
    return first, second


@pytest.mark.parametrize("size", [(64, 64), (SMALLEST, 90), (113, 78)])
def test_distances_are_those_of_the_package(networks, size):
    images = random_images(3, *size)
    theirs, own = networks

    with torch.no_grad():
        expected = theirs(*images).flatten()
        found = own(*images)

    assert expected.std() > 1e-4  # or every distance would do
    assert (found - expected).abs().max() < 1e-5 * expected.max()


def test_an_image_is_at_no_distance_from_itself(networks):
    image, _ = random_images(1, 40, 40)

    assert networks[1](image, image).item() == 0


def test_smaller_images_leave_nothing_to_compare(networks):
    with pytest.raises(RuntimeError):
        networks[1](*random_images(1, SMALLEST - 1, 90))


def test_files_are_found_in_the_cache_of_torch_hub(networks, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    folder = tmp_path / "hub" / "checkpoints"
    file = write_alexnet(networks[0], folder / ALEXNET.names[0])
    package = Path(lpips.__file__).parent / "weights" / "v0.1" / "alex.pth"
    assert find_lpips() == (file, package)

    monkeypatch.setattr(ours.importlib.util, "find_spec", lambda name: None)
    (folder / LINEAR.names[1]).write_bytes(package.read_bytes())
    assert find_lpips() == (file, folder / LINEAR.names[1])


@pytest.mark.parametrize("missing", [ALEXNET, LINEAR])
def test_without_network_one_line_says_which_file_goes_where(
    networks, tmp_path, monkeypatch, missing
):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:1")
    monkeypatch.setattr(ours.importlib.util, "find_spec", lambda name: None)
    folder = tmp_path / "hub" / "checkpoints"
    if missing is LINEAR:
        write_alexnet(networks[0], folder / ALEXNET.names[0])
    with pytest.raises(UserError) as caught:
        find_lpips()

    assert f"put {missing.names[0]} into {folder} or {missing.or_else}" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_other_files_are_refused(networks, tmp_path):
    alexnet_file, linear = find_lpips(write_alexnet(networks[0], tmp_path / "alexnet.pth"))
    with pytest.raises(UserError, match=r"alex\.pth: not the weights of torchvision's AlexNet"):
        load_lpips((linear, linear))
    with pytest.raises(UserError, match="not the weights of LPIPS"):
        load_lpips((alexnet_file, alexnet_file))
