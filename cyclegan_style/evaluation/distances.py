"""Which distances between two pictures are asked for that networks measure."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from cyclegan_style.evaluation.collect import on_device
from cyclegan_style.evaluation.lpips import (
    PerceptualDistance,
    find_lpips,
    load_lpips,
    lpips_hash,
)
from cyclegan_style.evaluation.squeezenet import load_squeezenet_distance
from cyclegan_style.system.processes import main_process_first


@dataclass(frozen=True)
class Distances:
    """The networks by the names of their scores, on this process's device."""

    networks: dict[str, PerceptualDistance]
    lpips_weights: str | None
    """SHA-256 of the files of lpips, the only ones that can be chosen."""


def distances_for(
    metrics: Collection[str], lpips_weights: Path | None, option: str = "--lpips-weights"
) -> Distances:
    """What these metrics need; ``art_fid`` holds lpips."""
    networks: dict[str, PerceptualDistance] = {}
    weights = None
    if {"lpips", "art_fid"} & set(metrics):
        files = main_process_first(lambda: find_lpips(lpips_weights, option))
        networks["lpips"] = on_device(load_lpips(files))
        weights = lpips_hash(files)
    if "squeezenet_distance" in metrics:
        networks["squeezenet_distance"] = on_device(load_squeezenet_distance())
    return Distances(networks, weights)
