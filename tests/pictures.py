"""Folders of pictures, and domains opened on them."""

from pathlib import Path
from typing import Any

import numpy as np

from cyclegan_style.data.domains import ImageDomain
from cyclegan_style.data.images import write_image
from cyclegan_style.data.listing import open_pictures


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
    shape: dict[str, Any] = {"channels": 3, "resize": "square", "sizes": [(36, 36)]}
    shape["fast_jpeg"] = False
    checks: dict[str, Any] = {"min_readable": 0.9, "memory_budget": 10**9, "progress": False}
    given = {"field": "data.a", "split": "train"} | shape | checks | changes
    pictures = open_pictures(str(spec), given["split"], given["field"], given["progress"])
    of_shape, of_checks = ({name: given.pop(name) for name in each} for each in (shape, checks))
    assert given.keys() == {"field", "split"}
    domain = ImageDomain(str(spec), given["field"], pictures, **of_shape)
    return domain.checked(**of_checks)
