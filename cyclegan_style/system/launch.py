"""The beginning and the end of processes under ``accelerate launch``.

accelerate leaves the starting of several CPU processes to MPI: without it, ``accelerate launch
--cpu --num_processes N`` starts a single one and says nothing. PyTorch's own launcher then starts
them instead.
"""

import atexit
import os
import sys
from argparse import Namespace
from pathlib import Path
from typing import NoReturn

import psutil
from accelerate.commands.config.config_args import default_config_file, load_config_from_file
from accelerate.commands.launch import launch_command_parser

LAUNCHERS = ("launch", "accelerate-launch", "accelerate.commands.launch")
"""What accelerate's launcher is called on a command line."""


def launched_as_asked(script: str, arguments: list[str]) -> bool:
    """Whether this process is one of those asked for; if not, run them all and return False."""
    options = missing_processes()
    if not options:
        return True
    # Imported here, since no other run needs it and it takes a second.
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import main as run_processes

    try:
        run_processes([*options, script, *arguments])
    except ChildFailedError as error:  # the process itself has said what is wrong
        _, first = error.get_first_failure()
        raise SystemExit(first.exitcode) from None
    return False


def leave(status: int) -> NoReturn:
    """End this process with a status.

    One that was launched with others does not wait for Python to take itself apart: threads of
    gloo that still hold a tensor then abort it, about once in a hundred times (pytorch issue
    190489).
    """
    if "WORLD_SIZE" in os.environ:
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    sys.exit(status)


def missing_processes() -> list[str]:
    """PyTorch launcher's options for the processes that accelerate launch left out, if any."""
    on_cpu = os.environ.get("ACCELERATE_USE_CPU", "").lower() in ("1", "true", "yes")
    if not on_cpu or "MASTER_PORT" not in os.environ or "WORLD_SIZE" in os.environ:
        return []
    command = psutil.Process().parent()
    words = command.cmdline() if command else []
    by_mpi = any(name.startswith(("PMI_", "OMPI_", "MV2_")) for name in os.environ)
    place = next((i for i, word in enumerate(words) if Path(word).name in LAUNCHERS), None)
    if place is None or by_mpi:
        return []
    asked, _ = launch_command_parser().parse_known_args(words[place + 1 :])
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


def fill_in_from_file(asked: Namespace) -> None:
    """Take what the command line leaves open from accelerate's configuration file, as it does."""
    if asked.config_file is None and not Path(default_config_file).is_file():
        return
    config = load_config_from_file(asked.config_file)
    places = ("machine_rank", "main_process_ip", "main_process_port")
    for name in ("num_processes", "num_machines", *places):
        if getattr(asked, name) is None:
            setattr(asked, name, getattr(config, name))
