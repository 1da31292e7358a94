"""Where the pictures of a domain lie: what its words mean, from a folder to a data set."""

import os
from pathlib import Path
from typing import Literal

from cyclegan_style.data.deep_files import ARRAY_ENDING
from cyclegan_style.data.hub_pictures import SCHEME, HubError, HubPictures
from cyclegan_style.data.images import IMAGE_ENDINGS
from cyclegan_style.data.levels import Range
from cyclegan_style.data.pictures import PictureFiles, Pictures
from cyclegan_style.data.remote_pictures import RemotePictures
from cyclegan_style.data.shard_pictures import ShardPictures, names_shards
from cyclegan_style.data.storage import StorageError, is_remote
from cyclegan_style.errors import UserError, printable
from cyclegan_style.synthetic import DEMO_SPECS, demo_folder

Split = Literal["train", "test"]

LIST_ENDING = ".txt"

_SHOWN_OF_A_LINE = 200
_REFERENCE_FOLDERS = {"a": "trainA", "b": "trainB", "test_a": "testA", "test_b": "testB"}


class DomainError(UserError):
    """A domain that cannot be used; names the option, what it was set to and what to do."""

    @classmethod
    def about(cls, field: str, spec: str | Path, reason: str) -> "DomainError":
        """An error about what ``field`` was set to; workers need a constructor of one text."""
        return cls(printable(f"{field}: {spec}: {reason}"))


def list_images(
    spec: str,
    split: Split = "train",
    field: str = "data.a",
    progress: bool = True,
    endings: frozenset[str] = IMAGE_ENDINGS,
    *,
    closed_folders: bool = False,
) -> list[Path]:
    """Files of a domain, sorted: a folder searched recursively, a glob, a list, a file or a demo.

    A list is a text file that ends in .txt, of one path a line, relative to the list's folder.
    ``split`` chooses a part of a demo such as ``demo:photo``, whose pictures are made on first use,
    with a progress bar if wanted; ``field`` is the option that errors name; ``endings`` are
    those of the files that count, where there are none .npy. A folder inside that may not be
    entered is an error, or, with ``closed_folders``, listed in place of its files.
    """
    try:
        images = _find_images(spec, split, field, progress, endings, closed_folders)
        if not images:
            arrays = frozenset({ARRAY_ENDING})
            images = _find_images(spec, split, field, progress, arrays, closed_folders)
    except (OSError, ValueError, RuntimeError) as error:  # the last for a home of nobody
        reason = getattr(error, "strerror", None) or str(error)
        raise DomainError.about(field, spec, f"cannot be searched: {reason}") from error
    if not images:
        known = " ".join(sorted(endings))
        raise DomainError.about(field, spec, f"no image there; files count that end in {known}")
    return images


def open_pictures(
    spec: str,
    split: Split = "train",
    field: str = "data.a",
    progress: bool = True,
    values_range: Range | None = None,
) -> Pictures:
    """A domain's pictures by number, wherever they lie.

    Those in files may have values of a range, for more than 8 bits.
    """
    try:
        pictures = _open_elsewhere(spec, field, progress)
    except (HubError, StorageError) as error:
        reason = str(error).removeprefix(f"{spec}: ")
        raise DomainError.about(field, spec, reason) from None
    if pictures is None:
        return PictureFiles(list_images(spec, split, field, progress), values_range)
    if values_range is not None:
        raise DomainError.about(field, spec, "data.range is for pictures in files")
    return pictures


def _open_elsewhere(spec: str, field: str, progress: bool) -> Pictures | None:
    """Pictures that are no files of their own on this machine."""
    if spec.startswith(SCHEME):
        return HubPictures.open(spec)
    if names_shards(spec):
        return ShardPictures.open(spec, f"{field}: indexing shards", progress)
    return RemotePictures.open(spec) if is_remote(spec) else None


def reference_layout(root: str | Path) -> dict[str, Path]:
    """Domains of a folder laid out for the reference: a, b and, where present, test_a, test_b."""
    root = Path(root).expanduser()
    folders = {name: root / folder for name, folder in _REFERENCE_FOLDERS.items()}
    missing = [folders[name].name for name in ("a", "b") if not folders[name].is_dir()]
    if missing:
        reason = f"no folder {' and no folder '.join(missing)} in it"
        if not root.is_dir():
            reason = "no such folder"
        raise DomainError.about("data.root", root, f"{reason}; it must hold trainA and trainB")
    return {name: folder for name, folder in folders.items() if folder.is_dir()}


