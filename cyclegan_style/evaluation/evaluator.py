"""Scores of one set of pictures against another."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from accelerate import PartialState
from numpy.typing import NDArray
from torch import Tensor, nn

from cyclegan_style.data.domains import list_images
from cyclegan_style.data.images import ImageError, read_stored_rgb
from cyclegan_style.errors import UserError
from cyclegan_style.evaluation.cache import cached_file, keep, recall
from cyclegan_style.evaluation.collect import (
    BATCH_SIZE,
    Collected,
    Read,
    collect_features,
    on_device,
)
from cyclegan_style.evaluation.definitions import (
    Definition,
    FeatureNetwork,
    definition_named,
)
from cyclegan_style.evaluation.frechet import (
    Gaussian,
    Moments,
    frechet_distance,
    frechet_of_features,
    gaussian_of_features,
    gaussian_of_moments,
)
from cyclegan_style.evaluation.intervals import GROUPS, Interval, Kept, jackknife_interval
from cyclegan_style.evaluation.kid import KernelDistance, kernel_distance, squared_mmd
from cyclegan_style.evaluation.lpips import (
    PerceptualDistance,
    find_lpips,
    load_lpips,
    lpips_hash,
)
from cyclegan_style.evaluation.precision_recall import precision_recall
from cyclegan_style.evaluation.sliced_wasserstein import SIZE, sliced_wasserstein
from cyclegan_style.evaluation.statistics import Statistics, read_statistics, refuse_mismatch
from cyclegan_style.features.dinov2 import DINOV2, load_dinov2
from cyclegan_style.features.inception import FEATURES, HalfPrecision
from cyclegan_style.features.weights import find_weights, load_inception
from cyclegan_style.system.processes import main_process_first, on_main_process, say
from cyclegan_style.system.whole_files import checksum

METRICS = ("fid", "kid", "swd", "precision_recall", "fid_infinity")
OF_TRANSLATIONS = ("lpips", "art_fid")
"""What needs the pictures that the fakes were made from as well; structure is always given."""
_WITH_INTERVALS = {"fid", "kid", "swd", "precision", "recall", "lpips", "art_fid", "structure"}
_OF_FEATURES = {"fid", "kid", "precision_recall", "fid_infinity", "art_fid"}
_SHOWN_ERRORS = 10

STREAMED = 20_000
"""Of a set of more pictures than this, FID alone keeps moments instead of features."""

Features = NDArray[np.float32]
Result = TypeVar("Result")


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
class ImageSet:
    """A set of pictures, or the statistics that are left of one."""

    spec: str
    collected: Collected | None
    statistics: Statistics | None = None
    nearness: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    """Of translations: structure and lpips of each with the picture that it was made from."""

    @property
    def count(self) -> int | None:
        """Number of pictures, if it is known."""
        if self.collected is not None:
            return len(self.collected)
        return None if self.statistics is None else self.statistics.count

    @property
    def size(self) -> str | None:
        """Width and height in pixels, of mixed sizes the smallest and the largest."""
        if self.collected is None:
            return None
        sizes = self.collected.sizes
        ends = {f"{width}x{height}": None for width, height in (sizes.min(0), sizes.max(0))}
        return " to ".join(ends)

    def gaussian(self) -> Gaussian:
        """The normal distribution that the features are taken for."""
        if self.statistics is not None:
            return self.statistics.gaussian()
        pictures = self.pictures()
        if pictures.moments is not None:
            return gaussian_of_moments(pictures.moments)
        return gaussian_of_features(pictures.features)

    def pictures(self) -> Collected:
        """What was found in the pictures; statistics know nothing of single ones."""
        if self.collected is None:
            raise UserError(f"{self.spec}: a file of statistics is enough for fid only")
        return self.collected


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


def feature_network(options: EvaluationOptions, definition: Definition) -> FeatureNetwork:
    """The definition's network with the chosen weights."""
    half = options.precision == "bf16"
    if definition.name == "dinov2":
        if half:
            raise UserError("--precision: bf16 is for the Inception only")
        path = main_process_first(lambda: find_weights(options.weights, DINOV2))
        return FeatureNetwork(definition, load_dinov2(path), checksum(path))
    path = main_process_first(lambda: find_weights(options.weights))
    network = load_inception(path)
    return FeatureNetwork(definition, HalfPrecision(network) if half else network, checksum(path))


