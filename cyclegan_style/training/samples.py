"""Pictures that show what the generators do."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from cyclegan_style.config.directions import DIRECTIONS
from cyclegan_style.data.images import Pixels, to_pillow, to_pixels
from cyclegan_style.data.levels import viewed
from cyclegan_style.training.cyclegan import Generators

MARGIN = 4
HEADER = 20
PAPER = (255, 255, 255)
INK = (60, 60, 60)


@torch.no_grad()
def translate_each(network: torch.nn.Module, images: Sequence[Tensor]) -> list[Tensor]:
    """Outputs for C×H×W images of any sizes, on the CPU, with dropout and the like at rest."""
    device = next(network.parameters()).device
    was_training = network.training
    network.eval()
    try:
        return [network(image[None].to(device))[0].float().cpu() for image in images]
    finally:
        network.train(was_training)


def sample_sheet(
    generators: Generators,
    tests: Mapping[str, Sequence[Tensor]],
    channels: Mapping[str, Sequence[int] | None],
) -> Pixels:
    """Rows of test images: input, translation, reconstruction and identity, both ways.

    What a generator that is not trained would show is left out. Of each domain some ``channels``
    are shown, or all.
    """
    columns: list[tuple[str, list[Pixels]]] = []
    for name, source, target, reverse in DIRECTIONS:
        inputs = list(tests[source])
        shown = [(source, source.upper(), inputs)]
        if name in generators:
            fakes = translate_each(generators[name], inputs)
            shown.append((target, f"{source.upper()} to {target.upper()}", fakes))
            if reverse in generators:
                shown.append((source, "and back", translate_each(generators[reverse], fakes)))
        if reverse in generators and inputs[0].shape[0] == tests[target][0].shape[0]:
            kept = translate_each(generators[reverse], inputs)
            shown.append((source, f"{source.upper()} kept", kept))
        columns += [
            (title, [viewed(to_pixels(image), channels[domain]) for image in images])
            for domain, title, images in shown
        ]
    return sheet(columns)


def sheet(columns: Sequence[tuple[str, Sequence[Pixels]]]) -> Pixels:
    """Titled columns of pictures on white paper."""
    widths = [max(image.shape[1] for image in images) for _, images in columns]
    row_count = max(len(images) for _, images in columns)
    heights = [
        max(images[row].shape[0] for _, images in columns if row < len(images))
        for row in range(row_count)
    ]
    size = (
        sum(widths) + MARGIN * (len(widths) + 1),
        HEADER + sum(heights) + MARGIN * (len(heights) + 1),
    )
    paper = Image.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(paper)
    font = ImageFont.load_default(13)
    left = MARGIN
    for (title, images), width in zip(columns, widths, strict=True):
        draw.text((left + 2, MARGIN), title, fill=INK, font=font)
        top = HEADER + MARGIN
        for image, height in zip(images, heights, strict=False):
            paper.paste(to_pillow(image).convert("RGB"), (left, top))
            top += height + MARGIN
        left += width + MARGIN
    return np.asarray(paper)
