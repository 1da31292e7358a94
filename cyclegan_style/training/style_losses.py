"""What photographs painted in the styles of paintings are trained by (Johnson et al. 2016)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from cyclegan_style.config import Config, StyleConfig
from cyclegan_style.data.images import ImageError, resize, to_tensor
from cyclegan_style.data.listing import DomainError, open_pictures
from cyclegan_style.data.pictures import Pictures
from cyclegan_style.data.training_data import spread
from cyclegan_style.stylizing.losses import StyleLoss, squared_difference, total_variation
from cyclegan_style.stylizing.network import (
    NETWORKS,
    USUAL_CONTENT_LAYERS,
    USUAL_STYLE_LAYERS,
    painting_network,
)
from cyclegan_style.stylizing.objective import STRENGTH, build_style_loss, common_scale
from cyclegan_style.stylizing.place import Place
from cyclegan_style.stylizing.recipe import Recipe

Activations = Mapping[str, Tensor]


@dataclass(frozen=True)
class Painting:
    """A picture with a style."""

    name: str
    picture: Tensor
    """1×3×H×W in [-1, 1]."""


class StyleLosses:
    """Judges translations by frozen features; no module, so that these are trained by nobody."""

    def __init__(self, config: Config, device: torch.device) -> None:
        style = config.style
        self.style = style
        recipe = recipe_of(style, config.train.seed)
        self.needs = NETWORKS[style.features].input
        self.network = painting_network(recipe, device)
        self.content_layers = USUAL_CONTENT_LAYERS[style.features]
        self.style_layers = USUAL_STYLE_LAYERS[style.features]
        self.layers = tuple(dict.fromkeys((*self.content_layers, *self.style_layers)))
        self.strength = STRENGTH[style.loss]
        paintings = paintings_of(config)
        groups = [paintings] if style.together else [[each] for each in paintings]
        self.names = ["all"] if style.together else [each.name for each in paintings]
        found = [self._together([each.picture.to(device) for each in group]) for group in groups]
        # Layers differ by orders of magnitude, and all are to have a say.
        self.scales = {name: common_scale([each[name] for each in found]) for name in self.layers}
        chance = torch.Generator().manual_seed(config.train.seed)
        self.targets: list[dict[str, StyleLoss]] = [
            {
                name: build_style_loss(recipe, each[name] / self.scales[name], chance)
                for name in self.style_layers
            }
            for each in found
        ]

    def __call__(
        self, fakes: Tensor, photos: Tensor, styles: Sequence[int], place: Place
    ) -> dict[str, Tensor]:
        """Weighted losses of N×3×H×W translations into the style of each.

        The network's grid lies at a place that is meant to change from step to step, or it would
        leave a pattern.
        """
        with torch.no_grad():
            wanted = self._activations(photos, place)
        found = self._activations(fakes, place)
        # Squares of sums of squares leave the range and the precision of 16 bits.
        with torch.autocast(fakes.device.type, enabled=False):
            content = sum(
                weight * squared_difference(self._scaled(found, name), self._scaled(wanted, name))
                for name, weight in self.content_layers.items()
            )
            of_style = [
                weight * self.targets[style][name](self._scaled(found, name)[number, None])
                for number, style in enumerate(styles)
                for name, weight in self.style_layers.items()
            ]
            strength = self.style.style_weight * self.strength / len(styles)
            losses = {
                "content_ab": self.style.content_weight * torch.as_tensor(content),
                "style_ab": strength * torch.stack(of_style).sum(),
            }
            if self.style.variation_weight:
                variation = total_variation(fakes.float())
                losses["variation_ab"] = self.style.variation_weight * variation
            return losses

    def _scaled(self, activations: Activations, name: str) -> Tensor:
        return activations[name].float() / self.scales[name]

    def _activations(self, pictures: Tensor, place: Place) -> dict[str, Tensor]:
        """Those of the layers that matter, of pictures that are mirrored beyond their borders."""
        surrounded = self.needs.normalised(place.around(pictures))
        ordered = surrounded.contiguous(memory_format=torch.channels_last)
        found: Activations = self.network(ordered, self.layers)
        size = pictures.shape[2:]
        return {name: place.inside(each, size) for name, each in found.items()}

    @torch.no_grad()
    def _together(self, pictures: Sequence[Tensor]) -> dict[str, Tensor]:
        """Activations at all places of all pictures, side by side: 1×C×1×places."""
        each = [self._activations(picture, Place(0, 0)) for picture in pictures]
        return {
            name: torch.cat([found[name].flatten(2) for found in each], dim=2)[:, :, None]
            for name in self.layers
        }


def recipe_of(style: StyleConfig, seed: int) -> Recipe:
    """The recipe of a single painting that has the same features and losses."""
    return Recipe(style.features, weights_of(style), style_loss=style.loss, seed=seed)


def weights_of(style: StyleConfig) -> Path:
    """The file of the features' network: the given one, or what there is or is to be downloaded."""
    given = None if style.weights is None else Path(style.weights).expanduser()
    return NETWORKS[style.features].find(given, "style.weights")


def paintings_of(config: Config) -> list[Painting]:
    """What is painted like, its shorter side brought to the size of training."""
    side = min(config.data.load) * config.style.scale
    pictures, numbers = numbered_paintings(config)
    return [
        Painting(pictures.name(number).stem, _picture(pictures, number, side)) for number in numbers
    ]


def numbered_paintings(config: Config) -> tuple[Pictures, list[int]]:
    """Pictures of data.b, and the numbers of as many of them as are asked for."""
    pictures = open_pictures(str(config.data.b), "train", "data.b")
    return pictures, spread(range(len(pictures)), config.style.paintings)


def _picture(pictures: Pictures, number: int, shorter_side: float) -> Tensor:
    try:
        pixels = pictures.read(number, 3)
    except ImageError as error:
        name = pictures.name(number)
        raise DomainError.about("data.b", name, f"{error}; mend or remove it") from None
    factor = shorter_side / min(pixels.shape[:2])
    height, width = (max(1, round(side * factor)) for side in pixels.shape[:2])
    return to_tensor(resize(pixels, (height, width)))[None]
