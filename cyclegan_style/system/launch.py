"""The beginning and the end of processes under ``accelerate launch``.

accelerate leaves the starting of several CPU processes to MPI: without it, ``accelerate launch
--cpu --num_processes N`` starts a single one and says nothing. PyTorch's own launcher then starts
them instead.
"""

import atexit
import ctypes
import os
import signal
import sys
from argparse import Namespace
from pathlib import Path
from typing import NoReturn

import psutil

LAUNCHERS = ("launch", "accelerate-launch", "accelerate.commands.launch")
"""What accelerate's launcher is called on a command line."""

LAUNCHED = "CYCLEGAN_STYLE_LAUNCHED"
"""A variable of the environment that commands of this package set for what they start."""

_PR_SET_PDEATHSIG = 1  # of linux/prctl.h


def launched_as_asked(script: str, arguments: list[str]) -> bool:
    """Whether this process is one of those asked for; if not, run them all and return False."""
    stop_with_launcher()
    options = missing_processes()
    if not options:
        return True
    # Imported here, since no other run needs it and it takes a second.
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import main as run_processes

    try:
        run_processes([*options, script, *arguments])
    except ChildFailedError as error:  # the process itself has said what is wrong
        _, first = error.get_first_failure()
        raise SystemExit(first.exitcode) from None
    except SignalException as error:  # handed on to the processes, which have ended
        raise SystemExit(128 + error.sigval) from None
    return False


def stop_with_launcher() -> None:
    """Let Linux send this process SIGTERM when its launcher dies.

    A launcher that is killed cannot end its processes, which would train on unwatched or wait half
    an hour for each other. What a person started is left alone: it may outlive its shell.
    """
    told = "TORCHELASTIC_RUN_ID" in os.environ or LAUNCHED in os.environ
    if sys.platform != "linux" or not (told or words_for_accelerate() is not None):
        return
    launcher = os.getppid()
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != launcher or is_orphan():  # it died before it could be watched
        signal.raise_signal(signal.SIGTERM)


def is_orphan() -> bool:
    """Whether the parent is the system's first process, and that no launcher in a container."""
    if os.getppid() != 1:
        return False
    try:
        return psutil.Process(1).exe() != psutil.Process().exe()
    except psutil.Error:  # another user's
        return True


def leave(status: int) -> NoReturn:
    """End this process with a status, without waiting for Python to take itself apart.

    With torch that takes nearly half a second. Among several processes, threads of gloo that still
    hold a tensor then abort one, about once in a hundred times (pytorch issue 190489).
    """
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:  # such as a pipe whose reader has gone
            status = status or 1
    os._exit(status)


def missing_processes() -> list[str]:
    """PyTorch launcher's options for the processes that accelerate launch left out, if any."""
    on_cpu = os.environ.get("ACCELERATE_USE_CPU", "").lower() in ("1", "true", "yes")
    if not on_cpu or "MASTER_PORT" not in os.environ or "WORLD_SIZE" in os.environ:
        return []
    words = words_for_accelerate()
    by_mpi = any(name.startswith(("PMI_", "OMPI_", "MV2_")) for name in os.environ)
    if words is None or by_mpi:
        return []
    # Imported here, since it takes seconds, in which a launcher's death would go unnoticed.
    from accelerate.commands.launch import launch_command_parser

    asked, _ = launch_command_parser().parse_known_args(words)
    fill_in_from_file(asked)
    machines = asked.num_machines or 1
    per_machine = (asked.num_processes or machines) // machines
    options = [f"--nproc-per-node={per_machine}", f"--nnodes={machines}"]
    options.append(f"--max-restarts={asked.max_restarts}")
    if machines == 1:
        return [*options, "--standalone"]
    return [
        *options,
        f"--node-rank={asked.machine_rank}",
        f"--master-addr={asked.main_process_ip}",
        f"--master-port={asked.main_process_port}",
    ]


def words_for_accelerate() -> list[str] | None:
    """What follows the launcher's name on the parent's command line, if that is accelerate's."""
    if "ACCELERATE_MIXED_PRECISION" not in os.environ:  # which it sets for all that it starts
        return None
    try:
        words = psutil.Process(os.getppid()).cmdline()
    except psutil.Error:  # it has just died
        return None
    place = next((i for i, word in enumerate(words) if Path(word).name in LAUNCHERS), None)
    return None if place is None else words[place + 1 :]


def fill_in_from_file(asked: Namespace) -> None:
    """Take what the command line leaves open from accelerate's configuration file, as it does."""
    from accelerate.commands.config.config_args import default_config_file, load_config_from_file

    if asked.config_file is None and not Path(default_config_file).is_file():
        return
    config = load_config_from_file(asked.config_file)
    places = ("machine_rank", "main_process_ip", "main_process_port")
    for name in ("num_processes", "num_machines", *places):
        if getattr(asked, name) is None:
            setattr(asked, name, getattr(config, name))
