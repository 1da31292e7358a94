"""Requests to stop end a run well, and it goes on as though there had been none."""

import os
import signal
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


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("workers", [0, 2])
def test_a_run_that_was_asked_to_stop_goes_on_bit_for_bit(configured, capsys, number, workers):
    fields = {"tracking__log_every_steps": 1, "train__max_steps": 40, "train__pool_size": 3}
    fields |= {"data__num_workers": workers, "train__ema_decay": 0.9}
    calm = run_training(configured("calm", **fields))
    stopped = configured("stopped", **fields)

    sender = send_after_first_step(Path(stopped.run.dir), number)
    interrupted = run_training(stopped)
    sender.join()

    assert 0 < interrupted.step < 40
    assert f"stopped by {number.name} after step {interrupted.step}" in capsys.readouterr().err
    finished = run_training(stopped)
    assert finished.step == 40
    assert_equal_state(calm.run, finished.run, 40)
    steps = [line["step"] for line in metrics_of(finished.run)]
    assert steps == list(range(1, 41))


def test_a_second_interrupt_stops_at_once():
    with pytest.raises(KeyboardInterrupt), StopRequest() as request:
        signal.raise_signal(signal.SIGINT)
        assert request.signal_name == "SIGINT"
        signal.raise_signal(signal.SIGINT)


def test_what_listened_before_listens_again():
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    with StopRequest():
        assert signal.getsignal(signal.SIGTERM) != before[0]
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before
