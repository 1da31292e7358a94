"""The commands that tell how runs stand tell the truth."""

import json
import os
import subprocess
import sys
import time

import pytest
from runs_in_tests import run_training

from cyclegan_style.commands.main import main
from cyclegan_style.errors import UserError
from cyclegan_style.runs import run_folder
from cyclegan_style.runs.listing import QUIET_SECONDS, summarise_run, verify_run


def test_a_finished_run_is_shown(configured, capsys):
    run = run_training(configured()).run

    assert main(["runs", "show", str(run), "--json"]) == 0

    shown = json.loads(capsys.readouterr().out)
    assert (shown["state"], shown["step"], shown["total_steps"]) == ("finished", 6, 6)
    assert shown["seconds_left"] == 0
    assert shown["images_per_second"] > 0
    size = sum(path.stat().st_size for path in run.rglob("*") if path.is_file())
    assert shown["gigabytes"] == pytest.approx(size / 1e9, abs=1e-3)


def test_a_run_without_its_last_steps_is_running_or_stopped(configured):
    run = run_training(configured(train__max_steps=3)).run
    state = run / "checkpoints" / "step-00000003" / "state.json"
    facts = json.loads(state.read_text())
    state.write_text(json.dumps(facts | {"total_steps": 10}))

    assert summarise_run(run).state == "running"  # this process still holds its lock
    run_folder._locks.pop(run.resolve()).close()
    assert summarise_run(run).state == "stopped"
    (run / ".lock").unlink()  # as on a disk that knows no locks
    assert summarise_run(run).state == "running"
    long_ago = time.time() - QUIET_SECONDS - 10
    os.utime(run / "metrics.jsonl", (long_ago, long_ago))
    assert summarise_run(run).state == "stopped"
    assert summarise_run(run).seconds_left > 0


def test_runs_are_listed_and_exported_models_are_not(configured, tmp_path, capsys):
    run = run_training(configured()).run

    assert main(["runs", "list", str(tmp_path), "--json"]) == 0

    listed = json.loads(capsys.readouterr().out)["runs"]
    assert [summary["run"] for summary in listed] == [str(run)]


def test_damage_is_found(configured, capsys):
    run = run_training(configured()).run
    assert verify_run(run) == {"step-00000003": "ok", "step-00000006": "ok"}

    weights = run / "checkpoints" / "step-00000003" / "generators.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)

    assert main(["runs", "verify", str(run), "--json"]) == 1
    outcomes = json.loads(capsys.readouterr().out)
    assert "generators.safetensors" in outcomes["step-00000003"]
    assert outcomes["step-00000006"] == "ok"


def test_a_folder_that_is_no_run_is_told(tmp_path):
    with pytest.raises(UserError, match="not a run folder"):
        summarise_run(tmp_path)
    assert main(["runs", "list", str(tmp_path / "missing")]) == 2


def test_a_run_in_use_by_another_process_is_refused(configured, tmp_path, monkeypatch):
    holder = "import fcntl, sys; f = open(sys.argv[1], 'w'); fcntl.flock(f, fcntl.LOCK_EX)"
    holder += "; print('held', flush=True); sys.stdin.read()"
    (tmp_path / "run").mkdir()
    command = [sys.executable, "-c", holder, str(tmp_path / "run" / ".lock")]
    monkeypatch.setattr("cyclegan_style.runs.run_folder.LOCK_SECONDS", 0.3)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"held\n"
        with pytest.raises(UserError, match="another process is training"):
            run_training(configured())
        process.stdin.close()
    assert run_training(configured()).step == 6
