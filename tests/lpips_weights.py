"""The package lpips with a random AlexNet, and the same weights in a file."""

from pathlib import Path

import lpips
import numpy as np
import torch
from PIL import Image


def random_lpips() -> lpips.LPIPS:
    """A random AlexNet with the published weights of its channels."""
    torch.manual_seed(5)
    return lpips.LPIPS(net="alex", pnet_rand=True, verbose=False)


def write_alexnet(network: lpips.LPIPS, path: Path) -> Path:
    """Its convolutions under torchvision's names, beside a classifier that is of no use here."""
    state = {
        f"features.{key.partition('.')[2]}": tensor
        for key, tensor in network.net.state_dict().items()
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(state | {"classifier.1.weight": torch.zeros(2, 2)}, path)
    return path


def distance_of_files(network: lpips.LPIPS, first: Path, second: Path) -> float:
    """As the package's own script computes it."""
    with torch.no_grad():
        images = [lpips.im2tensor(np.asarray(Image.open(path))) for path in (first, second)]
        return network(*images).item()
