"""The rooms of the package: what each may import, and how large they may grow."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "cyclegan_style"
ROOMS = (
    "commands",
    "benchmarks",
    "serving",
    "training",
    "stylizing",
    "applying",
    "evaluation",
    "runs",
    "models",
    "features",
    "data",
    "networks",
    "synthetic",
)
"""From top to bottom: each imports from those after it."""
FOUNDATION = ("config", "errors", "system")
"""What everything may import, and what imports nothing else."""
MOST_LINES = 450
MOST_ENTRIES = 18

FILES = sorted(PACKAGE.rglob("*.py"))
MODULES = {path.relative_to(PACKAGE.parent).with_suffix("").parts: path for path in FILES}
MODULES = {parts[:-1] if parts[-1] == "__init__" else parts: p for parts, p in MODULES.items()}


def imported(path: Path) -> set[tuple[str, ...]]:
    """Modules of the package that a file imports, wherever in it; not those for types alone."""
    found: set[tuple[str, ...]] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("cyclegan_style"):
            module = tuple(str(node.module).split("."))
            inner = [(*module, alias.name) for alias in node.names]
            found |= {each if each in MODULES else module for each in inner}
        elif isinstance(node, ast.Import):
            names = (tuple(alias.name.split(".")) for alias in node.names)
            found |= {name for name in names if name[0] == "cyclegan_style"}
    return found


def room_of(module: tuple[str, ...]) -> str:
    return module[1] if len(module) > 1 else ""


def test_every_room_has_its_place():
    folders = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").exists()}

    assert folders == {*ROOMS, "config", "system"}
    entries = [path for path in PACKAGE.iterdir() if path.name != "__pycache__"]
    assert len(entries) <= MOST_ENTRIES


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_from_those_below(room):
    allowed = {*ROOMS[ROOMS.index(room) :], *FOUNDATION}

    for module, path in MODULES.items():
        if room_of(module) == room:
            above = {other for other in imported(path) if room_of(other) not in allowed}
            assert not above, f"{path} imports {above}"


def test_the_foundation_rests_on_itself():
    for module, path in MODULES.items():
        if room_of(module) in FOUNDATION:
            assert {room_of(other) for other in imported(path)} <= set(FOUNDATION), path


def test_no_files_import_each_other():
    graph = {module: imported(path) - {module} for module, path in MODULES.items()}

    list(TopologicalSorter(graph).static_order())  # raises a CycleError that names the files


def test_no_file_is_too_long():
    lines = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in FILES}

    assert not {path: count for path, count in lines.items() if count > MOST_LINES}
