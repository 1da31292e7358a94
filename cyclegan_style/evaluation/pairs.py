"""Scores of pictures whose truth is known: ``fake/x.png`` against ``truth/x.png``."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from accelerate import PartialState
from accelerate.utils import gather_object
from torch import Tensor

from cyclegan_style.data.deep_files import is_deep, read_stored
from cyclegan_style.data.images import ImageError, Pixels, read_image, to_tensor
from cyclegan_style.data.levels import Range, with_channels
from cyclegan_style.data.pairs import images_by_name
from cyclegan_style.errors import UserError
from cyclegan_style.evaluation.collect import exact_products
from cyclegan_style.evaluation.distances import distances_for
from cyclegan_style.evaluation.intervals import mean_interval, terms_of_ratio
from cyclegan_style.evaluation.paired import gradient_energy, psnr, ssim
from cyclegan_style.evaluation.scores import refuse_unknown
from cyclegan_style.synthetic import DEMO_PARTNERS, DEMO_SPECS, demo_folder
from cyclegan_style.system.processes import main_process_first

METRICS = ("psnr", "ssim", "sharpness", "lpips", "squeezenet_distance")
TRUE_ENERGY = "true_energy"
"""What the energies of the pictures' gradients are divided by for their sharpness."""


@dataclass(frozen=True)
class Measure:
    """How a picture is compared with another."""

    of_pixels: Callable[[Pixels, Pixels], float]
    smallest: int
    """Side in pixels that both must have."""
    of_colours: bool = False
    """Whether it needs three channels."""


