"""The loader of training beside torchvision's ImageFolder and transforms, on the same files."""

import io
import os
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import ImageFolder
from torchvision.io import ImageReadMode, decode_jpeg

from cyclegan_style.benchmarks.timing import device_name, seconds_of
from cyclegan_style.benchmarks.training import operations_of_step
from cyclegan_style.config import Config, DataConfig
from cyclegan_style.data.domains import ImageDomain
from cyclegan_style.data.images import Pixels, read_image, resize, to_tensor, write_image
from cyclegan_style.data.listing import open_pictures
from cyclegan_style.data.sampling import UnpairedBatchSampler, UnpairedDataset, training_loader
from cyclegan_style.synthetic import demo_folder
from cyclegan_style.system.processes import say

ENDINGS = {"jpeg": ".jpg", "png": ".png", "webp": ".webp"}
H100_OPERATIONS = 989e12
"""A second, of products in bfloat16 without sparsity, by its data sheet."""
H100_SHARE = 0.3
"""Of these that a step is assumed to reach."""
EVERYTHING = 10**12
"""Bytes of memory that hold all pictures."""


@dataclass(frozen=True)
class LoadingExtent:
    """How much is measured."""

    images: int
    """Files of each format."""
    side: int
    """Of the pictures in the files, in pixels."""
    crop: int
    """Side of a sample in pixels; pictures are brought to 286/256 of it first."""
    workers: tuple[int, ...]
    runs: int
    """Of which the median is told."""

    @property
    def load_size(self) -> int:
        """Side to which pictures are resized before they are cropped."""
        return self.crop * 286 // 256


@dataclass(frozen=True)
class LoaderSpeed:
    """How fast samples come."""

    loader: str
    """The source of this package's, or torchvision."""
    format: str
    workers: int
    images_per_second: float
    images_per_second_per_core: float
    """By as many cores as there are processes that prepare samples."""
    ratio: float | None
    """To torchvision's with the same files and workers."""


@dataclass(frozen=True)
class DecoderSpeed:
    """How long a JPEG takes to become an array."""

    decoder: str
    milliseconds: float
    same_pixels: bool
    """As Pillow's."""


@dataclass(frozen=True)
class LoadingFigures:
    """All that was measured."""

    device: str
    cores: int
    same_pixels: bool
    """As torchvision's, of every file, where chance has no part: neither cut nor mirrored."""
    loading: list[LoaderSpeed]
    decoding: list[DecoderSpeed]
    wanted: dict[str, float]
    """Images a second that an H100 would take, by the arithmetic of the paper's step of one image
    of each domain, at the stated share of its products in bfloat16."""


def measure_loading(extent: LoadingExtent) -> LoadingFigures:
    """Measure one loader after the other, and say on the way what was found."""
    torch.set_num_threads(1)
    same, speeds = True, list[LoaderSpeed]()
    with tempfile.TemporaryDirectory() as name:
        folders = {
            format_: write_files(Path(name) / format_, extent, ending)
            for format_, ending in ENDINGS.items()
        }
        for format_, folder in folders.items():
            same = same and equal_pixels(folder, extent)
            for workers in extent.workers:
                speeds += measure_loaders(folder, format_, workers, extent)
        decoding = measure_decoders(folders["jpeg"], extent.runs)
    return LoadingFigures(
        device_name(), os.cpu_count() or 1, same, speeds, decoding, wanted(extent)
    )


def measure_loaders(
    folder: Path, format_: str, workers: int, extent: LoadingExtent
) -> Iterator[LoaderSpeed]:
    """torchvision's speed, and that from each source."""
    plain = images_per_second(torchvision_loaders(folder, workers, extent), extent)
    cores = max(1, workers)
    for loader, speed in {"torchvision": plain, **ours(folder, format_, workers, extent)}.items():
        ratio = None if loader == "torchvision" else speed / plain
        say(f"{format_}, {workers} workers, {loader}: {speed:.0f} images/s")
        yield LoaderSpeed(loader, format_, workers, speed, speed / cores, ratio)


def ours(folder: Path, format_: str, workers: int, extent: LoadingExtent) -> dict[str, float]:
    """Images a second by source: decoded on access, and kept in memory."""
    listed = folder.with_suffix(".txt")
    listed.write_text("\n".join(str(path) for path in sorted(folder.rglob("*.*"))))
    sources = {"folder": (str(folder), 0), "memory": (str(folder), EVERYTHING)}
    if format_ == "jpeg":  # how the file is found does not depend on its format
        sources["list"] = str(listed), 0
        sources["shard"] = str(shard_of(folder)), 0
        if find_spec("datasets") is not None:
            sources["hf"] = hub_set(folder), 0
    return {
        name: images_per_second([our_loader(spec, budget, workers, extent)], extent)
        for name, (spec, budget) in sources.items()
    }


def write_files(folder: Path, extent: LoadingExtent, ending: str) -> Path:
    """The demo's photographs at this size, in the folder of a class as ImageFolder wants it."""
    (folder / "all").mkdir(parents=True)
    for path in sorted(demo_folder("photo", "train", count=extent.images).iterdir()):
        pixels = resize(read_image(path), (extent.side, extent.side))
        write_image(folder / "all" / f"{path.stem}{ending}", pixels)
    return folder


def shard_of(folder: Path) -> Path:
    """The same files in a tar beside them."""
    place = folder.with_suffix(".tar")
    with tarfile.open(place, "w") as shard:
        for path in sorted(folder.rglob("*.*")):
            shard.add(path, path.name)
    return place


