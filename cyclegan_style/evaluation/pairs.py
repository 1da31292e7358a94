"""Scores of pictures whose truth is known: ``fake/x.png`` against ``truth/x.png``."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cyclegan_style.domains import list_images
from cyclegan_style.errors import UserError
from cyclegan_style.evaluation.intervals import mean_interval
from cyclegan_style.evaluation.paired import psnr, ssim
from cyclegan_style.images import ImageError, read_image, to_tensor

SMALLEST = 11
"""Side in pixels of the window of SSIM."""


@dataclass(frozen=True)
class PairedScores:
    """Means over pairs; more is better for both."""

    psnr: list[float]
    ssim: list[float]
    failed: list[ImageError]
    unpaired: int

    def to_dict(self) -> dict[str, Any]:
        """The scores as one JSON object; the PSNR of equal pictures is infinite, shown as null."""
        facts: dict[str, Any] = {}
        for name in ("psnr", "ssim"):
            values = np.array(getattr(self, name))
            mean = float(values.mean())
            facts[name] = mean if np.isfinite(mean) else None
            interval = mean_interval(values)
            if interval is not None:
                facts[f"{name}_interval"] = list(interval)
        return facts | {
            "n": len(self.psnr),
            "unpaired": self.unpaired,
            "failed": [{"path": str(e.path), "error": e.reason} for e in self.failed],
        }


def evaluate_pairs(truth: str, fake: str) -> PairedScores:
    """PSNR and SSIM of fakes against the truth of the same name, whatever the format."""
    truths, fakes = _by_name(truth, "--truth"), _by_name(fake, "--fake")
    common = sorted(truths.keys() & fakes.keys())
    if not common:
        raise UserError(f"--fake: {fake}: no picture there has the name of one in {truth}")
    scores = PairedScores([], [], [], len(truths.keys() ^ fakes.keys()))
    for name in common:
        try:
            closeness = _compare(truths[name], fakes[name])
        except ImageError as error:
            scores.failed.append(error)
            continue
        scores.psnr.append(closeness[0])
        scores.ssim.append(closeness[1])
    if not scores.psnr:
        raise UserError(f"--fake: {fake}: no pair could be compared, such as {scores.failed[0]}")
    return scores


def _compare(truth: Path, fake: Path) -> tuple[float, float]:
    wanted, found = read_image(truth), read_image(fake)
    if wanted.shape != found.shape:
        sizes = " and the truth ".join(f"{p.shape[1]} × {p.shape[0]}" for p in (found, wanted))
        raise ImageError(fake, f"it is {sizes} pixels")
    if min(wanted.shape[:2]) < SMALLEST:
        raise ImageError(fake, f"SSIM needs {SMALLEST} × {SMALLEST} pixels")
    images = [to_tensor(pixels)[None] / 2 + 0.5 for pixels in (found, wanted)]
    return psnr(*images).item(), ssim(*images).item()


def _by_name(spec: str, option: str) -> dict[str, Path]:
    """Pictures by their path below the folder, without the ending."""
    paths = list_images(spec, split="test", field=option)
    root = Path(spec).expanduser()
    named: dict[str, Path] = {}
    for path in paths:
        below = path.relative_to(root) if root.is_dir() and root != path else Path(path.name)
        name = str(below.with_suffix(""))
        if name in named:
            raise UserError(f"{option}: {named[name]} and {path} have the same name")
        named[name] = path
    return named