@dataclass(frozen=True)
class PairedScores:
    """Scores of every pair; more is better, but for the distances.

    Sharpness, of which 1 is right, is a ratio of sums: its values are terms with that mean.
    """

    values: dict[str, list[float]]
    failed: list[ImageError]
    unpaired: int
    lpips_weights: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Means as one JSON object; the PSNR of equal pictures is infinite, shown as null."""
        facts: dict[str, Any] = {}
        for name, listed in self.values.items():
            values = np.array(listed)
            mean = float(values.mean())
            facts[name] = mean if np.isfinite(mean) else None
            interval = mean_interval(values)
            if interval is not None:
                facts[f"{name}_interval"] = list(interval)
        facts |= {"n": len(next(iter(self.values.values()))), "unpaired": self.unpaired}
        if self.lpips_weights is not None:
            facts["lpips_weights"] = self.lpips_weights
        return facts | {"failed": [{"path": str(e.path), "error": e.reason} for e in self.failed]}


def evaluate_pairs(
    truth: str,
    fake: str,
    metrics: Sequence[str] = ("psnr", "ssim"),
    lpips_weights: Path | None = None,
    values_range: Range | None = None,
) -> PairedScores:
    """Scores of fakes against the truth of the same name, whatever the format.

    The truth ``demo:painting`` is the paintings of the demo's test photographs, and so on. Files
    of 16 bits and arrays are compared with all bits, those of floats by a range of values.
    """
    refuse_unknown(metrics, METRICS)
    if truth in DEMO_SPECS:
        source = DEMO_PARTNERS[DEMO_SPECS[truth]]
        truth = str(main_process_first(lambda: demo_folder(source, "truth")))
    truths = images_by_name(truth, "test", "--truth")
    fakes = images_by_name(fake, "test", "--fake")
    common = sorted(truths.keys() & fakes.keys())
    if not common:
        raise UserError(f"--fake: {fake}: no picture there has the name of one in {truth}")
    measures = {
        "psnr": Measure(_psnr, 1),
        "ssim": Measure(_ssim, 11),
        "sharpness": Measure(lambda found, _: _energy(found), 1),
    }
    distances = distances_for(metrics, lpips_weights)
    measures |= {
        name: Measure(network.of_pixels, network.smallest, of_colours=True)
        for name, network in distances.networks.items()
    }
    chosen = {metric: measures[metric] for metric in metrics}
    if "sharpness" in chosen:
        chosen[TRUE_ENERGY] = Measure(lambda _, wanted: _energy(wanted), 1)
    pairs = [(truths[name], fakes[name]) for name in common]
    compared = _shared_out(pairs, chosen, values_range)
    failed = [outcome for outcome in compared if isinstance(outcome, ImageError)]
    scored = [outcome for outcome in compared if not isinstance(outcome, ImageError)]
    if not scored:
        raise UserError(f"--fake: {fake}: no pair could be compared, such as {failed[0]}")
    values = {metric: [scores[metric] for scores in scored] for metric in metrics}
    if "sharpness" in values:
        true_energies = np.array([scores[TRUE_ENERGY] for scores in scored])
        terms = terms_of_ratio(np.array(values["sharpness"]), true_energies)
        values["sharpness"] = terms.tolist()
    return PairedScores(values, failed, len(truths.keys() ^ fakes.keys()), distances.lpips_weights)


def _shared_out(
    pairs: Sequence[tuple[Path, Path]],
    measures: dict[str, Measure],
    values_range: Range | None,
) -> list[dict[str, float] | ImageError]:
    """What became of each pair; under accelerate every process compares its share of them."""
    state = PartialState()
    own: list[tuple[int, dict[str, float] | ImageError]] = []
    with exact_products():
        for index in range(state.process_index, len(pairs), state.num_processes):
            try:
                own.append((index, _compare(*pairs[index], measures, values_range)))
            except ImageError as error:
                own.append((index, error))
    everyone = sorted(gather_object(own), key=lambda indexed: indexed[0])
    return [outcome for _, outcome in everyone]


def _compare(
    truth: Path, fake: Path, measures: dict[str, Measure], values_range: Range | None
) -> dict[str, float]:
    if values_range is None and not any(map(is_deep, (truth, fake))):
        wanted, found = read_image(truth), read_image(fake)
    else:
        wanted, found = _levels(truth, values_range), _levels(fake, values_range)
    if wanted.shape[2] != found.shape[2]:
        both = " and the truth ".join(str(p.shape[2]) for p in (found, wanted))
        raise ImageError(fake, f"it has {both} channels")
    if wanted.shape != found.shape:
        sizes = " and the truth ".join(f"{p.shape[1]} × {p.shape[0]}" for p in (found, wanted))
        raise ImageError(fake, f"it is {sizes} pixels")
    for metric, measure in measures.items():
        side = measure.smallest
        if min(wanted.shape[:2]) < side:
            raise ImageError(fake, f"{metric} needs {side} × {side} pixels")
        if measure.of_colours and wanted.shape[2] != 3:
            raise ImageError(fake, f"{metric} needs 3 channels, not {wanted.shape[2]}")
    return {metric: measure.of_pixels(found, wanted) for metric, measure in measures.items()}


def _levels(path: Path, values_range: Range | None) -> Pixels:
    """All bits of a file as levels, with three channels if it is a picture."""
    stored = read_stored(path)
    scale = values_range or stored.usual_range
    if scale is None:
        raise ImageError(path, f"{stored.values.dtype} values: give --range LOW,HIGH")
    levels = cast(Pixels, stored.unclamped_levels(scale))
    count = levels.shape[2]
    is_picture = stored.alpha or count in (1, 3)
    return with_channels(levels, 3 if is_picture else count, alpha=stored.alpha)


def _psnr(found: Pixels, wanted: Pixels) -> float:
    return psnr(_from_0_to_1(found), _from_0_to_1(wanted)).item()


def _ssim(found: Pixels, wanted: Pixels) -> float:
    return ssim(_from_0_to_1(found), _from_0_to_1(wanted)).item()


def _energy(pixels: Pixels) -> float:
    return gradient_energy(_from_0_to_1(pixels)).item()


def _from_0_to_1(pixels: Pixels) -> Tensor:
    if pixels.dtype == np.uint8:
        return to_tensor(pixels)[None] / 2 + 0.5
    return torch.from_numpy(pixels.transpose(2, 0, 1).astype(np.float64) / 255)[None]