def hub_set(folder: Path) -> str:
    """The same files as rows of a data set, cached beside them."""
    import datasets

    place = folder.with_name("set")
    if not place.exists():
        files = sorted(folder.rglob("*.*"))
        rows = datasets.Dataset.from_dict(
            {"image": [{"bytes": path.read_bytes(), "path": path.name} for path in files]},
            features=datasets.Features({"image": datasets.Image()}),
        )
        datasets.config.HF_DATASETS_CACHE = folder.with_name("cache")
        rows.to_parquet(place / "data" / "train-00000-of-00001.parquet")
    return f"hf://{place}?split=train&column=image"


def our_loader(spec: str, budget: int, workers: int, extent: LoadingExtent) -> DataLoader[Any]:
    """The loader as training builds it, of two domains of the same pictures."""
    domain = opened(spec, budget, extent)
    dataset = UnpairedDataset({"a": domain, "b": domain}, (extent.crop, extent.crop), flip=True)
    sampler = UnpairedBatchSampler(dataset.sizes, 1, seed=0, batches_per_global_step=1)
    return training_loader(dataset, sampler, workers, pin_memory=False)


def opened(spec: str, budget: int, extent: LoadingExtent) -> ImageDomain:
    """Pictures as training opens them."""
    pictures = open_pictures(spec)
    size = extent.load_size, extent.load_size
    domain = ImageDomain(spec, "data.a", pictures, 3, "square", [size])
    return domain.checked(min_readable=1.0, memory_budget=budget, progress=False)


def torchvision_loaders(folder: Path, workers: int, extent: LoadingExtent) -> list[DataLoader[Any]]:
    """What most training scripts have: a loader for each domain."""
    return [
        DataLoader(
            ImageFolder(folder, transforms.Compose([*resized(extent), *cut(extent), *scaled()])),
            batch_size=1,
            shuffle=True,
            num_workers=workers,
            persistent_workers=workers > 0,
        )
        for _ in "ab"
    ]


def resized(extent: LoadingExtent) -> list[Callable[[Any], Any]]:
    """The reference's resizing, by torchvision."""
    size = (extent.load_size, extent.load_size)
    return [transforms.Resize(size, transforms.InterpolationMode.BICUBIC)]


def cut(extent: LoadingExtent) -> list[Callable[[Any], Any]]:
    """What chance has a part in."""
    return [transforms.RandomCrop(extent.crop), transforms.RandomHorizontalFlip()]


def scaled() -> list[Callable[[Any], Any]]:
    """Pixels to tensors in [-1, 1]."""
    return [transforms.ToTensor(), transforms.Normalize((0.5,) * 3, (0.5,) * 3)]


def images_per_second(loaders: list[DataLoader[Any]], extent: LoadingExtent) -> float:
    """Of both domains together over an epoch, after a first one in which workers start."""

    def epoch() -> None:
        for _ in zip(*loaders, strict=True):
            pass

    epoch()
    return 2 * extent.images / median(seconds_of(epoch) for _ in range(extent.runs))


def equal_pixels(folder: Path, extent: LoadingExtent) -> bool:
    """Whether every file becomes the same tensor by torchvision where chance has no part."""
    plain = ImageFolder(folder, transforms.Compose([*resized(extent), *scaled()]))
    domain = opened(str(folder), 0, extent)
    return all(
        torch.equal(to_tensor(domain.pixels(index)), plain[index][0])
        for index in range(extent.images)
    )


def measure_decoders(folder: Path, runs: int) -> list[DecoderSpeed]:
    """Pillow's, torchvision's and, where it is installed, simplejpeg's decoding of JPEGs."""
    contents = [path.read_bytes() for path in sorted(folder.rglob("*.jpg"))]
    decoders: dict[str, Callable[[bytes], Pixels]] = {
        "pillow": by_pillow,
        "torchvision": by_torchvision,
    }
    if find_spec("simplejpeg") is not None:
        import simplejpeg

        decoders["simplejpeg"] = simplejpeg.decode_jpeg
    speeds = []
    for name, decode in decoders.items():
        same = all(np.array_equal(decode(each), by_pillow(each)) for each in contents)
        each_run = partial(decode_all, decode, contents)
        seconds = median(seconds_of(each_run) for _ in range(runs))
        speeds.append(DecoderSpeed(name, seconds / len(contents) * 1e3, same))
    return speeds


def decode_all(decode: Callable[[bytes], Pixels], contents: list[bytes]) -> None:
    """Decode one after the other."""
    for content in contents:
        decode(content)


def by_pillow(content: bytes) -> Pixels:
    """Pixels of a JPEG by what the loader uses."""
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))


def by_torchvision(content: bytes) -> Pixels:
    """Pixels of a JPEG by torchvision's own decoder."""
    stored = torch.frombuffer(bytearray(content), dtype=torch.uint8)
    pixels: Pixels = decode_jpeg(stored, ImageReadMode.RGB).permute(1, 2, 0).numpy()
    return pixels


def wanted(extent: LoadingExtent) -> dict[str, float]:
    """What an H100 would take, if a step took its arithmetic at the share of the peak."""
    operations = operations_of_step(Config(data=DataConfig(crop_size=extent.crop)))
    steps = H100_SHARE * H100_OPERATIONS / operations
    return {
        "gigaflop_of_a_step": operations / 1e9,
        "share_of_peak": H100_SHARE,
        "images_per_second": 2 * steps,
    }
