"""Folders of pictures, and domains opened on them."""

from pathlib import Path
from typing import Any

import numpy as np

from cyclegan_style.data.domains import ImageDomain
from cyclegan_style.data.images import write_image


def make_images(folder: Path, count: int, height: int = 40, width: int = 48) -> list[Path]:
    """Noise whose sides differ from picture to picture, as in a real collection."""
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(len(str(folder)))
    paths = [folder / f"{index:03}.png" for index in range(count)]
    for index, path in enumerate(paths):
        size = (height + index % 3, width + index % 5, 3)
        write_image(path, generator.integers(0, 256, size, dtype=np.uint8))
    return paths


def open_domain(spec: Path | str, **changes: Any) -> ImageDomain:
    """Open training pictures as domain A, at 36 × 36 pixels."""
    options: dict[str, Any] = {
        "split": "train",
        "field": "data.a",
        "channels": 3,
        "resize": "square",
        "sizes": [(36, 36)],
        "min_readable": 0.9,
        "memory_budget": 10**9,
        "progress": False,
    }
    return ImageDomain.open(str(spec), **(options | changes))
