"""What was found in the sets of pictures, in lists for programs and in sentences for people."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from cyclegan_style.errors import printable
from cyclegan_style.evaluation.checking.content import neighbours_share, odd_ones
from cyclegan_style.evaluation.checking.copies import find_copies
from cyclegan_style.evaluation.checking.examined import Examined
from cyclegan_style.evaluation.checking.looks import BINS, Look

TOO_FEW = 20
"""Training pictures of a domain below which nothing is learned but these."""
FEW = 200
NO_NEIGHBOURS = 0.2
"""Share of a domain's pictures with neighbours in the other below which their content differs."""
MOSTLY = 0.9
"""Share of a domain from which on what its pictures are is what the domain is."""

_FAR_APART = 40  # of 255 levels
_SHAPES_DIFFER = 1.5


@dataclass(frozen=True)
class Pair:
    """Two files that show the same picture."""

    first: Path
    second: Path
    sets: tuple[str, str]
    mirrored: bool

    @property
    def paths(self) -> list[str]:
        """Both, as JSON has them."""
        return [str(self.first), str(self.second)]


@dataclass
class Findings:
    """All that was found; what is a problem has a sentence there, what may be right a remark."""

    sets: list[Examined]
    duplicates: list[Pair] = field(default_factory=list)
    """Within a set."""
    leaks: list[Pair] = field(default_factory=list)
    """Between training and test, the training picture first."""
    shared: list[Pair] = field(default_factory=list)
    """Between the domains."""
    blank: list[Path] = field(default_factory=list)
    grey: list[Path] = field(default_factory=list)
    """In a domain of colours."""
    borders: list[Path] = field(default_factory=list)
    outliers: list[Path] = field(default_factory=list)
    """Farthest from the others of their set; not left out of the list of fine files."""
    neighbours: dict[str, float | None] = field(default_factory=dict)
    """Of a_in_b and b_in_a: share of pictures with neighbours of like content there."""
    problems: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    def fine(self, part: Examined) -> list[Path]:
        """The files of a set without what is wrong with single files; of copies, one is kept."""
        left_out = {*self.blank, *self.grey, *self.borders}
        left_out |= {pair.second for pair in self.duplicates}
        left_out |= {pair.first for pair in self.leaks}
        left_out |= {path for pair in self.shared for path in (pair.first, pair.second)}
        return [path for path in part.paths if path not in left_out]

    def to_dict(self) -> dict[str, Any]:
        """As one JSON object."""
        errors = [error for part in self.sets for error in part.errors]
        pairs = [*self.duplicates, *self.leaks, *self.shared]
        return {
            **{part.name: facts_of(part) for part in self.sets},
            "unreadable": [{"path": str(error.path), "error": error.reason} for error in errors],
            "duplicates": [pair.paths for pair in self.duplicates],
            "leaks": [pair.paths for pair in self.leaks],
            "shared": [pair.paths for pair in self.shared],
            "mirrored": [pair.paths for pair in pairs if pair.mirrored],
            "blank": [str(path) for path in self.blank],
            "grey": [str(path) for path in self.grey],
            "borders": [str(path) for path in self.borders],
            "outliers": [str(path) for path in self.outliers],
            "neighbours": self.neighbours,
            "problems": self.problems,
            "remarks": self.remarks,
        }


def find_all(sets: Sequence[Examined]) -> Findings:
    """Look for everything in these sets."""
    findings = Findings(list(sets))
    _say_unreadable(findings)
    for part in sets:
        _say_size(findings, part)
    _say_copies(findings)
    for part in sets:
        _say_faults(findings, part)
        _say_shapes(findings, part)
        _say_outliers(findings, part)
    _compare(findings)
    return findings


def mean_level(part: Examined, distribution: Callable[[Look], Any]) -> float:
    """Mean of a distribution, on a scale of 255."""
    centres = (np.arange(BINS) + 0.5) * 256 / BINS - 0.5
    return float(np.mean([distribution(look) @ centres for look in part.looks]))


def facts_of(part: Examined) -> dict[str, Any]:
    """Counts, sizes and colours of a set."""
    sizes = Counter(f"{look.width}x{look.height}" for look in part.looks)
    facts: dict[str, Any] = {
        "spec": part.spec,
        "count": len(part),
        "unreadable": len(part.errors),
        "sizes": dict(sizes.most_common(10)),
    }
    if part.looks:
        by_area = sorted(part.looks, key=lambda look: look.width * look.height)
        facts["smallest"] = [by_area[0].width, by_area[0].height]
        facts["largest"] = [by_area[-1].width, by_area[-1].height]
        facts["brightness"] = round(mean_level(part, lambda look: look.brightness), 1)
        facts["chroma"] = round(mean_level(part, lambda look: look.chroma), 1)
        facts["grey"] = sum(look.grey for look in part.looks)
    return facts


# Sentences


def _say_unreadable(findings: Findings) -> None:
    for part in findings.sets:
        if part.errors:
            share = f"{len(part.errors)} of {_files(part.found)} of {part.title} cannot be read"
            findings.problems.append(printable(f"{share}, such as {part.errors[0]}."))


def _say_size(findings: Findings, part: Examined) -> None:
    if part.name not in ("a", "b"):
        return
    if len(part) < TOO_FEW:
        findings.problems.append(
            f"{part.title} has {_pictures(len(part))}: too few to learn a domain from, unless as"
            " the paintings of task one_style."
        )
    elif len(part) < FEW:
        findings.remarks.append(
            f"{part.title} has {_pictures(len(part))}: with fewer than {FEW}, watch whether the"
            " discriminator learns them by heart."
        )


