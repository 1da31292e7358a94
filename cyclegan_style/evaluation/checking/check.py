"""The check of two domains: examine the pictures, find what is wrong, write it down."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cyclegan_style.data.listing import Split
from cyclegan_style.errors import UserError
from cyclegan_style.evaluation.checking.examined import Examined, examine, load_network
from cyclegan_style.evaluation.checking.findings import Findings, find_all
from cyclegan_style.system.whole_files import write_durably


def check_domains(specs: Mapping[str, str]) -> Findings:
    """Check a, b, test_a and test_b, or some of them; a demo brings its own test set."""
    network = load_network()
    sets = [
        examine(name, spec, split, f"--{name.replace('_', '-')}", network)
        for name, spec, split in _with_demo_tests(specs)
    ]
    return find_all(sets)


def write_lists(path: Path, findings: Findings) -> dict[str, str]:
    """Write the files that are fine: all to ``path``, and of several sets each to its own beside.

    Files below the list's folder are named relative to it, others by their absolute paths.
    """
    lists = {"all": (path, findings.sets)}
    if len(findings.sets) > 1:
        for part in findings.sets:
            own = path.with_stem(f"{path.stem}-{part.name.replace('_', '-')}")
            lists[part.name] = (own, [part])
    for own, parts in lists.values():
        _write_list(own, parts, findings)
    return {name: str(own) for name, (own, _) in lists.items()}


def _write_list(path: Path, parts: Sequence[Examined], findings: Findings) -> None:
    folder = path.parent.absolute()
    lines = []
    for image in dict.fromkeys(each for part in parts for each in findings.fine(part)):
        if not set("\r\n") & set(str(image)):  # which no line can hold
            whole = Path(os.path.normpath(image.absolute()))
            below = whole.is_relative_to(folder)
            lines.append(f"{whole.relative_to(folder) if below else whole}\n")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_durably(path, "".join(lines).encode("utf-8", "surrogateescape"))
    except OSError as error:
        raise UserError(f"--write-list: {path}: cannot be written: {error.strerror}") from error


def _with_demo_tests(specs: Mapping[str, str]) -> list[tuple[str, str, Split]]:
    wanted: list[tuple[str, str, Split]] = [
        (name, specs[name], "train") for name in ("a", "b") if name in specs
    ]
    for name in ("a", "b"):
        own = specs.get(name, "")
        test = specs.get(f"test_{name}") or (own if own.startswith("demo:") else None)
        if test is not None:
            wanted.append((f"test_{name}", test, "test"))
    return wanted


def exit_status(findings: Findings) -> int:
    """0 if nothing serious was found, else 1."""
    return 1 if findings.problems else 0


def result_of(findings: Findings, page: Path, lists: Mapping[str, str]) -> dict[str, Any]:
    """All that was found and written, as one JSON object."""
    return findings.to_dict() | {"page": str(page), "lists": dict(lists)}
