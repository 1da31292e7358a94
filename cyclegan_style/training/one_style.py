"""One step of a generator that paints any photograph in one pass (Johnson et al. 2016).

It is trained by a fixed network's features instead of discriminators: to keep a photograph's
content and take on a painting's style. Several paintings are several styles of one network.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from cyclegan_style.config import Config, with_values
from cyclegan_style.data.images import Pixels, to_pixels
from cyclegan_style.errors import UserError
from cyclegan_style.networks.styles import choose_styles
from cyclegan_style.stylizing.place import Place
from cyclegan_style.training.cyclegan import Generators, build_generators
from cyclegan_style.training.passes import Images
from cyclegan_style.training.samples import sheet, translate_each
from cyclegan_style.training.step import Losses, TrainingStep, means_of, total
from cyclegan_style.training.style_losses import StyleLosses, numbered_paintings, weights_of


class Painter(nn.Module):
    """What the optimiser updates: the generator, before the losses of its styles."""

    def __init__(self, generators: Generators, losses: StyleLosses) -> None:
        super().__init__()
        self.generators = generators
        self.losses = losses

    def forward(self, photos: Tensor, styles: Sequence[int], place: Place) -> Losses:
        """Losses of painting each photograph in the style of this number."""
        generator = self.generators["ab"]
        choose_styles(generator, one_hot(styles, len(self.losses.names), photos))
        return self.losses(generator(photos), photos, styles, place)


class OneStyleStep(TrainingStep):
    """A generator_ab that learns the styles of data.b."""

    def __init__(
        self, config: Config, accelerator: Accelerator, dtype: torch.dtype = torch.float32
    ) -> None:
        super().__init__(config, accelerator, dtype)
        self.seed = config.train.seed
        self.steps = 0
        torch.manual_seed(config.train.seed)
        self.generators = build_generators(config).to(**self.place)
        self.losses = StyleLosses(config, accelerator.device)
        painter = Painter(self.generators, self.losses)
        self._prepare_generators(config.train)
        self.wrapped_painter = accelerator.prepare_model(painter)
        self._add_optimizer("generator_optimizer", painter, config.optimizer)

    @property
    def trained(self) -> dict[str, nn.Module]:
        """The generator."""
        return {"generators": self.generators}

    def set_progress(self, share: float, steps: int) -> None:
        """Styles and the place of the features' grid follow from the number of steps alone."""
        self.steps = steps

    def learn(self, batches: Sequence[Images]) -> Losses:
        """Paint each photograph in the next style."""
        seed = np.random.SeedSequence([self.seed, self.steps]).generate_state(1)
        place, losses = Place.anywhere(torch.Generator().manual_seed(int(seed[0]))), []
        for index, batch in enumerate(batches):
            styles = self._styles_of(index, len(batches), len(batch["a"]))
            last = index == len(batches) - 1
            with self._gradient_exchange(self.wrapped_painter, last):
                losses.append(self.wrapped_painter(batch["a"], styles, place))
                self.accelerator.backward(total(losses[-1]) / len(batches))
        choose_styles(self.generators, None)  # only now: a backward pass may compute again
        self._update(self.generators, self.optimizers["generator_optimizer"])
        return means_of(losses)

    def _styles_of(self, index: int, batches: int, images: int) -> list[int]:
        """The style of each image of a batch: of all processes' images, each has the next."""
        processes, process = self.accelerator.num_processes, self.accelerator.process_index
        first = ((self.steps * batches + index) * processes + process) * images
        return [(first + number) % len(self.losses.names) for number in range(images)]

    def sample(self, tests: Mapping[str, Sequence[Tensor]]) -> Pixels:
        """The test photographs in every style, under the paintings' names."""
        generator = self.exported_generators["ab"]
        columns = [("A", [to_pixels(photo) for photo in tests["a"]])]
        for number, name in enumerate(self.losses.names):
            choose_styles(generator, one_hot([number], len(self.losses.names), tests["a"][0]))
            paintings = translate_each(generator, tests["a"])
            columns.append((f"{number + 1} {name}", [to_pixels(each) for each in paintings]))
        choose_styles(generator, None)
        return sheet(columns)


def one_hot(styles: Sequence[int], count: int, like: Tensor) -> Tensor:
    """All of the style of each picture and nothing of the others."""
    chosen = torch.tensor(styles, device=like.device)
    return torch.nn.functional.one_hot(chosen, count).to(like.dtype)


def with_styles(config: Config) -> Config:
    """With as many styles in the network as data.b has, where the task trains styles."""
    if config.task != "one_style":
        return config
    weights_of(config.style)  # a missing file is told, or fetched, before there is a run
    count = 1 if config.style.together else len(numbered_paintings(config)[1])
    if config.generator.styles not in (1, count):
        raise UserError(
            f"generator.styles: {count} are counted in data.b, not {config.generator.styles}: leave"
            " it out"
        )
    if count > 1 and config.generator.norm != "instance":
        raise UserError(
            f"generator.norm must be instance for the {count} styles of data.b; with style.together"
            " true they make one"
        )
    return with_values(config, {"generator.styles": count})