class Evaluator:
    """The network and the definition by which sets are made into features and compared."""

    def __init__(self, options: EvaluationOptions, known: Sequence[str] = METRICS) -> None:
        refuse_unknown(options.metrics, known)
        if options.batch_size < 1:
            raise UserError("--batch-size: must be at least 1")
        self.options = options
        own = options.network
        self.definition = own.definition if own else definition_named(options.definition)
        self.network: Callable[[Tensor], Tensor] | None = None
        self.weights: str | None = None
        if _OF_FEATURES & set(options.metrics):
            used = own or feature_network(options, self.definition)
            module = used.network
            self.network = on_device(module).eval() if isinstance(module, nn.Module) else module
            self.weights = used.weights
        self.perceptual: PerceptualDistance | None = None
        self.lpips_weights: str | None = None
        if set(OF_TRANSLATIONS) & set(options.metrics):
            files = main_process_first(lambda: find_lpips(options.lpips_weights))
            self.perceptual = on_device(load_lpips(files))
            self.lpips_weights = lpips_hash(files)

    def load(self, spec: str, option: str, read: Read | None = None) -> ImageSet:
        """Features of a folder, a glob, a demo domain or a file of statistics.

        ``read`` makes pixels of a path; without it they are read as the definition does.
        """
        if spec.endswith(".npz"):
            if read is not None:
                raise UserError(f"{option}: {spec}: there are no pictures in it to translate")
            return self._load_statistics(spec, option)
        paths = main_process_first(lambda: list_images(spec, split="test", field=option))
        caches = self.options.cache and read is None and not self._streams(paths)
        cached = self._cached_file(paths) if caches and PartialState().is_main_process else None
        # All go by what the main process finds: another machine may see other files.
        collected = on_main_process(lambda: None if cached is None else recall(cached))
        if collected is None:
            collected = self._collect(paths, option, read or read_stored_rgb)
            if cached is not None and not collected.errors:
                keep(cached, collected)
        self._check(collected, spec, option)
        return ImageSet(spec, collected)

    def measure(self, paths: Sequence[Path], spec: str, option: str, read: Read) -> ImageSet:
        """Features of some of a set's files, of which ``read`` makes the pixels to be judged."""
        collected = self._collect(paths, option, read)
        self._check(collected, spec, option)
        return ImageSet(spec, collected)

    def compare(self, real: ImageSet, fake: ImageSet) -> Scores:
        """All chosen scores of the fakes against the real pictures."""
        values: dict[str, float] = {}
        intervals: dict[str, Interval] = {}
        always = ("structure",) if "structure" in fake.nearness else ()
        for metric in (*self.options.metrics, *always):
            scored = self._score(metric, real, fake)
            for name in _WITH_INTERVALS & scored.keys() - values.keys():
                score = partial(self.value_of_part, name, real, fake)
                interval = self.interval(scored[name], score, real, fake)
                if interval is not None:
                    intervals[name] = interval
            values |= scored
        return Scores(values, intervals, self.circumstances(real, fake), errors_of(real, fake))

    def circumstances(self, real: ImageSet, fake: ImageSet) -> Circumstances:
        """Of scores of these sets."""
        return Circumstances(
            real.count,
            fake.count,
            real.size,
            fake.size,
            self.definition.name,
            self.weights,
            None if self.weights is None else self.options.precision,
            self.lpips_weights,
            SIZE if "swd" in self.options.metrics else None,
        )

    def value(self, metric: str, real: ImageSet, fake: ImageSet) -> float:
        """One score whose name is the metric's."""
        return self._score(metric, real, fake)[metric]

    def value_of_part(self, metric: str, real: ImageSet, fake: ImageSet, i: Kept, j: Kept) -> float:
        """A score of these pictures alone, for the spread; kid is that over all of them."""
        if metric in fake.nearness:
            return float(fake.nearness[metric][j].mean())
        if metric == "art_fid":
            lpips, fid = (self.value_of_part(m, real, fake, i, j) for m in ("lpips", "fid"))
            return art_fid(lpips, fid)
        x, y = real.pictures(), fake.pictures()
        if metric == "fid":
            return frechet_of_features(x.features[i], y.features[j])
        if metric == "kid":
            return squared_mmd(x.features[i].astype(np.float64), y.features[j].astype(np.float64))
        # The rest in a quicker way, since it is only the spread that is asked for.
        if metric in ("precision", "recall"):
            shares = precision_recall(x.features[i], y.features[j], exact=False)
            return shares.precision if metric == "precision" else shares.recall
        return sliced_wasserstein(x.descriptors[i], y.descriptors[j], projections=64)

    def interval(
        self,
        value: float,
        score: Callable[[Kept, Kept], float],
        real: ImageSet,
        fake: ImageSet,
    ) -> Interval | None:
        """Interval of a score, or of a difference of scores, where single pictures are known."""
        sets = (real.collected, fake.collected)
        known = [pictures for pictures in sets if pictures and pictures.moments is None]
        if not self.options.intervals or len(known) < len(sets):
            return None
        counts = len(known[0]), len(known[1])
        # Beyond the features' dimensions, each group left out costs a large decomposition.
        groups = GROUPS if max(counts) <= FEATURES else 8
        return jackknife_interval(value, score, *counts, groups)

    def _score(self, metric: str, real: ImageSet, fake: ImageSet) -> dict[str, float]:
        if metric in fake.nearness:
            return {metric: float(fake.nearness[metric].mean())}
        if metric == "fid":
            return {"fid": frechet_distance(real.gaussian(), fake.gaussian())}
        if metric == "art_fid":
            parts = self._score("lpips", real, fake) | self._score("fid", real, fake)
            return parts | {"art_fid": art_fid(parts["lpips"], parts["fid"])}
        first, second = real.pictures(), fake.pictures()
        if metric == "kid":
            distance = kernel(first.features, second.features, self.definition)
            return {"kid": distance.mean, "kid_std": distance.deviation}
        if metric == "fid_infinity":
            return {"fid_infinity": frechet_at_infinity(first.features, second.features)}
        if metric == "precision_recall":
            shares = precision_recall(first.features, second.features)
            return {"precision": shares.precision, "recall": shares.recall}
        return {"swd": sliced_wasserstein(first.descriptors, second.descriptors)}

    def _load_statistics(self, spec: str, option: str) -> ImageSet:
        if set(self.options.metrics) != {"fid"}:
            raise UserError(f"{option}: {spec}: a file of statistics is enough for fid only")
        if self.options.precision != "fp32":
            raise UserError(f"{option}: {spec}: statistics are of fp32; leave out --precision")
        statistics = read_statistics(Path(spec).expanduser())
        refuse_mismatch(spec, statistics, self.definition.name, self.weights or "")
        return ImageSet(spec, None, statistics)

    def _collect(self, paths: Sequence[Path], option: str, read: Read) -> Collected:
        return collect_features(
            paths,
            self.network,
            self.definition.prepare,
            with_descriptors="swd" in self.options.metrics,
            keep_features=not self._streams(paths),
            read=read,
            batch_size=self.options.batch_size,
            progress=option.removeprefix("--"),
        )

    def _streams(self, paths: Sequence[Path]) -> bool:
        return set(self.options.metrics) == {"fid"} and len(paths) > STREAMED

    def _cached_file(self, paths: Sequence[Path]) -> Path | None:
        """Where features of these files are cached, whether they are yet or not."""
        swd = str(SIZE) if "swd" in self.options.metrics else ""
        device = PartialState().device.type
        precision = self.options.precision
        made_by = ("2", self.definition.name, self.weights or "", swd, device, precision)
        return cached_file(paths, made_by)

    def _check(self, collected: Collected, spec: str, option: str) -> None:
        total = len(collected) + len(collected.errors)
        if collected.errors:
            say(f"{option}: skipping {len(collected.errors)} of {total} images:")
            for error in collected.errors[:_SHOWN_ERRORS]:
                say(f"  {error}")
        if len(collected) < 2:
            raise UserError(
                f"{option}: {spec}: {len(collected)} readable image"
                f"{'' if len(collected) == 1 else 's'}, and at least two are needed"
            )
        if self.network is None or collected.moments is not None:
            return
        if collected.features.ndim != 2:
            raise UserError("a feature network must return N×D features")
        if not np.isfinite(collected.features).all():
            raise UserError(f"{option}: {spec}: features are not finite; are the weights damaged?")
        if (collected.features == collected.features[0]).all():
            say(f"{option}: {spec}: all images have the same features")


