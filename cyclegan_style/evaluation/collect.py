"""Features of many pictures: decoded and prepared in threads while the network computes.

Under accelerate every process takes its share, each picture exactly once, and all get the whole.
"""

import itertools
import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from accelerate import PartialState
from accelerate.utils import gather_object
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm import tqdm

from cyclegan_style.data.images import EightBits, ImageError, Pixels, read_stored_rgb
from cyclegan_style.evaluation.frechet import Moments, merged
from cyclegan_style.evaluation.sliced_wasserstein import Thumbnails, thumbnail
from cyclegan_style.system.memory import trim_heap

BATCH_SIZE = 8
BATCHES_BETWEEN_TRIMS = 8
_THREADS = min(8, max(2, os.cpu_count() or 2))

Network = TypeVar("Network", bound=nn.Module)
Read = Callable[[Path], Pixels]
Prepare = Callable[[Pixels], Tensor]


@dataclass(frozen=True)
class Looks:
    """What of a picture is computed in a thread."""

    index: int
    size: tuple[int, int]
    image: Tensor | None
    thumbnail: EightBits | None


@dataclass(frozen=True)
class Collected:
    """What was found in a set of pictures, in the order of their paths."""

    indices: list[int]
    """Which of the paths could be read."""
    sizes: NDArray[np.int64]
    """Images × width and height."""
    features: NDArray[np.float32]
    """Images × dimensions; no dimensions without a network."""
    thumbnails: Thumbnails
    """What swd looks at; without pixels unless asked for."""
    errors: list[ImageError]
    moments: Moments | None = None
    """Mean and co-moment of the features where these were not kept."""

    def __len__(self) -> int:
        """Number of pictures that could be read."""
        return len(self.indices)


def collect_features(
    paths: Sequence[Path],
    network: Callable[[Tensor], Tensor] | None,
    prepare: Prepare,
    *,
    with_thumbnails: bool = False,
    keep_features: bool = True,
    read: Read = read_stored_rgb,
    batch_size: int = BATCH_SIZE,
    progress: str | None = None,
) -> Collected:
    """Features of all readable pictures, on this process's device.

    Without ``keep_features`` only their moments are kept, whose size does not grow.
    """
    state = PartialState()
    share = range(state.process_index, len(paths), state.num_processes)

    def look(index: int) -> Looks | ImageError:
        try:
            pixels = read(paths[index])
        except ImageError as error:
            return error
        height, width = pixels.shape[:2]
        image = None if network is None else prepare(pixels)
        return Looks(index, (width, height), image, thumbnail(pixels) if with_thumbnails else None)

    hidden = progress is None or not state.is_main_process
    bar = tqdm(total=len(share), desc=progress, disable=hidden or None, delay=1, leave=False)
    parts: list[Collected] = []
    errors: list[ImageError] = []
    moments: Moments | None = None
    with exact_products(), bar, ThreadPoolExecutor(_THREADS) as pool:
        for batch in _batches(_ahead(pool, look, share, 2 * batch_size + _THREADS), batch_size):
            errors += [item for item in batch if isinstance(item, ImageError)]
            seen = [item for item in batch if isinstance(item, Looks)]
            if seen:
                part = _measure(seen, network, state.device)
                if not keep_features:
                    moments = merged(moments, Moments.of(part.features))
                    part = replace(part, features=part.features[:, :0].copy())
                parts.append(part)
            if len(parts) % BATCHES_BETWEEN_TRIMS == 0:
                trim_heap()
            bar.update(len(batch))
    # gather_object joins the processes' lists.
    own = [replace(_join(parts, errors), moments=moments)]
    gathered: list[Collected] = gather_object(own)
    return _in_order(gathered)


def values_of_all(values: Mapping[Path, float]) -> list[float]:
    """What the processes noted of their own pictures, in the order of the paths."""
    return [value for _, value in sorted(gather_object(list(values.items())))]


def on_device(network: Network) -> Network:
    """The network on this process's device, in the order of memory that is fastest there."""
    device = PartialState().device
    network.to(device, memory_format=fastest_order(device))  # type: ignore[call-overload]
    return network


def fastest_order(device: torch.device) -> torch.memory_format:
    """Channels last makes convolutions on a CPU 1.6 times as fast."""
    return torch.channels_last if device.type == "cpu" else torch.contiguous_format


@contextmanager
def exact_products() -> Iterator[None]:
    """For all threads: without TF32, which moves distances by more than the tools differ."""
    matrices = torch.backends.cuda.matmul
    before, matrices.allow_tf32 = matrices.allow_tf32, False
    try:
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            yield
    finally:
        matrices.allow_tf32 = before


@torch.inference_mode()
def _measure(
    seen: Sequence[Looks], network: Callable[[Tensor], Tensor] | None, device: torch.device
) -> Collected:
    features = np.zeros((len(seen), 0), np.float32)
    images = [item.image for item in seen if item.image is not None]
    if network is not None:
        batch = torch.stack(images).to(device, memory_format=fastest_order(device))
        features = network(batch).float().cpu().numpy()
    small = [item.thumbnail for item in seen if item.thumbnail is not None]
    thumbnails = np.stack(small) if small else _no_thumbnails(len(seen))
    sizes = np.array([item.size for item in seen])
    return Collected([item.index for item in seen], sizes, features, thumbnails, [])


def _join(parts: Sequence[Collected], errors: list[ImageError]) -> Collected:
    if not parts:
        no_sizes, no_features = np.zeros((0, 2), np.int64), np.zeros((0, 0), np.float32)
        return Collected([], no_sizes, no_features, _no_thumbnails(0), errors)
    return Collected(
        [index for part in parts for index in part.indices],
        np.concatenate([part.sizes for part in parts]),
        np.concatenate([part.features for part in parts]),
        np.concatenate([part.thumbnails for part in parts]),
        [*errors, *(error for part in parts for error in part.errors)],
    )


def _in_order(gathered: Sequence[Collected]) -> Collected:
    """All processes' shares as one, in the order of the paths."""
    whole = _join([part for part in gathered if len(part)], [])
    errors = [error for part in gathered for error in part.errors]
    moments: Moments | None = None
    for part in gathered:
        moments = merged(moments, part.moments)
    order = np.argsort(np.array(whole.indices, dtype=np.int64))
    return Collected(
        sorted(whole.indices),
        whole.sizes[order],
        whole.features[order],
        whole.thumbnails[order],
        sorted(errors, key=lambda error: error.path),
        moments,
    )


def _no_thumbnails(count: int) -> Thumbnails:
    return np.zeros((count, 0, 0, 3), np.uint8)


def _ahead(
    pool: ThreadPoolExecutor,
    look: Callable[[int], Looks | ImageError],
    indices: Sequence[int],
    depth: int,
) -> Iterator[Looks | ImageError]:
    """Results in order, so many of them being worked on ahead."""
    waiting: deque[Future[Looks | ImageError]] = deque()
    for index in indices:
        waiting.append(pool.submit(look, index))
        if len(waiting) > depth:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _batches(
    items: Iterator[Looks | ImageError], size: int
) -> Iterator[tuple[Looks | ImageError, ...]]:
    while batch := tuple(itertools.islice(items, size)):
        yield batch
