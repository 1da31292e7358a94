"""How well a configuration's generators could translate the demo: trained on true pairs, by L1.

Takes what train takes, such as --config configs/demo.yaml --generator.channels 32. Pictures, steps,
schedule and moving average are the configuration's; what it says of discriminators and losses does
not count. The run lies beside the configuration's, as runs/demo-ceiling. Errors at the border of
the pictures are told beside those inside, for generator.padding.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from cyclegan_style.commands.train import parse_training_options
from cyclegan_style.config import (
    Config,
    DiscriminatorConfig,
    EvaluationConfig,
    LossConfig,
)
from cyclegan_style.errors import UserError
from cyclegan_style.models.model_files import load_generators
from cyclegan_style.training.demo import known_translations, partners
from cyclegan_style.training.samples import translate_each
from cyclegan_style.training.trainer import train

BORDER = 8
"""Pixels from the edge of a picture that count as its border."""


def main(arguments: list[str]) -> int:
    """Train and print the scores."""
    try:
        _, config = parse_training_options(arguments)
        if not partners(config.data):
            raise UserError("data.a and data.b: true pairs are known of the demo's domains only")
        run = train(by_pairs_alone(config)).run  # which tells the scores
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    generators = {name: loaded.network for name, loaded in load_generators(run).items()}
    print("\n".join(border_table(generators, config)))
    return 0


def by_pairs_alone(config: Config) -> Config:
    """The same generators, schedule and pictures, with nothing to learn but true pairs."""
    pairs = str(config.data.a), str(config.data.b)
    pairs_alone = LossConfig(
        paired=1.0, adversarial_weight=0.0, cycle_a=0.0, cycle_b=0.0, identity_a=0.0, identity_b=0.0
    )
    return replace(
        config,
        run=replace(config.run, dir=f"{config.run.dir}-ceiling"),
        data=replace(config.data, pairs=pairs),
        loss=pairs_alone,
        discriminator=DiscriminatorConfig(),
        train=replace(config.train, one_sided=False, identity_steps=0),
        evaluation=EvaluationConfig(),
    )


def border_table(generators: Mapping[str, nn.Module], config: Config) -> list[str]:
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