def _say_copies(findings: Findings) -> None:
    owners = [(part, path) for part in findings.sets for path in part.paths]
    for copy in find_copies(findings.sets):
        (first, original), (second, path) = owners[copy.original], owners[copy.copy]
        pair = Pair(original, path, (first.title, second.title), copy.mirrored)
        if first is second:
            findings.duplicates.append(pair)
        elif first.name.startswith("test_") != second.name.startswith("test_"):
            findings.leaks.append(pair)
        else:
            findings.shared.append(pair)
    say = findings.problems.append
    for (title, _), pairs in _by_sets(findings.duplicates):
        what = "is a copy of another" if len(pairs) == 1 else "are copies of others"
        say(f"{_pictures(len(pairs))} of {title} {what}, such as {_shown(pairs[0])}.")
    for (train, test), pairs in _by_sets(findings.leaks):
        also = f"{_pictures(len(pairs))} of {test} {_be(pairs)} also in {train}"
        say(f"{also}, such as {_shown(pairs[0])}: scores on them say little about others.")
    for (one, other), pairs in _by_sets(findings.shared):
        say(f"{_pictures(len(pairs))} {_be(pairs)} in both {one} and {other}: {_shown(pairs[0])}.")


def _say_faults(findings: Findings, part: Examined) -> None:
    faults = _paths(part, lambda look: look.blank)
    _say_of_files(findings, part, faults, findings.blank, "blank")
    grey = _paths(part, lambda look: look.grey and not look.blank)
    if part.looks and len(grey) >= MOSTLY * len(part):
        channels = f"data.channels_{part.name.removeprefix('test_')} 1"
        findings.remarks.append(f"{part.title} is greyscale; {channels} trains on it as such.")
    else:
        _say_of_files(findings, part, grey, findings.grey, "greyscale in a domain of colours")
    borders = _paths(part, lambda look: look.border)
    _say_of_files(findings, part, borders, findings.borders, "framed by a border of one colour")


def _say_of_files(
    findings: Findings, part: Examined, paths: list[Path], found: list[Path], what: str
) -> None:
    if paths:
        found.extend(paths)
        count = f"{len(paths)} of {_pictures(len(part))} of {part.title} {_be(paths)} {what}"
        findings.problems.append(printable(f"{count}, such as {paths[0]}."))


def _say_shapes(findings: Findings, part: Examined) -> None:
    ratios = [look.width / look.height for look in part.looks]
    if ratios and max(ratios) > _SHAPES_DIFFER * min(ratios):
        findings.remarks.append(
            f"The shapes of {part.title} differ: width is {min(ratios):.2f} to {max(ratios):.2f} of"
            " height. data.resize square distorts them; data.resize shortest does not."
        )


def _say_outliers(findings: Findings, part: Examined) -> None:
    if part.name in ("a", "b"):
        odd = odd_ones(part.features)
        outliers = [part.paths[place] for place in odd if not part.looks[place].blank]
        findings.outliers += outliers
        if outliers:
            verb = "lies" if len(outliers) == 1 else "lie"
            count = f"{_pictures(len(outliers))} of {part.title} {verb} far from the others"
            findings.remarks.append(printable(f"{count}, such as {outliers[0]}."))


def _compare(findings: Findings) -> None:
    by_name = {part.name: part for part in findings.sets}
    if not all(len(by_name.get(name, ())) for name in ("a", "b")):
        return
    a, b = by_name["a"], by_name["b"]
    for one, other in ((a, b), (b, a)):
        share = neighbours_share(one.features, other.features)
        findings.neighbours[f"{one.name}_in_{other.name}"] = share
        if share is not None and share < NO_NEIGHBOURS:
            findings.problems.append(
                f"{one.title} and {other.title} show different things: only {share:.0%} of"
                f" {one.title} have neighbours of like content in {other.title}, so a translation"
                " must invent."
            )
    for name, distribution in (
        ("brighter", lambda look: look.brightness),
        ("more colourful", lambda look: look.chroma),
    ):
        difference = mean_level(a, distribution) - mean_level(b, distribution)
        if abs(difference) > _FAR_APART:
            more, less = ("A", "B") if difference > 0 else ("B", "A")
            findings.remarks.append(
                f"{more} is {name} than {less} by {abs(difference):.0f} of 255 levels, which a"
                " translation learns as part of the style."
            )


def _by_sets(pairs: Iterable[Pair]) -> list[tuple[tuple[str, str], list[Pair]]]:
    grouped: dict[tuple[str, str], list[Pair]] = {}
    for pair in pairs:
        grouped.setdefault(pair.sets, []).append(pair)
    return list(grouped.items())


def _paths(part: Examined, wanted: Callable[[Look], bool]) -> list[Path]:
    return [path for path, look in zip(part.paths, part.looks, strict=True) if wanted(look)]


def _shown(pair: Pair) -> str:
    mirrored = ", mirrored" if pair.mirrored else ""
    return printable(f"{pair.second} of {pair.first}{mirrored}")


def _be(items: Sequence[object]) -> str:
    return "is" if len(items) == 1 else "are"


def _pictures(count: int) -> str:
    return "1 picture" if count == 1 else f"{count:,} pictures"


def _files(count: int) -> str:
    return "1 file" if count == 1 else f"{count:,} files"
