"""Training from Python, as a notebook or a script does it."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from runs_in_tests import assert_equal_state, metrics_of
from tiny import forget_accelerator

import cyclegan_style
from cyclegan_style import Config, UserError, read_config, train
from cyclegan_style.config import flat_fields, with_values

TINY = {
    "generator.channels": 4,
    "discriminator.channels": 4,
    "train.steps": 6,
    "train.cpu_threads": 1,
    "tracking.log_every_steps": 1,
    "tracking.sample_every_steps": 3,
    "checkpoint.every_steps": 3,
    "train.ema_decay": 0.9,
}


@pytest.fixture
def pictures(configured) -> Config:
    """The smallest configuration, whose domains are two small folders."""
    return with_values(configured(), {"train.epochs": 2, "train.decay_epochs": 1, **TINY})


def test_the_package_offers_what_its_documents_name():
    for name in cyclegan_style.__all__:
        assert getattr(cyclegan_style, name).__name__ == name
    with pytest.raises(AttributeError, match="nothing"):
        cyclegan_style.nothing  # noqa: B018


def test_callbacks_hear_of_every_step_and_every_picture(pictures):
    steps, samples = [], {}

    result = train(
        pictures,
        on_step=lambda step, losses: steps.append((step, {k: float(v) for k, v in losses.items()})),
        on_sample=lambda step, picture: samples.update({step: picture}),
    )

    logged = metrics_of(result.run)
    assert [step for step, _ in steps] == [row["step"] for row in logged] == [1, 2, 3, 4, 5, 6]
    for (_, losses), row in zip(steps, logged, strict=True):
        assert losses == pytest.approx({name: row[name] for name in losses})
    assert samples.keys() == {3, 6}
    for step, picture in samples.items():
        saved = Image.open(result.run / f"samples/step-{step:08d}.png")
        assert np.array_equal(np.asarray(picture), np.asarray(saved))


def test_a_callback_stops_a_run_which_goes_on_bit_for_bit(pictures, tmp_path, capsys):
    parts, whole = (
        with_values(pictures, {"run.dir": str(tmp_path / name)}) for name in ("parts", "whole")
    )
    forget_accelerator()
    stopped = train(parts, on_step=lambda step, losses: step == 4)
    told = capsys.readouterr().err
    forget_accelerator()
    train(parts)
    forget_accelerator()
    train(whole)

    assert stopped.step == 4
    assert "stopped by on_step after step 4 of 6" in told
    assert_equal_state(tmp_path / "parts", tmp_path / "whole", 6)


def test_one_process_trains_in_one_number_format_and_then_in_another(pictures, tmp_path):
    for precision in ("bf16", "no"):
        fields = {"run.dir": str(tmp_path / precision), "train.mixed_precision": precision}
        assert train(with_values(pictures, fields)).step == 6


def test_an_error_of_a_callback_is_the_caller_s(pictures):
    def fail(step: int, losses: object) -> None:
        raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        train(pictures, on_step=fail)


def test_a_configuration_is_read_with_other_values(tmp_path):
    demo = flat_fields(read_config())
    file = tmp_path / "own.yaml"
    file.write_text("train: {seed: 5, batch_size: 3}\ndata: {a: x, b: y}\n")
    values = {
        "task": "one_style",
        "train.seed": 7,
        "data.a": "photos: 1",
        "data.test_a": None,
        "generator.skip": True,
        "evaluation.metrics": ("swd", "kid"),
        "loss.cycle_a": 1e-05,
        "style.weights": Path("weights.pth"),
    }

    read = flat_fields(read_config(file, values))

    assert demo["data.a"] == "demo:photo"
    expected = values | {"evaluation.metrics": ["swd", "kid"], "style.weights": "weights.pth"}
    assert {name: read[name] for name in values} == json.loads(json.dumps(expected))
    assert read["train.batch_size"] == 3
    assert read["generator.channels"] == Config().generator.channels


@pytest.mark.parametrize(
    ("file", "values", "named"),
    [
        ("nowhere.yaml", {}, "nowhere.yaml"),
        (None, {"train.step": 1}, "train.step"),
        (None, {"train.seed": "x"}, "train.seed"),
        (None, {"task": "painting"}, "task"),
    ],
)
def test_a_mistake_names_the_file_or_the_field_in_one_line(file, values, named):
    with pytest.raises(UserError, match=named) as caught:
        read_config(file, values)
    assert "\n" not in str(caught.value)
