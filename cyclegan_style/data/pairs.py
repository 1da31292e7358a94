"""Pictures whose translation is known: two folders of equal names."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from cyclegan_style.data.domains import ImageDomain
from cyclegan_style.data.images import Pixels, resize
from cyclegan_style.data.levels import Range
from cyclegan_style.data.listing import DomainError, Split, list_images
from cyclegan_style.data.pictures import PictureFiles
from cyclegan_style.errors import UserError
from cyclegan_style.synthetic import DEMO_COUNTS, DEMO_PARTNERS, DEMO_SPECS, demo_folder

FIELD = "data.pairs"

_SHOWN_OF_MISSING = 3


class KnownPairs:
    """Pairs by number, of which both pictures are readable and have one size."""

    def __init__(self, domains: Mapping[str, ImageDomain]) -> None:
        self.domains = dict(domains)
        a, b = domains.values()
        common = set(a.numbers) & set(b.numbers)
        for domain in (a, b):
            domain.keep(common)
        if not common:
            raise self._none_readable()

    def __len__(self) -> int:
        """Number of pairs."""
        return len(next(iter(self.domains.values())))

    def pixels(self, index: int) -> dict[str, Pixels]:
        """Both pictures by domain; if a file went bad, those of the next pair that is readable.

        A second picture of another size is brought to that of the first.
        """
        for offset in range(len(self)):
            candidate = (index + offset) % len(self)
            pair: dict[str, Pixels] = {}
            for name, domain in self.domains.items():
                pixels = domain.pixels_if_readable(candidate)
                if pixels is None:
                    break
                pair[name] = pixels
            else:
                return _of_one_size(pair)
        raise self._none_readable()

    def _none_readable(self) -> DomainError:
        specs = ", ".join(domain.spec for domain in self.domains.values())
        return DomainError.about(FIELD, specs, "of none of the pairs can both pictures be read")


def open_pair_files(
    specs: tuple[str, str], ranges: Sequence[Range | None] = (None, None)
) -> list[PictureFiles]:
    """The files of pairs in one order: of two folders, or of a demo's two domains."""
    paths = _demo_pairs(specs) if any(spec in DEMO_SPECS for spec in specs) else _pairs(specs)
    return [PictureFiles(*each) for each in zip(paths, ranges, strict=True)]


def _pairs(specs: tuple[str, str]) -> tuple[list[Path], list[Path]]:
    a, b = (images_by_name(spec, "train", FIELD) for spec in specs)
    for (spec, own), other in (((specs[1], b), a), ((specs[0], a), b)):
        if missing := sorted(other.keys() - own.keys()):
            shown = ", ".join(str(other[name]) for name in missing[:_SHOWN_OF_MISSING])
            more = len(missing) - _SHOWN_OF_MISSING
            listed = f"{shown} and {more} more" if more > 0 else shown
            raise DomainError.about(FIELD, spec, f"no picture there has the name of {listed}")
    names = sorted(a)
    return [a[name] for name in names], [b[name] for name in names]


def images_by_name(spec: str, split: Split, field: str) -> dict[str, Path]:
    """Pictures of a domain by their path below its folder, without the ending."""
    root = Path(spec).expanduser()
    named: dict[str, Path] = {}
    for path in list_images(spec, split, field):
        below = path.relative_to(root) if root.is_dir() and root != path else Path(path.name)
        name = str(below.with_suffix(""))
        if name in named:
            raise UserError(f"{field}: {named[name]} and {path} have the same name")
        named[name] = path
    return named


def _demo_pairs(specs: tuple[str, str]) -> tuple[list[Path], list[Path]]:
    """As many true pairs as the demo has training pictures, none of which is a test picture."""
    known = {spec: f"demo:{DEMO_PARTNERS[domain]}" for spec, domain in DEMO_SPECS.items()}
    if known.get(specs[0]) != specs[1]:
        both = " or ".join(f"{a}, {b}" for a, b in known.items())
        raise DomainError.about(FIELD, ", ".join(specs), f"true pairs of a demo are {both}")
    source, tests = DEMO_SPECS[specs[0]], DEMO_COUNTS["test"]
    shown, truth = (
        demo_folder(source, split, count=tests + DEMO_COUNTS["train"])
        for split in ("test", "truth")
    )
    return sorted(shown.iterdir())[tests:], sorted(truth.iterdir())[tests:]


def _of_one_size(pair: dict[str, Pixels]) -> dict[str, Pixels]:
    first = next(iter(pair.values()))
    height, width = first.shape[:2]
    return {
        name: pixels if pixels.shape[:2] == (height, width) else resize(pixels, (height, width))
        for name, pixels in pair.items()
    }
