"""Requests to stop end a run well, and it goes on as though there had been none."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from runs_in_tests import assert_equal_state, metrics_of, run_training

from cyclegan_style.system.preemption import StopRequest


def send_after_first_step(run: Path, number: signal.Signals) -> threading.Thread:
    """Send this process a signal as soon as the run has reported a step."""

    def wait_and_send() -> None:
        while not (run / "metrics.jsonl").exists():
            time.sleep(0.005)
        os.kill(os.getpid(), number)

    thread = threading.Thread(target=wait_and_send)
    thread.start()
    return thread


@pytest.mark.parametrize(("number", "workers"), [(signal.SIGTERM, 2), (signal.SIGINT, 0)])
def test_a_run_that_was_asked_to_stop_goes_on_bit_for_bit(configured, capsys, number, workers):
    fields = {"tracking__log_every_steps": 1, "train__max_steps": 20, "train__pool_size": 3}
    fields |= {"data__num_workers": workers, "train__ema_decay": 0.9}
    fields |= {"checkpoint__every_steps": 10, "tracking__sample_every_steps": 10}
    calm = run_training(configured("calm", **fields))
    stopped = configured("stopped", **fields)

    sender = send_after_first_step(Path(stopped.run.dir), number)
    interrupted = run_training(stopped)
    sender.join()

    assert 0 < interrupted.step < 20
    assert f"stopped by {number.name} after step {interrupted.step}" in capsys.readouterr().err
    finished = run_training(stopped)
    assert finished.step == 20
    assert_equal_state(calm.run, finished.run, 20)
    steps = [line["step"] for line in metrics_of(finished.run)]
    assert steps == list(range(1, 21))


def test_a_second_interrupt_stops_at_once():
    with pytest.raises(KeyboardInterrupt), StopRequest() as request:
        signal.raise_signal(signal.SIGINT)
        assert request.source == "SIGINT"
        signal.raise_signal(signal.SIGINT)


def test_what_listened_before_listens_again():
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    with StopRequest():
        assert signal.getsignal(signal.SIGTERM) != before[0]
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


STARTED = """
import os, signal
from cyclegan_style.system.launch import stop_with_launcher

parent = os.getppid()
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
stop_with_launcher()
print("started", flush=True)
while os.getppid() == parent:
    pass
told = signal.sigtimedwait([signal.SIGTERM], 0.3)
print("told" if told else "left alone", flush=True)
"""


@pytest.mark.parametrize(
    ("launcher", "variables", "outcome"),
    [
        ("accelerate-launch", {"ACCELERATE_MIXED_PRECISION": "no"}, "told"),
        ("torchrun", {"TORCHELASTIC_RUN_ID": "none"}, "told"),
        ("accelerate-launch", {}, "left alone"),
        ("shell", {"ACCELERATE_MIXED_PRECISION": "no", "WORLD_SIZE": "1"}, "left alone"),
    ],
)
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells of a parent's death")
def test_a_process_is_told_when_its_launcher_is_killed(tmp_path, launcher, variables, outcome):
    script, started = tmp_path / launcher, tmp_path / "started.py"
    script.write_text("import subprocess, sys; subprocess.run([sys.executable, sys.argv[1]])")
    started.write_text(STARTED)
    kept = {
        k: v for k, v in os.environ.items() if not k.startswith(("ACCELERATE_", "TORCHELASTIC"))
    }
    path = os.pathsep.join([str(Path(__file__).parents[1]), *sys.path])
    with subprocess.Popen(
        [sys.executable, str(script), str(started)],
        stdout=subprocess.PIPE,
        env=kept | variables | {"PYTHONPATH": path},
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "started\n"
        process.kill()
        assert process.stdout.read() == f"{outcome}\n"