def _find_images(
    spec: str,
    split: Split,
    field: str,
    progress: bool,
    endings: frozenset[str],
    closed_folders: bool,
) -> list[Path]:
    if spec.startswith("demo:"):
        if spec not in DEMO_SPECS:
            raise DomainError.about(field, spec, f"there are {', '.join(DEMO_SPECS)}")
        return _images_below(demo_folder(DEMO_SPECS[spec], split, progress=progress), endings)
    if spec.startswith(SCHEME):
        raise DomainError.about(field, spec, "a data set for training; name files or a folder here")
    if names_shards(spec) or is_remote(spec):
        raise DomainError.about(field, spec, "is for training; name files or a folder here")
    path = Path(spec).expanduser()
    if spec and path.is_dir():
        return _images_below(path, endings, closed_folders)
    if is_list(spec):
        return _images_listed(path, spec, field)
    if path.is_file() or path.is_symlink():  # a link to nothing fails when it is read
        return [path]
    if any(sign in spec for sign in "*?["):
        return _images_matching(path, endings)
    raise DomainError.about(field, spec, "no such file or folder")


def is_list(spec: str) -> bool:
    """Whether a domain is named by a list of its files."""
    path = Path(spec).expanduser()
    return path.suffix.lower() == LIST_ENDING and path.is_file()


def _images_listed(path: Path, spec: str, field: str) -> list[Path]:
    """The files that a list names, each once and by its absolute path, whatever their endings."""
    text = path.read_text(encoding="utf-8-sig", errors="surrogateescape")
    images: set[Path] = set()
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        image = Path(os.path.normpath(path.parent.absolute() / line.removesuffix("\r")))
        if reason := _why_no_file(image):
            shown = line.strip() if len(line) <= _SHOWN_OF_A_LINE else f"{line[:_SHOWN_OF_A_LINE]}…"
            raise DomainError.about(field, spec, f"line {number}: {shown}: {reason}")
        images.add(image)
    return sorted(images)


def _why_no_file(path: Path) -> str:
    """What is wrong with a path that a list names, nothing if it is a file."""
    try:
        if path.is_file():
            return ""
        return "is a folder" if path.is_dir() else "no such file"
    except OSError:  # such as a name too long
        return "no such file"


def _images_below(
    folder: Path, endings: frozenset[str], closed_folders: bool = False
) -> list[Path]:
    """Images in a folder and all below it; links are followed, hidden names skipped."""
    images: list[Path] = []

    def refuse(error: OSError) -> None:  # os.walk would otherwise pass over the folder in silence
        if not closed_folders or Path(error.filename) == folder:
            raise error
        images.append(Path(error.filename))

    entered = set()
    for name, folders, files in os.walk(folder, followlinks=True, onerror=refuse):
        status = Path(name).stat()
        if (status.st_dev, status.st_ino) in entered:  # a link back up, or a second way here
            folders.clear()
            continue
        entered.add((status.st_dev, status.st_ino))
        shown = sorted(inner for inner in folders if not inner.startswith("."))
        # Links last, so that a folder is known by its own name.
        linked = [inner for inner in shown if Path(name, inner).is_symlink()]
        folders[:] = [inner for inner in shown if inner not in linked] + linked
        images += [Path(name, file) for file in files if _is_image(Path(file), endings)]
    return sorted(images)


def _images_matching(pattern: Path, endings: frozenset[str]) -> list[Path]:
    matches = Path(pattern.anchor).glob(str(pattern.relative_to(pattern.anchor)))
    return sorted(
        path
        for path in matches
        if _is_image(path, endings)
        and not path.is_dir()
        and not any(part.startswith(".") for part in set(path.parts) - set(pattern.parts))
    )


def _is_image(path: Path, endings: frozenset[str]) -> bool:
    return path.suffix.lower() in endings and not path.name.startswith(".")