def evaluate_folders(real: str, fake: str, options: EvaluationOptions) -> Scores:
    """Scores of the pictures of ``fake`` against those of ``real``."""
    evaluator = Evaluator(options)
    scores = evaluator.compare(evaluator.load(real, "--real"), evaluator.load(fake, "--fake"))
    warn_of_few(options.metrics, scores.circumstances)
    return scores


def statistics_of(spec: str, options: EvaluationOptions) -> tuple[Statistics, list[ImageError]]:
    """What ``evaluate stats`` writes, and the files that could not be read for it."""
    if options.precision != "fp32":
        raise UserError("--precision: statistics that others rely on are written in fp32 only")
    evaluator = Evaluator(options)
    pictures = evaluator.load(spec, "--images").pictures()
    moments = pictures.moments or Moments.of(pictures.features)
    covariance = moments.comoment / (moments.count - 1)
    name = evaluator.definition.name
    statistics = Statistics(moments.mean, covariance, moments.count, name, evaluator.weights)
    return statistics, pictures.errors


def errors_of(*sets: ImageSet) -> list[ImageError]:
    """What could not be read of these sets."""
    return [error for part in sets if part.collected for error in part.collected.errors]


def refuse_unknown(metrics: Sequence[str], known: Sequence[str]) -> None:
    """Raise a UserError for names of metrics that are not known here."""
    unknown = sorted(set(metrics) - set(known))
    if unknown or not metrics:
        raise UserError(f"--metrics: not {', '.join(unknown) or 'none'}, but {', '.join(known)}")


