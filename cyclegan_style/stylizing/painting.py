"""The picture found by optimisation, from coarse to fine."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from cyclegan_style.features.trained import Input, Layers
from cyclegan_style.stylizing.objective import Losses, Objective, Style
from cyclegan_style.stylizing.place import Place
from cyclegan_style.stylizing.recipe import LayerWeights, Recipe

SMALLEST_SIDE = 64
"""In pixels, of the coarsest scale."""
LEAST_SIDE = 32
"""In pixels, of anything that the network is shown; narrower pictures are widened to it."""
STEPS_PER_PLACE = 20
"""After so many steps the network's grid is laid elsewhere over the picture."""


@dataclass(frozen=True)
class Moment:
    """Where the painting stands."""

    step: int
    """From 1 on, over all scales."""
    steps: int
    height: int
    width: int
    content: float
    style: float
    variation: float
    picture: Tensor
    """The 1×3×H×W picture that these are the losses of, in [-1, 1] or a little beyond."""

    @property
    def total(self) -> float:
        """What is minimised."""
        return self.content + self.style + self.variation


Watch = Callable[[Moment], None]
"""Is told of every step."""


class NotFiniteError(Exception):
    """The losses are no numbers any more; ``picture`` is the last that had some."""

    def __init__(self, step: int, picture: Tensor) -> None:
        super().__init__(f"step {step}: the loss is not finite")
        self.step = step
        self.picture = picture


class Record:
    """Counts steps, tells of them, and keeps the last picture whose losses were numbers."""

    def __init__(self, steps: int, watch: Watch) -> None:
        self.steps = steps
        self.watch = watch
        self.step = 0
        self.good: Tensor | None = None

    def note(self, losses: Losses, picture: Tensor) -> None:
        """Take in a step; raise NotFiniteError if its losses are no numbers."""
        self.step += 1
        content, style, variation = torch.stack(
            [losses.content, losses.style, losses.variation]
        ).tolist()
        if not all(map(math.isfinite, (content, style, variation))):
            raise NotFiniteError(self.step, picture if self.good is None else self.good)
        self.good = picture.clone()
        height, width = picture.shape[2:]
        self.watch(
            Moment(self.step, self.steps, height, width, content, style, variation, self.good)
        )


def paint(
    network: Layers,
    needs: Input,
    content: Tensor,
    styles: Sequence[Style],
    content_layers: LayerWeights,
    style_layers: LayerWeights,
    recipe: Recipe,
    watch: Watch,
) -> Tensor:
    """The content in the styles, 1×3×H×W in [-1, 1]; everything lies on the network's device."""
    chance = torch.Generator().manual_seed(recipe.seed)
    record = Record(recipe.steps, watch)
    picture: Tensor | None = None
    shares = shares_of_steps(recipe.steps, recipe.scales or usual_scales(*content.shape[2:]))
    for finer, steps in reversed(list(enumerate(reversed(shares)))):
        factor = 0.5**finer
        coarse = scaled(content, factor)
        coarse_styles = [scaled_style(style, factor) for style in styles]
        if picture is None:
            picture = beginning(recipe, coarse, coarse_styles[0].picture, chance)
        picture = resized(picture, coarse.shape[2:])
        for count in portions(steps):
            place = Place.anywhere(chance)
            objective = Objective(
                network, needs, coarse, coarse_styles, content_layers, style_layers, recipe, place
            )
            picture = descend(picture, objective, recipe, count, record)
    assert picture is not None
    return picture


def descend(
    start: Tensor, objective: Objective, recipe: Recipe, steps: int, record: Record
) -> Tensor:
    """A better picture than the one to start from."""
    picture = start.clone().requires_grad_()
    optimizer = build_optimizer(picture, recipe)

    def losses() -> float:
        optimizer.zero_grad()
        found = objective(picture)
        found.total.backward()
        record.note(found, picture.detach())
        return float(found.total.detach())

    for _ in range(steps):
        optimizer.step(losses)
    better = picture.detach()
    if not better.isfinite().all():
        raise NotFiniteError(record.step, start if record.good is None else record.good)
    return better.clamp(-1, 1)


def build_optimizer(picture: Tensor, recipe: Recipe) -> torch.optim.Optimizer:
    """Which evaluates the losses once a step."""
    if recipe.optimizer == "adam":
        return torch.optim.Adam([picture], lr=recipe.learning_rate or 0.02)
    return torch.optim.LBFGS([picture], lr=recipe.learning_rate or 1.0, max_iter=1, history_size=10)


def usual_scales(height: int, width: int) -> int:
    """As many halvings as leave the shorter side SMALLEST_SIDE pixels, and the picture itself."""
    return 1 + max(0, int(math.log2(min(height, width) / SMALLEST_SIDE)))


def shares_of_steps(steps: int, scales: int) -> list[int]:
    """Steps of every scale from coarse to fine, each about 0.7 of the last; the finest has one."""
    weights = [2 ** (index / 2) for index in range(scales)]  # from fine to coarse
    ends = [
        math.ceil(steps * sum(weights[: index + 1]) / sum(weights) - 1e-9)
        for index in range(scales)
    ]
    return [end - begin for begin, end in zip([0, *ends], ends, strict=False)][::-1]


def portions(steps: int) -> Iterator[int]:
    """The steps, about STEPS_PER_PLACE at a time."""
    count = max(1, round(steps / STEPS_PER_PLACE))
    for index in range(count):
        if share := steps * (index + 1) // count - steps * index // count:
            yield share


def beginning(recipe: Recipe, content: Tensor, style: Tensor, chance: torch.Generator) -> Tensor:
    """What the coarsest scale begins with, of the content's size."""
    match recipe.start:
        case "content":
            return content
        case "style":
            return resized(style, content.shape[2:])
        case "noise":
            noise = torch.randn(content.shape, generator=chance).to(content)
            return (0.5 * noise).clamp(-1, 1)


def scaled_style(style: Style, factor: float) -> Style:
    """The style for a coarser scale."""
    region = None if style.region is None else scaled(style.region, factor).clamp(0, 1)
    return replace(style, picture=scaled(style.picture, factor), region=region)


def scaled(picture: Tensor, factor: float) -> Tensor:
    """A picture of that many times its sides."""
    return resized(picture, scaled_size(picture.shape[2:], factor))


def scaled_size(size: Sequence[int], factor: float) -> tuple[int, int]:
    """That many times height and width, which stay large enough for the network."""
    height, width = (max(LEAST_SIDE, round(side * factor)) for side in size)
    return height, width


def resized(picture: Tensor, size: Sequence[int]) -> Tensor:
    """Bicubic and antialiased, within [-1, 1]."""
    if tuple(picture.shape[2:]) == tuple(size):
        return picture
    return F.interpolate(
        picture, tuple(size), mode="bicubic", align_corners=False, antialias=True
    ).clamp(-1, 1)
