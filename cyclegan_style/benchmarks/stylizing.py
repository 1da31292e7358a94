"""A painting timed against the obvious loop on the same pictures, to the same loss.

The obvious loop is that of the tutorials: the same network and losses at the picture's full size,
Adam, float32, the picture clamped after every step, tensors in torch's usual order of memory. The
recipe paints to its end; then the loop paints until its picture is as good.

As good is meant in three ways. Where the network's grid lies over a picture changes its loss, and
what is painted at one place of the grid fits that place best. So a judge takes the mean over
several places, and decides about both pictures. Beside that, each is taken by its own word, the
loss of its last step wherever its grid was then; and both by the loop's, at the loop's only place.
"""

import copy
import statistics
import sys
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from cyclegan_style.benchmarks.timing import (
    device_name,
    in_own_process,
    own_peak_gigabytes,
    seconds_of,
)
from cyclegan_style.data.images import Pixels, read_image, resize, to_pixels, to_tensor
from cyclegan_style.errors import UserError
from cyclegan_style.features.trained import Layers
from cyclegan_style.stylizing.network import (
    NETWORKS,
    USUAL_CONTENT_LAYERS,
    USUAL_STYLE_LAYERS,
    painting_network,
)
from cyclegan_style.stylizing.objective import Objective, Style
from cyclegan_style.stylizing.painting import LEAST_SIDE, Moment, paint, scaled_size
from cyclegan_style.stylizing.place import GRID, Place
from cyclegan_style.stylizing.recipe import Recipe
from cyclegan_style.stylizing.stylizer import StyleSource, Stylizer
from cyclegan_style.synthetic import paint as paint_in_oil
from cyclegan_style.synthetic import render_photo
from cyclegan_style.system.hardware import choose_device

