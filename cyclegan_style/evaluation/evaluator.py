"""Sets of pictures measured by one definition and one network, ready to be compared."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from accelerate import PartialState
from torch import Tensor, nn

from cyclegan_style.data.images import read_stored_rgb
from cyclegan_style.data.listing import list_images
from cyclegan_style.errors import UserError
from cyclegan_style.evaluation.cache import cached_file, keep, recall
from cyclegan_style.evaluation.collect import Collected, Read, collect_features, on_device
from cyclegan_style.evaluation.comparison import Comparison
from cyclegan_style.evaluation.definitions import Definition, FeatureNetwork
from cyclegan_style.evaluation.distances import Distances, distances_for
from cyclegan_style.evaluation.image_sets import ImageSet, errors_of
from cyclegan_style.evaluation.scores import (
    METRICS,
    OF_FEATURES,
    Circumstances,
    EvaluationOptions,
    Scores,
    contradiction,
    definition_for,
    named_by,
    refuse_unknown,
)
from cyclegan_style.evaluation.sliced_wasserstein import SIZE
from cyclegan_style.evaluation.squeezenet import PooledStatistics
from cyclegan_style.evaluation.statistics import read_statistics, refuse_mismatch
from cyclegan_style.features.dinov2 import DINOV2
from cyclegan_style.features.inception import INCEPTION, HalfPrecision
from cyclegan_style.features.squeezenet import SQUEEZENET
from cyclegan_style.features.trained import TrainedNetwork
from cyclegan_style.features.weights import WeightsError
from cyclegan_style.system.processes import main_process_first, on_main_process, say
from cyclegan_style.system.whole_files import checksum

_SHOWN_ERRORS = 10

STREAMED = 20_000
"""Of a larger set of pictures a Fréchet distance alone keeps moments instead of features."""


def feature_network(options: EvaluationOptions, definition: Definition) -> FeatureNetwork:
    """The definition's network with the chosen weights."""
    half = options.precision == "bf16"
    if half and definition.name in ("dinov2", "squeezenet"):
        raise UserError("--precision: bf16 is for the Inception only")
    if definition.name == "squeezenet":
        path = main_process_first(lambda: SQUEEZENET.find(options.weights, options.weights_field))
        pooled = PooledStatistics(SQUEEZENET.load(path))
        return FeatureNetwork(definition, pooled, checksum(path))
    if definition.name == "dinov2":
        path = main_process_first(lambda: _found(DINOV2, options))
        return FeatureNetwork(definition, DINOV2.load(path), checksum(path))
    path = main_process_first(lambda: _found(INCEPTION, options))
    network = INCEPTION.load(path)
    return FeatureNetwork(definition, HalfPrecision(network) if half else network, checksum(path))


def _found(network: TrainedNetwork[Any], options: EvaluationOptions) -> Path:
    """The file of its weights; where they cannot be had, an error names what needs none."""
    try:
        return network.find(options.weights, options.weights_field)
    except WeightsError as error:
        if options.weights is not None:
            raise
        raise WeightsError(
            f"{error}; {options.definition_field} squeezenet needs no download"
        ) from error


class Evaluator:
    """The network and the definition by which sets are made into features and compared."""

    def __init__(self, options: EvaluationOptions, known: Sequence[str] = METRICS) -> None:
        refuse_unknown(options.metrics, known)
        if options.batch_size < 1:
            raise UserError("--batch-size: must be at least 1")
        self.options = options
        own = options.network
        self.definition = (
            own.definition if own else definition_for(options.metrics, options.definition)
        )
        if problem := contradiction(options.metrics, self.definition):
            raise UserError(f"--metrics: {problem}")
        self.metrics = named_by(self.definition, options.metrics)
        """As the scores are called."""
        self.network: Callable[[Tensor], Tensor] | None = None
        self.weights: str | None = None
        if set(OF_FEATURES) & set(options.metrics):
            used = own or feature_network(options, self.definition)
            module = used.network
            self.network = on_device(module).eval() if isinstance(module, nn.Module) else module
            self.weights = used.weights
        self.distances: Distances = distances_for(
            options.metrics, options.lpips_weights, options.lpips_weights_field
        )

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
        comparison = self.comparison(real, fake)
        values, intervals = comparison.scores(self.metrics, self.options.intervals)
        return Scores(values, intervals, self.circumstances(real, fake), errors_of(real, fake))

    def comparison(self, real: ImageSet, fake: ImageSet) -> Comparison:
        """These sets side by side, by this definition."""
        return Comparison(real, fake, self.definition)

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
            self.distances.lpips_weights,
            SIZE if "swd" in self.metrics else None,
        )

    def _load_statistics(self, spec: str, option: str) -> ImageSet:
        if set(self.metrics) != {self.definition.frechet}:
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
            with_thumbnails="swd" in self.metrics,
            keep_features=not self._streams(paths),
            read=read,
            batch_size=self.options.batch_size,
            progress=option.removeprefix("--"),
        )

    def _streams(self, paths: Sequence[Path]) -> bool:
        return set(self.metrics) == {self.definition.frechet} and len(paths) > STREAMED

    def _cached_file(self, paths: Sequence[Path]) -> Path | None:
        """Where features of these files are cached, whether they are yet or not."""
        swd = str(SIZE) if "swd" in self.metrics else ""
        device = PartialState().device.type
        precision = self.options.precision
        features = f"{self.definition.name}{self.definition.features}"
        made_by = ("3", features, self.weights or "", swd, device, precision)
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
