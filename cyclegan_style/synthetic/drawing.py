"""Draws the pictures of a demo domain, with the help of processes where they are many.

The processes are programs of their own and no pool of multiprocessing, which would run the caller's
script once more: one without a guard, or a notebook, could not have the demo then.
"""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Never

from PIL import Image
from tqdm import tqdm

from cyclegan_style.synthetic.landscape import render_photo
from cyclegan_style.synthetic.painting import paint
from cyclegan_style.synthetic.planes import Pixels
from cyclegan_style.system.cores import processes_here, usable_cores

DEMO_SEED = 2017

_MANY = 64  # fewer are drawn before a process that helps has started
_PROGRAM = "import sys; from cyclegan_style.synthetic import drawing; sys.exit(drawing.main())"


def draw_all(folder: Path, domain: str, sources: range, bar: "tqdm[Never]") -> None:
    """Write `0000.png` ... of these landscapes, shown as the domain's pictures do."""
    many = len(sources) >= _MANY and sys.executable
    cores = usable_cores() // processes_here() if many else 1  # a launcher's others draw as well
    if cores > 1:
        _draw_by_helpers(cores, folder, domain, sources, bar)
    else:
        for number in range(len(sources)):
            draw(folder, domain, sources.start, number)
            bar.update()


def draw(folder: Path, domain: str, first_source: int, number: int) -> None:
    """Write one picture, whose name appears with the whole file."""
    unfinished = folder / f"{number:04d}.part"
    Image.fromarray(render(domain, first_source + number)).save(unfinished, format="png")
    unfinished.rename(unfinished.with_suffix(".png"))


def render(domain: str, source: int) -> Pixels:
    """Show a landscape as the pictures of a domain do; a summer's are photos as well."""
    if domain == "winter":
        return render_photo(DEMO_SEED, source, season="winter")
    photo = render_photo(DEMO_SEED, source)
    return paint(photo) if domain == "painting" else photo


def _draw_by_helpers(
    count: int, folder: Path, domain: str, sources: range, bar: "tqdm[Never]"
) -> None:
    """Share the numbers out, and wait; helpers do not outlive this call."""
    helpers: list[subprocess.Popen[str]] = []
    try:
        for start in range(count):
            helpers.append(_start_helper(folder, domain, sources, start, count))
        while any(helper.poll() is None for helper in helpers):
            _refuse_failure(helpers)
            bar.update(len(list(folder.glob("*.png"))) - bar.n)
            time.sleep(0.05)
        _refuse_failure(helpers)
    finally:
        for helper in helpers:
            helper.kill()
            helper.communicate()


def _start_helper(
    folder: Path, domain: str, sources: range, start: int, step: int
) -> "subprocess.Popen[str]":
    arguments = [folder.resolve(), domain, sources.start, start, len(sources), step]
    return subprocess.Popen(
        [sys.executable, "-P", "-c", _PROGRAM, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _refuse_failure(helpers: "list[subprocess.Popen[str]]") -> None:
    for helper in helpers:
        if helper.poll():  # neither running nor done
            told = helper.communicate()[1].strip().splitlines()
            raise OSError(told[-1] if told else f"a helper ended with {helper.returncode}")


def main() -> int:
    """What a helper does: draw every so manieth number, and tell of an error in one line."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    folder, domain = Path(sys.argv[1]), sys.argv[2]
    first_source, start, count, step = map(int, sys.argv[3:])
    try:
        for number in range(start, count, step):
            draw(folder, domain, first_source, number)
    except OSError as error:
        print(error.strerror or error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:  # the parent's as well, which ends us
        return 1
    return 0


def _end_with_parent() -> None:
    """The pipe from a parent closes when it ends, however it does."""
    os.read(sys.stdin.fileno(), 1)
    os._exit(1)
