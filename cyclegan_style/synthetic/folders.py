"""Folders of demo pictures: which landscapes they show, and the cache that keeps them."""

import shutil
import time
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Literal

from tqdm import tqdm

from cyclegan_style.synthetic.drawing import draw_all
from cyclegan_style.system.user_cache import cache_folder

DEMO_VERSION = 1
"""Part of the cache folder's name: raise it whenever a pixel of any demo picture changes."""

DEMO_COUNTS = {"train": 400, "test": 32}
"""Pictures per domain; the folder `truth` has as many as `test`."""

Domain = Literal["photo", "painting", "summer", "winter"]
Split = Literal["train", "test", "truth"]

DEMO_PARTNERS: dict[Domain, Domain] = {
    "photo": "painting",
    "painting": "photo",
    "summer": "winter",
    "winter": "summer",
}
"""The domain in which every picture of a domain is known, too: what `truth` shows."""

DEMO_SPECS: dict[str, Domain] = {f"demo:{domain}": domain for domain in DEMO_PARTNERS}
"""The demo domains by what users call them."""

_ABANDONED_AFTER = 3600.0  # seconds without a new picture
_SOURCE_BLOCK = 1_000_000  # more than any count: the sources of two sets never meet


def demo_folder(
    domain: Domain,
    split: Split,
    *,
    cache: Path | None = None,
    progress: bool = True,
    count: int | None = None,
) -> Path:
    """Return a folder of PNG files `0000.png` ... of a demo domain, rendered on first use.

    `truth` holds, under the names of `test`, the same pictures in the other domain. No landscape
    of one domain occurs in the other. `count` overrides `DEMO_COUNTS`. Several processes may ask
    for a folder at once; one that exists is complete. Raises OSError where it cannot be written.
    """
    sources = demo_sources(domain, split, count)
    parent = (cache or cache_folder()) / f"demo-{DEMO_VERSION}"
    folder = parent / f"{domain}-{split}-{len(sources)}"
    unfinished = parent / f".{folder.name}-{uuid.uuid4().hex}"
    try:
        if folder.is_dir():
            return folder
        unfinished.mkdir(parents=True)
        _delete_leftovers(parent)
        _render_into(unfinished, domain, split, sources, progress)
        _move_into_place(unfinished, folder)
    except OSError as error:
        raise OSError(
            f"cannot write the demo pictures to {folder}: {error.strerror or error}; "
            "set CYCLEGAN_STYLE_CACHE to a folder that can be written"
        ) from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return folder


def demo_sources(domain: Domain, split: Split, count: int | None = None) -> range:
    """Number the landscapes behind a demo folder; only `test` and `truth` share theirs."""
    if domain not in DEMO_PARTNERS or split not in ("train", "test", "truth"):
        raise ValueError(f"no demo pictures {domain!r}, {split!r}")
    tested = split != "train"
    start = (2 * list(DEMO_PARTNERS).index(domain) + int(tested)) * _SOURCE_BLOCK
    if count is None:
        count = DEMO_COUNTS["test" if tested else "train"]
    return range(start, start + count)


def _delete_leftovers(parent: Path) -> None:
    """Delete what killed renderings left behind; one that still runs keeps touching its folder."""
    for leftover in parent.glob(".*-*-*-*"):
        with suppress(OSError):  # such as when another process deletes it as well
            if time.time() - leftover.stat().st_mtime > _ABANDONED_AFTER:
                shutil.rmtree(leftover)


def _render_into(
    folder: Path, domain: Domain, split: Split, sources: range, progress: bool
) -> None:
    shown = DEMO_PARTNERS[domain] if split == "truth" else domain
    hidden = None if progress else True  # None: hidden unless on a terminal
    described = f"demo {domain} {split}"
    bar = tqdm(total=len(sources), desc=described, delay=1.0, disable=hidden, leave=False)
    with bar:
        draw_all(folder, shown, sources, bar)


def _move_into_place(unfinished: Path, folder: Path) -> None:
    """Rename a finished folder, unless another process was faster with the same pictures."""
    try:
        unfinished.rename(folder)
    except OSError:
        if not folder.is_dir():
            raise
