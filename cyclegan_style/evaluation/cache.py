"""Features of reference sets on disk, so that a second evaluation need not compute them.

The key holds the content of every file, so a changed picture is another set.
"""

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np

from cyclegan_style.evaluation.collect import Collected
from cyclegan_style.system.user_cache import cache_folder
from cyclegan_style.system.whole_files import checksum, whole_file

_ARRAYS = ("sizes", "features", "thumbnails")


def cached_file(paths: Sequence[Path], made_by: Sequence[str]) -> Path | None:
    """Where features of these pictures belong, None if a picture cannot be read."""
    key = hashlib.sha256("\n".join(made_by).encode())
    try:
        with ThreadPoolExecutor() as pool:
            for digest in pool.map(checksum, paths):
                key.update(bytes.fromhex(digest))
    except OSError:
        return None
    return cache_folder() / "features" / f"{key.hexdigest()[:40]}.npz"


def recall(file: Path) -> Collected | None:
    """Kept features, None if there are none or they are damaged."""
    try:
        with np.load(file, allow_pickle=False) as kept:
            sizes, features, thumbnails = (kept[name] for name in _ARRAYS)
    except Exception:  # a damaged file can fail in any part of its reader
        return None
    return Collected(list(range(len(features))), sizes, features, thumbnails, [])


def keep(file: Path, collected: Collected) -> None:
    """Write features; a cache that cannot be written is no error."""
    with suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(file) as stream:
            np.savez(stream, **{name: getattr(collected, name) for name in _ARRAYS})
