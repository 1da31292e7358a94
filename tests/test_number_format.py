"""``auto`` is the fastest number format where a run begins, and stays what it was."""

from pathlib import Path

import pytest
import torch
from runs_in_tests import remember_bfloat16, run_training
from tiny import tiny_config

from cyclegan_style.applying.number_format import choose_dtype
from cyclegan_style.errors import UserError
from cyclegan_style.models.model_files import LoadedGenerator
from cyclegan_style.networks import build_generator
from cyclegan_style.runs.run_folder import FORMAT_FILE, METRICS_FILE, keep_choice, kept_choice
from cyclegan_style.system.hardware import PRECISIONS, format_of_earlier_versions
from cyclegan_style.system.measured import MEASURED_FILE, SWITCH
from cyclegan_style.training.number_format import precision_of_run, training_speeds


@pytest.fixture(autouse=True)
def on_a_cpu(measuring, monkeypatch):
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")


def test_a_run_keeps_the_format_that_it_began_with(configured, capsys):
    def told(max_steps: int, precision: str = "auto") -> str:
        config = configured(
            train__mixed_precision=precision,
            train__max_steps=max_steps,
            tracking__sample_every_steps=100,
            checkpoint__every_steps=100,
        )
        assert run_training(config).step == max_steps
        return capsys.readouterr().err

    config = configured(train__mixed_precision="auto")
    run = Path(config.run.dir)
    remember_bfloat16(config, 1.9)
    began = told(1)
    assert "computing in bfloat16: 1.9 times as fast as float32 (measured here earlier)" in began
    assert "precision bf16" in began

    remember_bfloat16(config, 0.5)
    went_on = told(2)
    assert "computing in bfloat16, as the run began, though float32 is faster here" in went_on
    assert "2 times as fast as bfloat16 (measured here earlier)" in went_on
    assert "precision bf16" in went_on

    keep_choice(run, FORMAT_FILE, "float16")  # as a run that began on a GPU without bf16
    assert "began in float16, in which this cpu cannot train" in (elsewhere := told(3))
    assert "computing in float32" in elsewhere
    assert kept_choice(run, FORMAT_FILE, PRECISIONS) == "float16"

    (run / FORMAT_FILE).unlink()  # as a run of an earlier version
    earlier = format_of_earlier_versions("cpu")
    assert f"precision {PRECISIONS[earlier]}" in told(4)
    assert kept_choice(run, FORMAT_FILE, PRECISIONS) == earlier

    keep_choice(run, FORMAT_FILE, "bfloat16")
    assert "precision no" in (chosen := told(5, "no"))
    assert "computing in" not in chosen
    with pytest.raises(UserError, match="mixed_precision was no and is now bf16"):
        told(6, "bf16")


def test_without_measuring_a_run_goes_on_in_what_it_began_with(configured, capsys, monkeypatch):
    config = configured(train__mixed_precision="auto", train__max_steps=1)
    run = Path(config.run.dir)
    run.mkdir()
    monkeypatch.setenv(SWITCH, "0")

    assert precision_of_run(config, run) == "no"
    assert "computing in float32: the usual way, since" in capsys.readouterr().err

    keep_choice(run, FORMAT_FILE, "bfloat16")
    (run / METRICS_FILE).touch()
    assert precision_of_run(config, run) == "bf16"
    told = capsys.readouterr().err
    assert "computing in bfloat16, as the run began, though float32 is the usual way, since" in told


@pytest.mark.parametrize("fields", [{}, {"architecture": "unet", "levels": 5}], ids=str)
def test_formats_are_measured_without_a_trace_in_chance(fields, tmp_path):
    named = {f"generator__{name}": value for name, value in fields.items()}
    config = tiny_config(**named)
    generator = LoadedGenerator(build_generator(config.generator), config.generator, 3, 3, "ab")
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)

    speeds = training_speeds(config)
    dtype = choose_dtype("auto", torch.device("cpu"), generator)

    assert torch.equal(torch.rand(3), expected)
    assert list(speeds.by_name) == ["float32", "bfloat16"]
    assert dtype in (torch.float32, torch.bfloat16, torch.float16)
    assert training_speeds(config).remembered
    assert choose_dtype("auto", torch.device("cpu"), generator) == dtype
    assert "translation" in (tmp_path / "cache" / MEASURED_FILE).read_text()