RATE = 0.02
"""Of the obvious loop's Adam: the best of 0.01, 0.02 and 0.05."""
STEPS_BETWEEN_JUDGEMENTS = 5
JUDGED_AT = (Place(0, 0), Place(GRID // 2, GRID // 2), Place(2, 6), Place(7, 3))
"""The first is where the loop's own grid lies."""


@dataclass(frozen=True)
class StylizingComparison:
    """Medians over paired runs, and what the last of them reached."""

    baseline_seconds: float
    """Until the judge finds the loop's picture as good as the recipe's."""
    seconds: float
    ratio: float
    reached: bool
    """If not, the loop was stopped before, and would have taken longer than it says."""
    ratio_by_own_losses: float
    """Until the loss of the loop's step is that of the recipe's last step."""
    own_loss_reached: bool
    ratio_by_loops_loss: float
    """Until the loss of the loop's step is what the recipe's picture has there."""
    loops_loss_reached: bool
    loss: float
    """The recipe's at its end, by the judge."""
    baseline_loss: float
    """The loop's when it stopped, by the judge."""
    own_loss: float
    """Of the recipe's last step."""
    baseline_own_loss: float
    """Of the loop's last step."""
    start_loss: float
    """Of the content, with which both begin, by the judge."""
    steps: int
    baseline_steps: int
    size: int
    device: str


@dataclass(frozen=True)
class PaintingAlone:
    """What the recipe takes in a process of its own."""

    seconds: float
    gigabytes_before: float
    """Of the process with its network, before it paints."""
    peak_gigabytes: float
    steps: int
    size: int
    device: str


@dataclass(frozen=True)
class Task:
    """What both ways are given."""

    content: Tensor
    style: Tensor
    recipe: Recipe
    network: Layers

    def objective(self, place: Place) -> Objective:
        """The losses with the network's grid at a place."""
        return self._objective(Objective, self.network, place)

    def plain_objective(self) -> Objective:
        """The losses of pictures as they are."""
        network = copy.deepcopy(self.network).to(memory_format=torch.contiguous_format)
        return self._objective(PlainObjective, network, None)

    def _objective(self, kind: type[Objective], network: Layers, place: Place | None) -> Objective:
        features = self.recipe.features
        return kind(
            network,
            NETWORKS[features].input,
            self.content,
            [Style(self.style)],
            USUAL_CONTENT_LAYERS[features],
            USUAL_STYLE_LAYERS[features],
            self.recipe,
            place,
        )


class PlainObjective(Objective):
    """The same losses, from activations in torch's usual order of memory."""

    def activations(self, picture: Tensor) -> dict[str, Tensor]:
        """Those of the layers that matter."""
        found: dict[str, Tensor] = self.network(self.needs.normalised(picture), self.layers)
        return found


class Judge:
    """The loss of a picture wherever the network's grid lies."""

    def __init__(self, task: Task) -> None:
        self.objectives = [task.objective(place) for place in JUDGED_AT]

    @torch.no_grad()
    def __call__(self, picture: Tensor) -> float:
        """Mean over the places."""
        losses = [objective(picture).total for objective in self.objectives]
        return float(torch.stack(losses).mean())


class Product:
    """The recipe, painted to its end."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.picture = task.content
        self.own_loss = float("inf")
        """Of the last step."""
        self.seconds = 0.0

    def run(self) -> None:
        """Paint."""
        features = self.task.recipe.features
        self.picture = paint(
            self.task.network,
            NETWORKS[features].input,
            self.task.content,
            [Style(self.task.style)],
            USUAL_CONTENT_LAYERS[features],
            USUAL_STYLE_LAYERS[features],
            self.task.recipe,
            self._note,
        )

    def _note(self, moment: Moment) -> None:
        self.own_loss = moment.total


@dataclass(frozen=True)
class Losses:
    """Of one picture, by all who are asked."""

    judged: float
    own: float
    loops: float


class Loop:
    """The obvious loop."""

    def __init__(self, task: Task, judge: Judge) -> None:
        self.judge = judge
        self.objective = task.plain_objective()
        self.picture = task.content.clone().requires_grad_()
        self.optimizer = torch.optim.Adam([self.picture], lr=RATE)
        self.steps = 0
        self.judged = self.own_loss = float("inf")
        self.seconds = 0.0
        """Of steps alone; the judge's do not count."""
        self.reached: dict[str, float] = {}
        """Seconds until each of the losses was as small as wanted."""

    def run(self, wanted: Losses, limit: float) -> None:
        """Paint until all losses are as small as wanted, or for ``limit`` seconds."""
        while self.seconds < limit and len(self.reached) < len(fields(wanted)):
            self.seconds += seconds_of(self.step)
            if self.steps % STEPS_BETWEEN_JUDGEMENTS == 0 and "judged" not in self.reached:
                self.judged = self.judge(self.picture.detach())
            found = Losses(self.judged, self.own_loss, self.own_loss)
            for name, loss in asdict(found).items():
                if loss <= getattr(wanted, name):
                    self.reached.setdefault(name, self.seconds)

    def step(self) -> None:
        """Paint a little."""
        self.optimizer.zero_grad()
        loss = self.objective(self.picture).total
        loss.backward()
        self.own_loss = float(loss.detach())
        self.optimizer.step()
        with torch.no_grad():
            self.picture.clamp_(-1, 1)
        self.steps += 1


def compare_stylizing(
    size: int, content: Path | None, style: Path | None, recipe: Recipe, limit: float, runs: int
) -> StylizingComparison:
    """Paint pictures of a size by the recipe, and until they are as good by the obvious loop.

    The loop gets ``limit`` times the recipe's seconds.
    """
    device = choose_device("auto")
    photo, painting = chosen_pictures(size, content, style)
    task = Task(photo.to(device), painting.to(device), recipe, painting_network(recipe, device))
    judge = Judge(task)
    warm_up(task, judge)
    pairs = [timed_pair(task, judge, limit) for _ in tqdm(range(runs), "pairs", file=sys.stderr)]
    product, loop = pairs[-1].product, pairs[-1].loop
    return StylizingComparison(
        baseline_seconds=statistics.median(pair.seconds_to("judged") for pair in pairs),
        seconds=statistics.median(pair.product.seconds for pair in pairs),
        ratio=statistics.median(pair.ratio("judged") for pair in pairs),
        reached=all("judged" in pair.loop.reached for pair in pairs),
        ratio_by_own_losses=statistics.median(pair.ratio("own") for pair in pairs),
        own_loss_reached=all("own" in pair.loop.reached for pair in pairs),
        ratio_by_loops_loss=statistics.median(pair.ratio("loops") for pair in pairs),
        loops_loss_reached=all("loops" in pair.loop.reached for pair in pairs),
        loss=judge(product.picture),
        baseline_loss=judge(loop.picture.detach()),
        own_loss=product.own_loss,
        baseline_own_loss=loop.own_loss,
        start_loss=judge(task.content),
        steps=recipe.steps,
        baseline_steps=loop.steps,
        size=size,
        device=device_name(),
    )


@dataclass(frozen=True)
class Pair:
    """Both ways, one after the other."""

    product: Product
    loop: Loop

    def seconds_to(self, loss: str) -> float:
        """The loop's until a loss was as small as the recipe's, or until it was stopped."""
        return self.loop.reached.get(loss, self.loop.seconds)

    def ratio(self, loss: str) -> float:
        """How many times the recipe's seconds that is."""
        return self.seconds_to(loss) / self.product.seconds


def timed_pair(task: Task, judge: Judge, limit: float) -> Pair:
    """Both ways; the loop gets ``limit`` times the recipe's seconds."""
    product, loop = Product(task), Loop(task, judge)
    product.seconds = seconds_of(product.run)
    with torch.no_grad():
        loops = float(loop.objective(product.picture).total)
    wanted = Losses(judge(product.picture), product.own_loss, loops)
    loop.run(wanted, limit * product.seconds)
    return Pair(product, loop)


def warm_up(task: Task, judge: Judge) -> None:
    """A step of either way at full size: the first of a process takes longer."""
    task.objective(JUDGED_AT[0])(task.content.clone().requires_grad_()).total.backward()
    Loop(task, judge).step()


def measure_painting(
    size: int, content: Path | None, style: Path | None, recipe: Recipe
) -> PaintingAlone:
    """Time and memory of one painting, with all that a process needs for it."""
    return in_own_process(paint_alone, size, content, style, recipe)


def paint_alone(
    size: int, content: Path | None, style: Path | None, recipe: Recipe
) -> PaintingAlone:
    """Paint as ``stylize`` does."""
    photo, painting = (to_pixels(each[0]) for each in chosen_pictures(size, content, style))
    stylizer = Stylizer(recipe)
    before = own_peak_gigabytes()
    seconds = seconds_of(lambda: stylizer.paint(photo, [StyleSource(painting)]))
    return PaintingAlone(seconds, before, own_peak_gigabytes(), recipe.steps, size, device_name())


def chosen_pictures(size: int, content: Path | None, style: Path | None) -> tuple[Tensor, Tensor]:
    """Content and style at a size, of files or of the demo."""
    if size < LEAST_SIDE:
        raise UserError(f"--size must be at least {LEAST_SIDE}, not {size}")
    photo, painting = demo_pictures()
    return (
        at_size(read_image(content) if content else photo, size),
        at_size(read_image(style) if style else painting, size),
    )


def demo_pictures() -> tuple[Pixels, Pixels]:
    """A photograph and a painting of something else."""
    return render_photo(0, 0), paint_in_oil(render_photo(0, 1))


def at_size(pixels: Pixels, size: int) -> Tensor:
    """A picture whose longest side has so many pixels, 1×3×H×W in [-1, 1]."""
    factor = size / max(pixels.shape[:2])
    return to_tensor(resize(pixels, scaled_size(pixels.shape[:2], factor)))[None]
