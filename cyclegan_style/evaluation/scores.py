"""Which scores are asked for, and what is told with them."""

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from cyclegan_style.data.images import ImageError
from cyclegan_style.errors import UserError
from cyclegan_style.evaluation.collect import BATCH_SIZE
from cyclegan_style.evaluation.definitions import Definition, FeatureNetwork, definition_named
from cyclegan_style.evaluation.intervals import Interval
from cyclegan_style.features.inception import FEATURES
from cyclegan_style.system.processes import say

METRICS = ("fid", "fd", "kid", "swd", "precision_recall", "fid_infinity")
OF_TRANSLATIONS = ("lpips", "squeezenet_distance", "art_fid")
"""What needs the pictures that the fakes were made from as well; structure is always given."""
OF_FEATURES = ("fid", "fd", "kid", "precision_recall", "fid_infinity", "art_fid")
"""What looks at the features of a definition."""


@dataclass(frozen=True)
class EvaluationOptions:
    """What is computed, and by which definition."""

    metrics: tuple[str, ...] = ("fid", "kid")
    definition: str | None = None
    """None leaves it to ``definition_for``."""
    weights: Path | None = None
    lpips_weights: Path | None = None
    network: FeatureNetwork | None = None
    """One's own, with a definition of its own."""
    batch_size: int = BATCH_SIZE
    intervals: bool = True
    cache: bool = True
    precision: str = "fp32"
    """fp32, or bf16: faster where the hardware has it, and off by some tenths of FID."""
    definition_field: str = "--definition"
    """How the definition is chosen where these options come from."""
    weights_field: str = "--weights"
    lpips_weights_field: str = "--lpips-weights"


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


def definition_for(metrics: Collection[str], chosen: str | None) -> Definition:
    """The chosen definition; where none is, squeezenet for fd, and pytorch-fid without it."""
    return definition_named(chosen or ("squeezenet" if "fd" in metrics else "pytorch-fid"))


def named_by(definition: Definition, metrics: Sequence[str]) -> tuple[str, ...]:
    """The metrics as their scores are called: fd and fid are the definition's distance."""
    return tuple(definition.frechet if name in ("fd", "fid") else name for name in metrics)


def contradiction(metrics: Collection[str], definition: Definition) -> str | None:
    """Why these metrics cannot be had together by this definition, if so."""
    if {"fd", "fid"} <= set(metrics):
        return "fd and fid are the same distance, whose features the definition chooses: name one"
    of_fid = [name for name in ("fid_infinity", "art_fid") if name in metrics]
    if of_fid and definition.frechet != "fid":
        return (
            f"{' and '.join(of_fid)} cannot be had by the definition {definition.name}, whose"
            f" distance is no FID; choose another, or fid instead of fd"
        )
    return None


def refuse_unknown(metrics: Sequence[str], known: Sequence[str]) -> None:
    """Raise a UserError for names of metrics that are not known here."""
    unknown = sorted(set(metrics) - set(known))
    if unknown or not metrics:
        raise UserError(f"--metrics: not {', '.join(unknown) or 'none'}, but {', '.join(known)}")


def warn_of_few(metrics: Collection[str], circumstances: Circumstances) -> None:
    """Say what a Fréchet distance of few images means."""
    known = (circumstances.n_real, circumstances.n_fake)
    counts = [count for count in known if count is not None]
    name = "fd_squeezenet" if "fd_squeezenet" in metrics else "FID"
    biased = {"fid", "art_fid", "fd_squeezenet"} & set(metrics)
    if biased and counts and min(counts) < FEATURES:
        say(
            f"{name} of {min(counts)} images is biased upwards: compare it only with {name} of as"
            " many images of the same real set, or use kid, which is not"
        )
