"""Two processes that work together, started without a launcher and the seconds that it takes."""

import os
import socket
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def start_two_processes(script: Path, *arguments: object) -> list["subprocess.Popen[str]"]:
    """Run a script twice with what the launcher would set."""
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    shared = {"PYTHONPATH": path, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    shared |= {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    shared |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    return [
        subprocess.Popen(
            [sys.executable, str(script), *map(str, arguments)],
            cwd=ROOT,
            env={**os.environ, **shared, "RANK": rank, "LOCAL_RANK": rank},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in ("0", "1")
    ]


def outputs_of_two_processes(script: Path, *arguments: object) -> list[tuple[str, str]]:
    """What each wrote to stdout and to stderr; both must end well."""
    processes = start_two_processes(script, *arguments)
    outputs = [process.communicate(timeout=200) for process in processes]
    told = "".join(errors for _, errors in outputs)
    assert [process.returncode for process in processes] == [0, 0], told
    return outputs


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
