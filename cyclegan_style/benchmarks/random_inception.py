"""Random weights for the FID Inception that let it behave like the trained one."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from cyclegan_style.data.images import Pixels
from cyclegan_style.features.inception import Inception


def random_inception(pictures: Sequence[Pixels], seed: int = 2015) -> dict[str, Tensor]:
    """The whole file's tensors: convolutions of mixed gains, and norms that saw these pictures.

    Without the norms' statistics activations would vanish or explode from layer to layer.
    """
    generator = torch.Generator().manual_seed(seed)
    network = Inception()
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            gain = (2 / module.weight[0].numel()) ** 0.5
            gain *= 0.5 + 0.5 * torch.rand((), generator=generator).item()
            weight = torch.randn(module.weight.shape, generator=generator) * gain
            module.weight = nn.Parameter(weight)
        elif isinstance(module, nn.BatchNorm2d):
            spread = torch.rand(module.num_features, generator=generator)
            module.weight = nn.Parameter(0.8 + 0.4 * spread)
            module.bias = nn.Parameter(
                0.7 + 0.3 * torch.randn(module.num_features, generator=generator)
            )
            module.momentum = 1.0
    batch = np.stack(pictures).transpose(0, 3, 1, 2).astype(np.float32)
    with torch.no_grad():
        network.train()(torch.from_numpy(batch) / 127.5 - 1)
    classifier = {"fc.weight": torch.zeros(1008, 2048), "fc.bias": torch.zeros(1008)}
    return {name: tensor.detach() for name, tensor in network.state_dict().items()} | classifier
