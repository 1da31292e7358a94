"""Networks trained by others: found, checked, and equal to torchvision's modules."""

import hashlib

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torchvision import models

from cyclegan_style.errors import UserError
from cyclegan_style.features.alexnet import ALEXNET
from cyclegan_style.features.dinov2 import DINOV2
from cyclegan_style.features.inception import INCEPTION
from cyclegan_style.features.squeezenet import SQUEEZENET
from cyclegan_style.features.trained import layers_of_torchvision
from cyclegan_style.features.vgg import VGG19

pytestmark = pytest.mark.numeric

ALL = (SQUEEZENET, VGG19, INCEPTION, ALEXNET, DINOV2)


def images(side: int = 75) -> Tensor:
    return torch.rand(2, 3, side, side + 22, generator=torch.Generator().manual_seed(side)) * 2 - 1


def test_shipped_weights_are_the_ones_that_were_checked():
    path = SQUEEZENET.find()

    assert hashlib.sha256(path.read_bytes()).hexdigest() == SQUEEZENET.weights.sha256
    assert path.with_suffix(".md").is_file()


def test_squeezenet_is_torchvisions():
    path = SQUEEZENET.find()
    whole = models.squeezenet1_1(weights=None).features
    whole.load_state_dict({name: tensor.float() for name, tensor in load_file(path).items()})
    normalised = SQUEEZENET.input.normalised(images())

    with torch.no_grad():
        found = SQUEEZENET.load(path)(normalised)
        expected = whole(normalised)

    assert tuple(found) == SQUEEZENET.layers
    assert torch.allclose(found["fire9"], expected, rtol=0, atol=1e-5 * expected.abs().max())
    assert found["conv1"].shape[1:] == (64, 37, 48)
    assert found["fire5"].shape[1] == 256


@pytest.mark.parametrize(("network", "build"), [(VGG19, models.vgg19), (ALEXNET, models.alexnet)])
def test_networks_that_are_downloaded_are_torchvisions(network, build, tmp_path):
    torch.manual_seed(1)
    # Of the classifier, which is large and of no use, a part will do.
    with torch.device("meta"):
        whole = build(weights=None).eval()
    for layer in whole.features.to_empty(device="cpu"):
        if isinstance(layer, torch.nn.Conv2d):
            layer.reset_parameters()
    kept = {name: t for name, t in whole.state_dict().items() if name.startswith("features.")}
    path = tmp_path / "weights.pth"
    torch.save(kept | {"classifier.6.bias": torch.zeros(1000)}, path)
    normalised = network.input.normalised(images(64))

    with torch.no_grad():
        found = network.load(path)(normalised)
        activations, expected = normalised, []
        for layer in whole.features:
            activations = layer(activations)
            if isinstance(layer, torch.nn.ReLU):
                expected.append(activations)

    assert tuple(found) == network.layers
    for ours, theirs in zip(found.values(), expected, strict=True):
        assert torch.allclose(ours, theirs, rtol=0, atol=1e-5 * theirs.abs().max())


def test_nothing_is_computed_beyond_what_is_asked_for():
    network = SQUEEZENET.load(SQUEEZENET.find())
    asked = []
    network.row[6].register_forward_hook(lambda *_: asked.append("fire4"))

    found = network(images(), ("fire3", "conv1"))

    assert set(found) == {"fire3", "conv1"}
    assert not asked


@pytest.mark.parametrize("network", ALL, ids=lambda network: network.name)
def test_pictures_are_normalised_as_the_network_was_trained(network):
    black, white = -torch.ones(1, 3, 2, 2), torch.ones(1, 3, 2, 2)
    mean, deviation = (
        torch.tensor(each).view(3, 1, 1) for each in (network.input.mean, network.input.deviation)
    )

    assert torch.allclose(
        network.input.normalised(black), (0 - mean).expand(1, 3, 2, 2) / deviation
    )
    assert torch.allclose(
        network.input.normalised(white), (1 - mean).expand(1, 3, 2, 2) / deviation
    )
    assert network.layers
    assert network.weights.licence


@pytest.mark.parametrize("network", (SQUEEZENET, VGG19, ALEXNET), ids=lambda each: each.name)
def test_smallest_picture(network):
    state = {name: torch.zeros(tensor.shape) for name, tensor in _shapes(network).items()}
    row, side = network.build(state), network.input.smallest

    assert list(row(torch.zeros(1, 3, side, side))) == list(network.layers)


def _shapes(network) -> dict[str, Tensor]:
    build = {
        SQUEEZENET: models.squeezenet1_1,
        VGG19: models.vgg19,
        ALEXNET: models.alexnet,
    }[network]
    with torch.device("meta"):
        return dict(build(weights=None).features.state_dict())


def test_weights_of_another_network_are_told_by_what_they_lack(tmp_path):
    path = tmp_path / "other.safetensors"
    save_file({"1.weight": torch.zeros(2)}, path)
    with pytest.raises(
        UserError, match=r"not the weights of SqueezeNet 1.1 \(0\.weight is missing"
    ):
        SQUEEZENET.load(path)
    save_file({"features.0.weight": torch.zeros(2, 3)}, path)
    with pytest.raises(UserError, match=r"features\.0\.weight is 2×3 and not 64×3×3×3"):
        SQUEEZENET.load(path)


def test_without_the_shipped_file_one_line_says_so(tmp_path, monkeypatch):
    from cyclegan_style.features import weights

    monkeypatch.setattr(weights, "SHIPPED_FOLDER", tmp_path)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(UserError, match="install the package again"):
        SQUEEZENET.find()


def test_layers_end_at_the_last_that_has_a_name():
    whole = models.squeezenet1_1(weights=None)
    row = layers_of_torchvision(
        lambda: models.squeezenet1_1(weights=None), whole.state_dict(), {"conv1": 1}
    )

    assert len(row.row) == 2
