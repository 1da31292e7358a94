"""A file is there whole or not at all, and the dead leave nothing behind."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from cyclegan_style.system.whole_files import remove_leftovers, whole_file, write_durably

WRITER = """
import sys, time
from pathlib import Path
from cyclegan_style.system.whole_files import whole_file
with whole_file(Path(sys.argv[1])) as stream:
    stream.write(b"half")
    stream.flush()
    print("writing", flush=True)
    time.sleep(60)
"""


def test_an_error_leaves_the_old_file(tmp_path):
    (tmp_path / "a").write_bytes(b"old")
    with pytest.raises(ZeroDivisionError), whole_file(tmp_path / "a") as stream:
        stream.write(b"half")
        raise ZeroDivisionError
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"old"]
    with whole_file(tmp_path / "a") as stream:
        stream.write(b"new")
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"new"]


@pytest.mark.skipif(sys.platform == "win32", reason="there, open files cannot be locked so")
def test_leftovers_of_the_dead_are_removed_and_files_of_the_living_are_not(tmp_path):
    (tmp_path / ".mine.part").write_bytes(b"")
    (tmp_path / "a").write_bytes(b"old")
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path / "a")], stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"writing\n"
    with whole_file(tmp_path / "b"):
        remove_leftovers(tmp_path)
        assert len(hidden(tmp_path)) == 3
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert len(hidden(tmp_path)) == 2
    remove_leftovers(tmp_path)
    assert [path.name for path in hidden(tmp_path)] == [".mine.part"]
    assert (tmp_path / "a").read_bytes() == b"old"
    remove_leftovers(tmp_path / "missing")


def hidden(folder: Path) -> list[Path]:
    return list(folder.glob(".*"))


def test_what_cannot_take_its_name_is_removed(tmp_path):
    (tmp_path / "taken").mkdir()
    with pytest.raises(OSError, match="directory"):
        write_durably(tmp_path / "taken", b"content")
    assert hidden(tmp_path) == []
