"""Statistics of a set of images in a file: what is left of it for the Fréchet distance."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cyclegan_style.errors import UserError, printable
from cyclegan_style.evaluation.frechet import Gaussian, Matrix, gaussian_of_statistics
from cyclegan_style.system.whole_files import whole_file


@dataclass(frozen=True)
class Statistics:
    """Mean and covariance of features; pytorch-fid writes these alone, ours say where from."""

    mean: Matrix
    covariance: Matrix
    count: int | None
    definition: str | None
    weights: str | None
    """SHA-256 of the network's file."""

    def gaussian(self) -> Gaussian:
        """The normal distribution that these describe."""
        return gaussian_of_statistics(self.mean, self.covariance)


def write_statistics(path: Path, statistics: Statistics) -> None:
    """Write an npz that pytorch-fid reads as well; the file appears whole or not at all."""
    values = {
        "mu": statistics.mean,
        "sigma": statistics.covariance,
        "n": np.array(statistics.count or 0),
        "definition": np.array(statistics.definition or ""),
        "weights": np.array(statistics.weights or ""),
    }
    try:
        with whole_file(path) as stream:
            np.savez_compressed(stream, allow_pickle=False, **values)
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror}") from error


def read_statistics(path: Path) -> Statistics:
    """Read an npz of ours or of pytorch-fid; nothing in it is unpickled."""
    try:
        with np.load(path, allow_pickle=False) as file:
            mean, covariance = file["mu"].astype(np.float64), file["sigma"].astype(np.float64)
            count = int(file["n"]) if "n" in file else 0
            definition, weights = (
                str(file[name]) if name in file else "" for name in ("definition", "weights")
            )
    except Exception as error:  # a damaged file can fail in any part of its reader
        raise UserError(
            printable(f"{path}: not a file of statistics with mu and sigma ({error})")
        ) from None
    if mean.ndim != 1 or covariance.shape != (len(mean), len(mean)):
        raise UserError(f"{path}: mu has shape {mean.shape} and sigma {covariance.shape}")
    return Statistics(
        mean, covariance, count if count > 0 else None, definition or None, weights or None
    )


def refuse_mismatch(path: str, statistics: Statistics, definition: str, weights: str) -> None:
    """Raise a UserError if the file says that it was made in another way."""
    for what, theirs, ours in (
        ("the definition", statistics.definition, definition),
        ("weights of SHA-256", statistics.weights, weights),
    ):
        if theirs is not None and theirs != ours:
            raise UserError(f"{path}: was made with {what} {theirs}, this evaluation uses {ours}")
