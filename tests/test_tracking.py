"""Trackers are told every step once, under one id, and never stop a run."""

import struct
import threading
from pathlib import Path
from typing import Any

import pytest
from runs_in_tests import metrics_of, run_training
from wandb_server import WandbServer

from cyclegan_style.config import Config
from cyclegan_style.errors import UserError
from cyclegan_style.runs.tracking import (
    check_wandb_environment,
    forget_metrics_after,
    wandb_has_key,
)

# wandb and tensorboard are imported where they are used: they take long, in every worker.


@pytest.fixture
def no_account(monkeypatch, tmp_path):
    """A machine where nobody ever logged in to wandb."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("WANDB_API_KEY", "WANDB_MODE", "NETRC"):
        monkeypatch.delenv(name, raising=False)
    forget_wandb()  # its service keeps the settings of the test before


def forget_wandb() -> None:
    import wandb

    wandb.teardown()


def run_tracked(config: Config) -> Path:
    """Train as a process of its own would, at whose end wandb writes what is left."""
    run = run_training(config).run
    forget_wandb()
    return run


def records_of(path: Path) -> list[Any]:
    """Records of a .wandb file: a LevelDB log after a header of 7 bytes, in blocks of 32 KB."""
    from wandb.proto.wandb_internal_pb2 import Record

    content, records, parts, position = path.read_bytes(), [], b"", 7
    while position + 7 <= len(content):
        left = 32768 - position % 32768
        if left < 7:
            position += left
            continue
        _, length, kind = struct.unpack("<IHB", content[position : position + 7])
        parts += content[position + 7 : position + 7 + length]
        position += 7 + length
        if kind in (1, 4):  # a whole record, or the last part of one
            records.append(Record.FromString(parts))
            parts = b""
    return records


def history_of(records: list[Any]) -> list[dict[str, str]]:
    """What was logged, by step."""
    return [
        {item.key or ".".join(item.nested_key): item.value_json for item in record.history.item}
        for record in records
        if record.HasField("history")
    ]


def test_wandb_offline_has_every_step_once_under_one_id(configured, no_account, capsys):
    config = {"tracking__backend": "wandb", "tracking__log_every_steps": 1}
    run = run_tracked(configured(train__max_steps=3, **config))
    run_tracked(configured(train__max_steps=6, **config))

    files = sorted((run / "wandb").glob("offline-run-*/*.wandb"))
    records = [records_of(file) for file in files]
    ids = {r.run.run_id for part in records for r in part if r.HasField("run") and r.run.run_id}
    history = [row for part in records for row in history_of(part)]
    logged = [row for row in history if "cycle_a" in row]
    assert len(files) == 2
    assert len(ids) == 1
    assert [int(row["step"]) for row in logged] == [1, 2, 3, 4, 5, 6]
    expected = [line["cycle_a"] for line in metrics_of(run)]
    assert [float(row["cycle_a"]) for row in logged] == pytest.approx(expected)
    assert any(key.startswith("samples") for row in history for key in row)
    assert "wandb sync" in capsys.readouterr().err


@pytest.fixture
def wandb_server(no_account, monkeypatch):
    """A wandb server for which there is a key."""
    server = WandbServer()
    monkeypatch.setenv("WANDB_BASE_URL", server.address)
    monkeypatch.setenv("WANDB_API_KEY", "a" * 40)
    yield server
    server.shutdown()
    server.server_close()
    forget_wandb()


def test_a_run_that_goes_on_is_one_run_at_the_server(configured, wandb_server):
    config = {"tracking__backend": "wandb", "tracking__log_every_steps": 1}
    run = run_tracked(configured(train__max_steps=3, **config))
    run_tracked(configured(train__max_steps=6, **config))

    assert len(set(wandb_server.started)) == 1
    (history,) = wandb_server.history.values()
    logged = [row for row in history if "cycle_a" in row]
    assert [row["step"] for row in logged] == [1, 2, 3, 4, 5, 6]
    assert [row["_step"] for row in logged] == [1, 2, 3, 4, 5, 6]
    assert [row["cycle_b"] for row in logged] == [line["cycle_b"] for line in metrics_of(run)]


@pytest.mark.slow
def test_a_server_that_goes_away_does_not_stop_the_run(configured, wandb_server):
    gone = threading.Event()

    def go_away() -> None:
        assert wandb_server.received_history.wait(120)
        wandb_server.shutdown()
        wandb_server.server_close()
        gone.set()

    threading.Thread(target=go_away, daemon=True).start()
    result = run_training(
        configured(
            train__max_steps=3000,
            train__epochs=600,
            tracking__backend="wandb",
            checkpoint__every_steps=3000,
            tracking__sample_every_steps=3000,
        )
    )

    assert gone.is_set(), "the run was too short for an outage"
    assert result.step == 3000
    assert len(metrics_of(result.run)) == 1500


@pytest.mark.slow
def test_without_a_server_a_run_is_kept_offline(configured, wandb_server, capsys):
    wandb_server.shutdown()
    wandb_server.server_close()

    result = run_training(configured(tracking__backend="wandb"))

    assert result.step == 6
    told = capsys.readouterr().err
    assert "wandb cannot be reached" in told
    assert "wandb sync" in told
    assert list(result.run.glob("wandb/offline-run-*/*.wandb"))


def test_steps_taken_again_are_not_logged_again(configured, no_account):
    config = {"tracking__backend": "wandb", "tracking__log_every_steps": 1}
    config |= {"checkpoint__every_steps": 100, "train__max_steps": 4}
    run = run_tracked(configured(**config))
    for checkpoint in (run / "checkpoints").iterdir():  # as if killed before the first one
        for file in checkpoint.iterdir():
            file.unlink()
        checkpoint.rmdir()
    run_tracked(configured(**(config | {"train__max_steps": 6})))

    files = sorted((run / "wandb").glob("offline-run-*/*.wandb"))
    second = [row for row in history_of(records_of(files[1])) if "cycle_a" in row]
    assert [int(row["step"]) for row in second] == [4, 5, 6]
    assert [line["step"] for line in metrics_of(run)] == [1, 2, 3, 4, 5, 6]


def test_the_model_is_an_artifact_when_asked(configured, no_account):
    run = run_tracked(configured(tracking__backend="wandb", tracking__log_model=True))

    (file,) = (run / "wandb").glob("offline-run-*/*.wandb")
    (artifact,) = (r.artifact for r in records_of(file) if r.HasField("artifact"))
    assert (artifact.type, artifact.name) == ("model", "run-model")
    assert {entry.path for entry in artifact.manifest.contents} == {
        path.name for path in (run / "model").iterdir()
    }


def test_tensorboard_has_every_step(configured):
    fields = {"tracking__backend": "tensorboard", "tracking__sample_every_steps": 4}
    run = run_training(configured(**fields)).run
    (folder,) = {
        path.parent
        for path in run.rglob("events.*")
        if len(path.parent.parts) == len(run.parts) + 1
    }
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder)).Reload()
    assert [event.step for event in events.Scalars("cycle_a")] == [2, 4, 6]
    assert [event.step for event in events.Images("samples")] == [4, 6]


def test_a_tracker_that_breaks_does_not_stop_the_run(configured, no_account, monkeypatch, capsys):
    def fail(*arguments: object, **options: object) -> None:
        raise ConnectionError("the network is gone")

    monkeypatch.setattr("wandb.Run.log", fail)
    result = run_training(configured(tracking__backend="wandb"))
    forget_wandb()
    assert result.step == 6
    assert len(metrics_of(result.run)) == 3
    assert capsys.readouterr().err.count("the network is gone") == 1


@pytest.mark.parametrize(
    ("variable", "value", "told"),
    [
        ("WANDB_MODE", "sometimes", "'online', 'offline'"),
        ("WANDB_INIT_TIMEOUT", "ten", "number"),
        ("WANDB_PROJECT", "a/b", "cannot contain"),
    ],
)
def test_a_variable_that_wandb_would_refuse_is_named(
    no_account, monkeypatch, variable, value, told
):
    monkeypatch.setenv(variable, value)

    with pytest.raises(UserError, match=f"{variable}: .*{told}") as caught:
        check_wandb_environment()
    assert "\n" not in str(caught.value)


def test_empty_variables_are_as_unset(configured, no_account, monkeypatch, capsys):
    for name in ("WANDB_MODE", "WANDB_TAGS", "WANDB_SILENT"):
        monkeypatch.setenv(name, "")

    run = run_tracked(configured(tracking__backend="wandb", train__max_steps=1))

    assert "wandb sync" in capsys.readouterr().err
    assert list(run.glob("wandb/offline-run-*/*.wandb"))


def test_a_project_that_cannot_be_is_told(configured, no_account):
    config = configured(tracking__backend="wandb", tracking__project="a/b")

    with pytest.raises(UserError, match=r"tracking\.backend: wandb cannot start: .*a/b"):
        run_training(config)
    forget_wandb()


def test_a_key_is_found_where_wandb_looks(no_account, monkeypatch, tmp_path):
    assert not wandb_has_key()
    netrc = tmp_path / ".netrc"
    netrc.write_text("machine api.wandb.ai login user password secret\n")
    netrc.chmod(0o600)
    assert wandb_has_key()
    netrc.unlink()
    monkeypatch.setenv("WANDB_API_KEY", "secret")
    assert wandb_has_key()


def test_lines_beyond_a_checkpoint_and_half_lines_are_forgotten(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 2}\n{"step": 4}\n{"step": 6}\n{"ste')
    assert forget_metrics_after(path, 4) == 6
    assert path.read_text() == '{"step": 2}\n{"step": 4}\n'
    assert forget_metrics_after(tmp_path / "missing", 4) == 0
