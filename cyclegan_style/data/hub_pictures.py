"""Pictures in rows of a data set of the Hugging Face Hub, or of a folder in such a format.

They come through the library's local cache, from which any row is read by its number.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from cyclegan_style.data.images import ImageError, Pixels, read_image, read_size
from cyclegan_style.data.pictures import file_size, place_of
from cyclegan_style.errors import UserError, printable

SCHEME = "hf://"
EXAMPLE = "hf://datasets/user/name?split=train&column=image"


class HubError(UserError):
    """Why a data set gives no pictures."""


@dataclass(frozen=True)
class HubAddress:
    """Where the pictures lie."""

    place: str
    """Id of the data set on the Hub, or an absolute path of a folder."""
    split: str = "train"
    column: str | None = None
    """The only one that holds pictures by default."""
    config: str | None = None
    revision: str | None = None

    @classmethod
    def parse(cls, spec: str) -> "HubAddress":
        """Read ``hf://datasets/user/name?split=…&column=…``, or ``hf:///folder?…``."""
        parts = urlsplit(spec)
        place = unquote(parts.path)
        if parts.netloc == "datasets":
            place = place.strip("/")
        elif parts.netloc:
            place = ""
        # A + joins splits here, and stands for no blank.
        pairs = parse_qsl(parts.query.replace("+", "%2B"), keep_blank_values=True)
        chosen = dict(pairs)
        known = ("split", "column", "config", "revision")
        unknown = [name for name in chosen if name not in known]
        if unknown or len(chosen) < len(pairs) or parts.fragment:
            reason = f"{unknown[0]} is none of" if unknown else "after the ? stands each once:"
            raise HubError(f"{reason} {', '.join(known)}, such as {EXAMPLE}")
        if not place.strip("/") or "" in chosen.values():
            raise HubError(f"write {EXAMPLE}, or hf:///folder?split=train&column=image")
        return cls(place, **chosen)

    @property
    def is_local(self) -> bool:
        """Whether a folder is meant."""
        return self.place.startswith("/")


class HubPictures:
    """A column of pictures, without the rows that hold none.

    A data set of two domains has such rows where one domain has more pictures than the other.
    """

    is_remote = False

    def __init__(self, rows: Any, column: str, place: Path) -> None:
        self._rows = rows
        self._column = column
        self._place = place
        stored = rows.data.column(column)
        self._held: Sequence[int] = range(len(rows))
        if stored.null_count:
            self._held = [row for row, held in enumerate(stored.is_valid().to_pylist()) if held]

    @classmethod
    def open(cls, spec: str) -> "HubPictures":
        """Find the column, downloading the data set if it is not in the cache yet."""
        address = HubAddress.parse(spec)
        rows = loaded_rows(replace(address, column=None))
        column = _column_of_pictures(rows, address.column)
        from datasets import Image

        rows = rows.select_columns([column]).cast_column(column, Image(decode=False))
        place = Path(address.place, address.config or "", address.split, column)
        pictures = cls(rows, column, place)
        if not len(pictures):
            raise HubError(f"no picture in column {column} of split {address.split}")
        return pictures

    def __len__(self) -> int:
        """Number of rows with a picture."""
        return len(self._held)

    def name(self, number: int) -> Path:
        """The data set's name, split, column and the row's number."""
        return self._place / f"{self._held[number]:06}"

    def find(self, name: Path) -> int | None:
        """Number of the picture of this name."""
        if name.parent != self._place or not name.name.isdecimal():
            return None
        number = place_of(int(name.name), self._held)
        return number if number is not None and self.name(number) == name else None

    def size(self, number: int) -> tuple[int, int]:
        """Height and width by the picture's header."""
        return read_size(*self._content(number))

    def read(self, number: int, channels: int, enough: int | None = None) -> Pixels:
        """Pixels of a row."""
        path, content = self._content(number)
        return read_image(path, channels, content, enough)

    def contents(self) -> list[tuple[str, int]]:
        """File name and size of each, without reading the pictures themselves."""
        from pyarrow import compute

        column = self._rows.data.column(self._column).drop_null()
        paths = compute.struct_field(column, "path").to_pylist()
        sizes = compute.binary_length(compute.struct_field(column, "bytes")).to_pylist()
        return [
            (Path(path or "").name, file_size(Path(path)) if size is None and path else size or 0)
            for path, size in zip(paths, sizes, strict=True)
        ]

    def _content(self, number: int) -> tuple[Path, bytes | None]:
        """What to call a row's picture, and its bytes; without them it is a file."""
        row = self._rows[self._held[number]][self._column]
        if row.get("bytes") is not None:
            return self.name(number), row["bytes"]
        if row.get("path"):
            return Path(row["path"]), None
        raise ImageError(self.name(number), "neither content nor path in this row")


@lru_cache(maxsize=8)
def loaded_rows(address: HubAddress) -> Any:
    """All columns of a split, for which the Hub is asked once in a process."""
    try:
        import datasets
    except ImportError:
        raise HubError("install what reads it: pip install 'cyclegan-style[hub-data]'") from None
    if address.is_local and not Path(address.place).is_dir():
        raise HubError("no such folder")
    try:
        return datasets.load_dataset(
            address.place, address.config, split=address.split, revision=address.revision
        )
    except datasets.exceptions.DatasetNotFoundError:
        raise HubError("no such data set on the Hub, or none that you may see") from None
    except ConnectionError as error:
        raise HubError(f"not in the cache, and the Hub is out of reach ({_told(error)})") from None
    except Exception as error:  # the library's own, and those of all that it reads with
        raise HubError(_told(error)) from None


def _told(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return printable(lines[0] if lines else type(error).__name__)


def _column_of_pictures(rows: Any, wanted: str | None) -> str:
    features: dict[str, Any] = rows.features
    holding = [name for name, feature in features.items() if _holds_pictures(feature)]
    if wanted is not None and wanted in holding:
        return wanted
    some = f"those with pictures are {', '.join(holding)}" if holding else "none has pictures"
    if wanted in features:
        raise HubError(f"column {wanted} holds no pictures; {some}")
    if wanted is not None:
        raise HubError(f"no column {wanted}; there are {', '.join(features)}, and {some}")
    if len(holding) != 1:
        raise HubError(f"name a column, as in {EXAMPLE}; {some}")
    return holding[0]


def _holds_pictures(feature: Any) -> bool:
    """Whether it is one of images, or has bytes and path like one that lost its mark."""
    from datasets import Image

    return isinstance(feature, Image) or (
        isinstance(feature, dict) and feature.keys() == {"bytes", "path"}
    )
