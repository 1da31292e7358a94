"""Which scores are asked for, and what is told with them."""

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from cyclegan_style.data.images import ImageError
from cyclegan_style.errors import UserError
from cyclegan_style.evaluation.collect import BATCH_SIZE
from cyclegan_style.evaluation.definitions import FeatureNetwork
from cyclegan_style.evaluation.intervals import Interval
from cyclegan_style.features.inception import FEATURES
from cyclegan_style.system.processes import say

METRICS = ("fid", "kid", "swd", "precision_recall", "fid_infinity")
OF_TRANSLATIONS = ("lpips", "art_fid")
"""What needs the pictures that the fakes were made from as well; structure is always given."""


@dataclass(frozen=True)
class EvaluationOptions:
    """What is computed, and by which definition."""

    metrics: tuple[str, ...] = ("fid", "kid")
    definition: str = "pytorch-fid"
    weights: Path | None = None
    lpips_weights: Path | None = None
    network: FeatureNetwork | None = None
    """One's own, with a definition of its own."""
    batch_size: int = BATCH_SIZE
    intervals: bool = True
    cache: bool = True
    precision: str = "fp32"
    """fp32, or bf16: faster where the hardware has it, and off by some tenths of FID."""


@dataclass(frozen=True)
class Circumstances:
    """What must be the same for scores to be comparable."""

    n_real: int | None
    n_fake: int | None
    size_real: str | None
    size_fake: str | None
    definition: str
    weights: str | None = None
    """SHA-256 of the feature network's file."""
    number_format: str | None = None
    """In which that network computes; precision is the name of a score."""
    lpips_weights: str | None = None
    swd_size: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """Those of the pictures, and those of what was used."""
        facts = asdict(self)
        always = ("n_real", "n_fake", "size_real", "size_fake", "definition")
        return {name: facts[name] for name in facts if name in always or facts[name] is not None}


@dataclass(frozen=True)
class Scores:
    """Scores of one set against another, with all that is needed to compare them with others."""

    values: dict[str, float]
    intervals: dict[str, Interval]
    circumstances: Circumstances
    failed: list[ImageError] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """The scores as one JSON object."""
        facts: dict[str, Any] = dict(self.values)
        facts |= {f"{name}_interval": list(pair) for name, pair in self.intervals.items()}
        facts |= self.circumstances.to_dict()
        return facts | {"failed": [{"path": str(e.path), "error": e.reason} for e in self.failed]}


def refuse_unknown(metrics: Sequence[str], known: Sequence[str]) -> None:
    """Raise a UserError for names of metrics that are not known here."""
    unknown = sorted(set(metrics) - set(known))
    if unknown or not metrics:
        raise UserError(f"--metrics: not {', '.join(unknown) or 'none'}, but {', '.join(known)}")


def warn_of_few(metrics: Collection[str], circumstances: Circumstances) -> None:
    """Say what FID of few images means."""
    known = (circumstances.n_real, circumstances.n_fake)
    counts = [count for count in known if count is not None]
    if {"fid", "art_fid"} & set(metrics) and counts and min(counts) < FEATURES:
        say(
            f"FID of {min(counts)} images is biased upwards: compare it only with FID of as many"
            " images of the same real set, or use kid, which is not"
        )