def art_fid(lpips: float, fid: float) -> float:
    """Both distances, to the inputs and to the style, as one (Wright and Ommer 2022)."""
    return (1 + lpips) * (1 + fid)


def frechet_at_infinity(real: Features, fake: Features, sizes: int = 15, seed: int = 0) -> float:
    """FID extrapolated to infinitely many fakes (Chong and Forsyth 2020): its bias is in 1/n."""
    chance = np.random.default_rng(seed)
    reference = gaussian_of_features(real)
    counts = np.linspace(max(2, len(fake) // 4), len(fake), sizes).astype(int)
    values = [
        frechet_distance(
            reference, gaussian_of_features(fake[chance.choice(len(fake), n, replace=False)])
        )
        for n in counts
    ]
    slope_and_offset = np.polynomial.polynomial.polyfit(1 / counts, values, 1)
    return float(slope_and_offset[0])


def kernel(real: Features, fake: Features, definition: Definition) -> KernelDistance:
    """Kernel distance whose subsets are drawn in the definition's order."""
    in_order = (real, fake) if definition.kid_sets == "real first" else (fake, real)
    return kernel_distance(*in_order)


def warn_of_few(metrics: Collection[str], circumstances: Circumstances) -> None:
    """Say what FID of few images means."""
    known = (circumstances.n_real, circumstances.n_fake)
    counts = [count for count in known if count is not None]
    if {"fid", "art_fid"} & set(metrics) and counts and min(counts) < FEATURES:
        say(
            f"FID of {min(counts)} images is biased upwards: compare it only with FID of as many"
            " images of the same real set, or use kid, which is not"
        )
