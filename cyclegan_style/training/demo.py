"""How well a model does on the demo domains, whose true translations are known."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from cyclegan_style.config import DataConfig
from cyclegan_style.config.directions import DIRECTIONS, Direction
from cyclegan_style.data.images import Pixels, read_image, to_pixels, to_tensor
from cyclegan_style.evaluation.paired import psnr, sharpness, ssim
from cyclegan_style.synthetic import DEMO_PARTNERS, DEMO_SPECS, Domain, demo_folder
from cyclegan_style.training.cyclegan import Generators
from cyclegan_style.training.samples import sheet, translate_each


@dataclass(frozen=True)
class KnownTranslations:
    """Test pictures of a direction's source with their true translations, C×H×W in [-1, 1]."""

    direction: Direction
    source: Domain
    target: Domain
    inputs: list[Tensor]
    truths: list[Tensor]

    @property
    def title(self) -> str:
        """The direction in words."""
        return f"{self.source} to {self.target}"


@dataclass(frozen=True)
class Score:
    """Closeness of translations to the truth; of PSNR and SSIM, which are means, more is better."""

    psnr: float
    """Peak signal-to-noise ratio in decibels."""
    ssim: float
    """Structural similarity, 1 for equal pictures."""
    sharpness: float
    """Energy of the gradients of all translations over that of the truth's; 1 is right."""


Scores = dict[str, dict[str, Score]]
"""By direction and method, where the true translations are known."""

METHOD_TITLES = {
    "model": "trained model",
    "color_statistics": "colour statistics transfer",
    "nothing": "doing nothing",
}


def partners(data: DataConfig) -> dict[str, Domain]:
    """The demo domains a and b, if each one's pictures are known in the other; else nothing."""
    domains = {
        name: DEMO_SPECS[spec]
        for name, spec in {"a": data.a, "b": data.b}.items()
        if spec in DEMO_SPECS
    }
    own_tests = not (data.test_a or data.test_b)
    known = own_tests and len(domains) == 2 and DEMO_PARTNERS[domains["a"]] == domains["b"]
    return domains if known else {}


def known_translations(
    data: DataConfig, directions: Sequence[Direction] = DIRECTIONS
) -> list[KnownTranslations]:
    """Test pairs of these directions, none unless the domains are partners of the demo."""
    domains = partners(data)
    if not domains:
        return []
    pairs = []
    for direction in directions:
        source, target = domains[direction.source], domains[direction.target]
        inputs, truths = (
            [to_tensor(read_image(path)) for path in sorted(demo_folder(source, split).iterdir())]
            for split in ("test", "truth")
        )
        pairs.append(KnownTranslations(direction, source, target, inputs, truths))
    return pairs


def score_model(generators: Generators, known: KnownTranslations) -> Score:
    """Closeness of the model's translations to the truth."""
    return score(translate_each(generators[known.direction.name], known.inputs), known)


def score_baselines(known: KnownTranslations) -> dict[str, Score]:
    """What doing nothing and a transfer of colour statistics reach."""
    return {
        "nothing": score(known.inputs, known),
        "color_statistics": score(transfer_color_statistics(known), known),
    }


def score(outputs: Sequence[Tensor], known: KnownTranslations) -> Score:
    """Closeness of outputs to the truth, both as the 8-bit pictures they would be saved as."""
    images, truths = _as_pictures(outputs), _as_pictures(known.truths)
    return Score(
        psnr(images, truths).mean().item(),
        ssim(images, truths).mean().item(),
        sharpness(images, truths).item(),
    )


def transfer_color_statistics(known: KnownTranslations) -> list[Tensor]:
    """Inputs shifted and scaled per channel to the mean and deviation of the true pictures.

    It is told the statistics of the very translations it is scored on, which no honest method
    knows, so it is the strongest of its kind.
    """
    return list(with_color_statistics(torch.stack(known.inputs), torch.stack(known.truths)))


def with_color_statistics(images: Tensor, wanted: Tensor) -> Tensor:
    """N×C×H×W images, all shifted and scaled alike, with others' mean and deviation per channel."""
    pixels = (0, 2, 3)
    scale = wanted.std(pixels, keepdim=True) / images.std(pixels, keepdim=True).clamp_min(1e-6)
    shifted = (images - images.mean(pixels, keepdim=True)) * scale
    return (shifted + wanted.mean(pixels, keepdim=True)).clamp(-1, 1)


def translation_strip(
    generators: Generators, known: Sequence[KnownTranslations], count: int
) -> Pixels:
    """Rows of input, translation and truth, the directions side by side."""
    columns: list[tuple[str, list[Pixels]]] = []
    for pairs in known:
        inputs, truths = pairs.inputs[:count], pairs.truths[:count]
        for title, images in (
            (pairs.source, inputs),
            ("translation", translate_each(generators[pairs.direction.name], inputs)),
            ("truth", truths),
        ):
            columns.append((title, [to_pixels(image) for image in images]))
    return sheet(columns)


def _as_pictures(images: Sequence[Tensor]) -> Tensor:
    """N×C×H×W in [0, 1], rounded to the 256 levels of a picture file."""
    return torch.stack([to_tensor(to_pixels(image)) for image in images]) / 2 + 0.5


def flat_scores(scores: Scores) -> dict[str, float]:
    """The model's scores under names such as ``psnr_ab``."""
    return {
        f"{name}_{direction}": value
        for direction, methods in scores.items()
        for name, value in asdict(methods["model"]).items()
    }


def score_table(scores: Scores) -> list[str]:
    """Lines of a table for people."""
    lines = []
    for direction, methods in scores.items():
        title = f"{' to '.join(direction.upper())} against the truth"
        lines.append(f"{title:<28}  PSNR    SSIM  Sharpness")
        lines += [
            f"  {METHOD_TITLES[name]:<26}{of.psnr:6.2f}  {of.ssim:6.3f}  {of.sharpness:9.3f}"
            for name, of in methods.items()
        ]
    return lines
