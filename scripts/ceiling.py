"""How well a configuration's generators could translate the demo: trained on true pairs, by L1.

Takes what train takes, such as --config configs/demo.yaml --generator.channels 32. Pictures, steps,
schedule and moving average are the configuration's; what it says of discriminators and losses does
not count. Errors at the border of the pictures are told beside those inside, for
generator.padding.
"""

import sys
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from cyclegan_style.commands.train import parse_training_options
from cyclegan_style.config import Config
from cyclegan_style.data.images import read_image, to_tensor
from cyclegan_style.errors import UserError
from cyclegan_style.synthetic import DEMO_COUNTS, demo_folder
from cyclegan_style.training.average import MovingAverage
from cyclegan_style.training.cyclegan import Generators, build_generators
from cyclegan_style.training.demo import (
    Scores,
    known_translations,
    partners,
    score_baselines,
    score_model,
    score_table,
)
from cyclegan_style.training.samples import translate_each
from cyclegan_style.training.schedule import learning_rate
from cyclegan_style.training.step import build_optimizer

Pair = tuple[Tensor, Tensor]

BORDER = 8
"""Pixels from the edge of a picture that count as its border."""


def main(arguments: list[str]) -> int:
    """Train and print the scores."""
    try:
        _, config = parse_training_options(arguments)
        if not partners(config.data):
            raise UserError("data.a and data.b: true pairs are known of the demo's domains only")
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    generators = trained(config)
    print("\n".join(score_table(scores_of(generators, config)) + border_table(generators, config)))
    return 0


def trained(config: Config) -> Generators:
    """The average of both generators after their training."""
    torch.manual_seed(config.train.seed)
    if config.train.cpu_threads:
        torch.set_num_threads(config.train.cpu_threads)
    generators = build_generators(config)
    average = MovingAverage(generators, config.train.ema_decay, config.train.ema_warmup)
    optimizer = build_optimizer(generators, config.optimizer)
    pictures = DEMO_COUNTS["train"]
    epochs = config.train.epochs + config.train.decay_epochs
    steps = config.train.steps or epochs * pictures
    pairs = cropped_pairs(config, pictures)
    for step in tqdm(range(steps), "true pairs", disable=None):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(config.optimizer, config.train, epochs * step / steps)
        a, b = next(pairs)
        loss = F.l1_loss(generators["ab"](a), b) + F.l1_loss(generators["ba"](b), a)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        average.update(generators)
    return average.module


def cropped_pairs(config: Config, pictures: int) -> Iterator[Pair]:
    """Batches of the same crop of a picture and of its true translation, mirrored or not."""
    pairs = read_pairs(config, pictures)
    (height, width), batch_size = config.data.crop, config.train.batch_size
    while True:
        batch = []
        for place in torch.randint(len(pairs), (batch_size,)).tolist():
            both = torch.stack(pairs[place])
            top = int(torch.randint(both.shape[2] - height + 1, ()))
            left = int(torch.randint(both.shape[3] - width + 1, ()))
            crop = both[:, :, top : top + height, left : left + width]
            batch.append(crop.flip(3) if torch.rand(()) < 0.5 else crop)
        a, b = torch.stack(batch, dim=1)
        yield a, b


def read_pairs(config: Config, count: int) -> list[Pair]:
    """True pairs of the domains, none of which is a test picture."""
    domain = partners(config.data)["a"]
    tests = DEMO_COUNTS["test"]
    folders = (demo_folder(domain, split, count=tests + count) for split in ("test", "truth"))
    a, b = (
        [to_tensor(read_image(path)) for path in sorted(folder.iterdir())[tests:]]
        for folder in folders
    )
    return list(zip(a, b, strict=True))


def scores_of(generators: Generators, config: Config) -> Scores:
    """Closeness to the truth on the test pictures, beside what needs no training."""
    return {
        known.direction.name: {"model": score_model(generators, known), **score_baselines(known)}
        for known in known_translations(config.data)
    }


def border_table(generators: Generators, config: Config) -> list[str]:
    """Lines of a table of mean absolute errors, of pixels from 0 to 255."""
    lines = [f"{'Mean absolute error of 255':<28}  Outer {BORDER}  Inside  Ratio"]
    for known in known_translations(config.data):
        outputs = translate_each(generators[known.direction.name], known.inputs)
        outer, inside = errors_at_border_and_inside(outputs, known.truths)
        lines.append(f"  {known.title:<26}{outer:9.2f}{inside:8.2f}{outer / inside:7.3f}")
    return lines


def errors_at_border_and_inside(
    outputs: Sequence[Tensor], truths: Sequence[Tensor]
) -> tuple[float, float]:
    """Mean absolute errors of the outer pixels and of all others, of C×H×W in [-1, 1]."""
    errors = (torch.stack(list(outputs)) - torch.stack(list(truths))).abs() * 127.5
    outer = torch.ones(errors.shape[2:], dtype=torch.bool)
    outer[BORDER:-BORDER, BORDER:-BORDER] = False
    return errors[..., outer].mean().item(), errors[..., ~outer].mean().item()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
