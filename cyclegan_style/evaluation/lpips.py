"""How different two images look: LPIPS of Zhang et al. 2018, version 0.1 with AlexNet."""

import importlib.util
from pathlib import Path

import torch
from torch import Tensor, nn

from cyclegan_style.data.images import Pixels, to_tensor
from cyclegan_style.features.alexnet import ALEXNET, CHANNELS
from cyclegan_style.features.trained import Layers
from cyclegan_style.features.weights import Published, built_from, find_weights
from cyclegan_style.system.whole_files import checksum

LINEAR = Published(
    "LPIPS weights",
    ("alex.pth", "LPIPS_v0.1_alex-df73285e.pth"),
    "https://raw.githubusercontent.com/richzhang/PerceptualSimilarity/master/lpips/weights/v0.1/alex.pth",
    "df73285e35b22355a2df87cdb6b70b343713b667eddbda73e1977e0c860835c0",
    "BSD-2-Clause",
    "pip install lpips, which brings it along",
)


class PerceptualDistance(nn.Module):
    """Distance of the activations of some layers, eq. 1 of the paper, by weights of channels."""

    def __init__(self, features: Layers, weights: dict[str, Tensor], smallest: int) -> None:
        super().__init__()
        self.features = features
        self.names = tuple(weights)
        self.smallest = smallest
        """Side in pixels below which nothing is left for the deepest layer."""
        for name, weight in weights.items():
            self.register_buffer(f"weight_{name}", weight)
        self.register_buffer("mean", torch.tensor([-0.030, -0.088, -0.188]).view(1, 3, 1, 1))
        self.register_buffer("deviation", torch.tensor([0.458, 0.448, 0.450]).view(1, 3, 1, 1))

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Distance of each image, N×3×H×W in [-1, 1], to its counterpart."""
        images = torch.cat([first, second])
        images = (images - self.get_buffer("mean")) / self.get_buffer("deviation")
        distances = images.new_zeros(len(first))
        for name, activations in self.features(images, self.names).items():
            x, y = _unit_length(activations).chunk(2)
            weighted = (x - y).square() * self.get_buffer(f"weight_{name}")
            distances = distances + weighted.sum(1).mean((1, 2))
        return distances

    @torch.inference_mode()
    def of_pixels(self, first: Pixels, second: Pixels) -> float:
        """Distance of two RGB pictures of one size."""
        device = self.get_buffer("mean").device
        x, y = (to_tensor(pixels)[None].to(device) for pixels in (first, second))
        return float(self(x, y))


def find_lpips(file: Path | None = None, option: str = "--lpips-weights") -> tuple[Path, Path]:
    """Files of AlexNet and of the weights of its layers' channels."""
    alexnet_file = ALEXNET.find(file, option)
    return alexnet_file, find_weights(LINEAR, _of_installed_package())


def load_lpips(files: tuple[Path, Path]) -> PerceptualDistance:
    """The network with the weights of these files, at rest."""
    features = ALEXNET.load(files[0])
    weights = built_from(files[1], _channel_weights, "LPIPS 0.1 with AlexNet")
    distance = PerceptualDistance(features, weights, ALEXNET.input.smallest)
    return distance.eval().requires_grad_(False)


def lpips_hash(files: tuple[Path, Path]) -> str:
    """SHA-256 of both files, AlexNet's first."""
    return " ".join(checksum(file) for file in files)


def _of_installed_package() -> Path | None:
    """The package that the authors publish holds the small one of the files."""
    package = importlib.util.find_spec("lpips")
    for folder in (package and package.submodule_search_locations) or ():
        file = Path(folder) / "weights" / "v0.1" / LINEAR.names[0]
        if file.is_file():
            return file
    return None


def _channel_weights(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {
        name: state[f"lin{index}.model.1.weight"].float().view(1, channels, 1, 1)
        for index, (name, channels) in enumerate(zip(ALEXNET.layers, CHANNELS, strict=True))
    }


def _unit_length(activations: Tensor) -> Tensor:
    length = activations.square().sum(1, keepdim=True).sqrt()
    return activations / (length + 1e-10)
