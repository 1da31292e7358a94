"""A loss by which each place of a translation must tell its own place of the input from others.

PatchNCE of Park et al. (2020) in both directions, as in DCLGAN (Han et al., 2021): generator_ab's
encoder looks at the input and generator_ba's at the translation, and small projections, one for
each layer of each domain's encoder, map what they see to vectors that are compared. One-sided, as
in CUT (Park et al., 2020), generator_ab's encoder and its projections look at both.
"""

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cyclegan_style.config import Size
from cyclegan_style.networks.encoders import encoder_activations
from cyclegan_style.training.losses import patch_nce

WIDTH = 256
"""Length of the vectors."""
PLACES = 256
"""Places of a picture that are compared, drawn anew at each layer, or all where there are fewer."""
LEAST_LENGTH = 1e-4
"""Of a projection that is divided by it; what first weights make of anything is far longer."""


class Projections(nn.ModuleDict):
    """``projections["a"]``: a two-layer perceptron for each layer that A's encoder shows."""

    def __init__(self, channels: Mapping[str, Sequence[int]]) -> None:
        super().__init__(
            {
                domain: nn.ModuleList(build_projection(count) for count in counts)
                for domain, counts in channels.items()
            }
        )
        self.look: Callable[[nn.Module, Tensor], list[Tensor]] = encoder_activations
        """How encoders look at pictures; those in training may keep less of what they see."""

    def forward(
        self, domain: str, activations: Sequence[Tensor], places: Sequence[Tensor]
    ) -> list[Tensor]:
        """Map N×C×h×w activations of each layer to N×P×256 vectors of length 1."""
        projections = self.get_submodule(domain).children()
        return [
            unit_length(project(found.flatten(2)[:, :, chosen].transpose(1, 2)))
            for project, found, chosen in zip(projections, activations, places, strict=True)
        ]


def unit_length(vectors: Tensor) -> Tensor:
    """Vectors along the last axis, divided by their length.

    At first those of places whose activations are all 0 are 0 themselves. In fp16, the usual bound
    of lengths would be 0, and gradients by one much smaller than this would be infinite.
    """
    exact = torch.promote_types(vectors.dtype, torch.float32)
    return F.normalize(vectors.to(exact), dim=-1, eps=LEAST_LENGTH)


def build_projection(channels: int) -> nn.Sequential:
    """Weights from N(0, 0.02) and biases 0, as everywhere else."""
    layers = nn.Linear(channels, WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH)
    for layer in layers:
        if isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, 0.0, 0.02)
            nn.init.zeros_(layer.bias)
    return nn.Sequential(*layers)


def build_projections(encoders: Mapping[str, tuple[nn.Module, int]], size: Size) -> Projections:
    """Fresh projections for the generator that encodes each domain, given with its channels."""
    return Projections(
        {
            domain: channels_of_layers(network, channels, size)
            for domain, (network, channels) in encoders.items()
        }
    )


def channels_of_layers(network: nn.Module, channels: int, size: Size) -> list[int]:
    """Channels of the layers that a generator's encoder shows."""
    on_paper = deepcopy(network).to("meta", torch.float32)
    image = torch.empty(1, channels, *size, device="meta")
    return [found.shape[1] for found in encoder_activations(on_paper, image)]


def contrastive(
    projections: Projections,
    source: tuple[str, nn.Module, Tensor],
    target: tuple[str, nn.Module, Tensor],
) -> Tensor:
    """The mean over layers; both sides are the domain of an encoder, the encoder and pictures.

    As in the papers' code, the input's vectors are given and the translation's are to find them:
    each projection is trained where its domain's encoder looks at translations.
    """
    domain, encoder, images = source
    # Not under no_grad, where autocast would keep copies of weights through which no gradient goes.
    wanted = [found.detach() for found in projections.look(encoder, images)]
    places = [random_places(found) for found in wanted]
    keys = [vectors.detach() for vectors in projections(domain, wanted, places)]
    domain, encoder, images = target
    queries = projections(domain, projections.look(encoder, images), places)
    return torch.stack([patch_nce(*pair) for pair in zip(queries, keys, strict=True)]).mean()


def random_places(activations: Tensor) -> Tensor:
    """Numbers of places without repetition, from torch's random generator, which is saved."""
    height, width = activations.shape[2:]
    return torch.randperm(height * width, device=activations.device)[:PLACES]
