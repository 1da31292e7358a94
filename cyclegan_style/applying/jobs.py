"""Files, folders and patterns → which file becomes which; what would lose a file is refused."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cyclegan_style.applying.video import VIDEO_ENDINGS, is_video
from cyclegan_style.data.deep_files import ARRAY_ENDING
from cyclegan_style.data.images import IMAGE_ENDINGS
from cyclegan_style.data.listing import is_list, list_images
from cyclegan_style.errors import UserError, printable


@dataclass(frozen=True)
class Job:
    """One picture or video, and what it is to become."""

    source: Path
    target: Path


def plan(
    inputs: Sequence[str],
    output: Path,
    ending: str,
    field: str = "--input",
    *,
    videos: bool = True,
) -> list[Job]:
    """Sorted jobs for files, folders (searched recursively, structure kept) and glob patterns.

    Videos, if they are taken, and arrays keep their ending. Two inputs that would become one file,
    or an output in place of an input, are a UserError; ``field`` is the option that errors name.
    """
    jobs: dict[Path, Job] = {}
    for spec in inputs:
        for source, relative in _found(spec, output, field, videos):
            kept = (videos and is_video(source)) or source.suffix.lower() == ARRAY_ENDING
            own = source.suffix.lower() if kept else f".{ending}"
            job = Job(source, output / relative.with_suffix(own))
            other = jobs.setdefault(job.target, job)
            if _real(other.source) != _real(source):
                raise UserError(
                    printable(f"{other.source} and {source} would both become {job.target}")
                )
    _refuse_overwritten_inputs(jobs.values())
    _refuse_files_as_folders(jobs)
    return sorted(jobs.values(), key=lambda job: job.target)


def is_finished(job: Job) -> bool:
    """Whether its file is there, which is then whole, since it is renamed last."""
    try:
        return job.target.is_file()
    except OSError:  # a name too long, for example, which fails when it is written
        return False


def _found(spec: str, output: Path, field: str, videos: bool) -> Iterator[tuple[Path, Path]]:
    """Files of one input, each with its path below the folder or the pattern's fixed part."""
    files = list_images(
        spec,
        split="test",
        field=field,
        progress=False,
        endings=IMAGE_ENDINGS | VIDEO_ENDINGS if videos else IMAGE_ENDINGS,
        closed_folders=True,
    )
    path = Path(spec).expanduser()
    if files == [path]:
        yield path, Path(path.name)
        return
    root = _root(path, files) if not spec.startswith("demo:") else files[0].parent
    finished, searched = _real(output), _real(root)
    if path.is_dir() and finished == searched:
        raise UserError(
            printable(
                f"--output: {output} is the folder of the inputs, which the next run could not tell"
                " from results; choose another folder"
            )
        )
    # What an earlier run wrote is no input, unless all inputs lie below the output.
    all_below = searched.is_relative_to(finished)
    for file in files:
        if all_below or not _real(file.parent).is_relative_to(finished):
            yield file, file.relative_to(root)


def _root(path: Path, files: Sequence[Path]) -> Path:
    if path.is_dir():
        return path
    if is_list(str(path)):  # whose files may lie elsewhere
        return Path(os.path.commonpath([file.parent for file in files]))
    fixed = Path(path.anchor)
    for part in path.relative_to(path.anchor).parts[:-1]:
        if any(sign in part for sign in "*?["):
            break
        fixed /= part
    return fixed


def _real(path: Path) -> Path:
    """The path without links and steps back; it need not exist."""
    return Path(os.path.realpath(path))


def _refuse_files_as_folders(jobs: Mapping[Path, Job]) -> None:
    for target, job in jobs.items():
        for folder in target.parents:
            if folder in jobs:
                file = jobs[folder].source
                raise UserError(
                    printable(f"{file} would become {folder}, the folder for {job.source}")
                )


def _refuse_overwritten_inputs(jobs: Iterable[Job]) -> None:
    jobs = list(jobs)
    sources = {_real(job.source) for job in jobs}
    for job in jobs:
        if _real(job.target) in sources:
            raise UserError(
                printable(f"--output: {job.target} is itself an input; choose another folder")
            )
