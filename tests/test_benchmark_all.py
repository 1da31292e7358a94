"""The benchmark of everything counts and measures what it says."""

import json

import pytest
import torch

from cyclegan_style.benchmarks import training
from cyclegan_style.benchmarks.arithmetic import convolution_speed, matrix_speed, operations_of
from cyclegan_style.benchmarks.everything import STEPS_OF_SCHEDULE, batch_within
from cyclegan_style.benchmarks.training import PlainStep, limit_seconds, operations_of_step
from cyclegan_style.commands.main import main
from cyclegan_style.config import (
    Config,
    DataConfig,
    DiscriminatorConfig,
    GeneratorConfig,
    TrainConfig,
)

CPU = torch.device("cpu")
TINY = Config(
    data=DataConfig(crop_size=32),
    discriminator=DiscriminatorConfig(channels=2),
    generator=GeneratorConfig(channels=2, blocks=1),
    train=TrainConfig(batch_size=2),
)


@pytest.fixture(autouse=True)
def one_core(monkeypatch):
    """Threads that wait for each other on a busy machine take ten times as long as one."""
    monkeypatch.setattr("cyclegan_style.system.hardware.fair_share_of_cores", lambda: 1)


def test_operations_are_those_of_the_definition():
    layer = torch.nn.Conv2d(5, 7, 3, padding=1)
    matrix = torch.rand(6, 6)

    assert operations_of(lambda: layer(torch.rand(2, 5, 8, 8))) == 2 * 2 * 64 * 7 * 5 * 9
    assert operations_of(lambda: matrix @ matrix) == 2 * 6**3


def test_operations_on_paper_are_those_that_are_computed():
    step = PlainStep(TINY, CPU)
    images = torch.rand(2, 3, 32, 32)

    assert operations_of_step(TINY) == operations_of(lambda: step.run(images, images))


def test_the_limit_is_the_time_of_the_operations_at_the_speed(monkeypatch):
    monkeypatch.setattr(
        "cyclegan_style.benchmarks.training.convolution_speed",
        lambda images, side, device, dtype: images * side * 1e3,
    )

    monkeypatch.setattr(
        "cyclegan_style.benchmarks.training.operations_of_step", lambda config: 64_000
    )

    assert limit_seconds(TINY) == pytest.approx(2.0)  # four images, sides of a quarter


def test_speeds_are_of_this_world():
    # A core's are between a hundredth and a thousand times 10⁹ operations a second.
    for speed in (
        matrix_speed(64, CPU, torch.float32),
        convolution_speed(1, 4, CPU, torch.float32),
    ):
        assert 1e7 < speed < 1e13


@pytest.mark.parametrize(
    ("gigabytes", "of_one", "of_two", "expected"),
    [(48, 2.0, 3.2, 32), (10, 2.0, 3.2, 4), (5.59, 2.0, 3.2, 2), (1, 2.0, 3.2, 1), (9, 1, 1, 32)],
)
def test_a_batch_has_room(gigabytes, of_one, of_two, expected):
    assert batch_within(gigabytes, of_one, of_two) == expected


@pytest.mark.slow
def test_steps_are_measured_in_the_format_that_is_fastest_here(measuring, monkeypatch):
    monkeypatch.setattr(training, "in_own_process", lambda function, *given: function(*given))
    cost = training.measure_steps(32, 1, TINY.generator, 1, recomputing=True)
    assert cost.seconds > 0 and cost.peak_gigabytes > 0.01


def test_everything_is_measured(capsys):
    sizes = ["--size", "32", "--images", "2", "--runs", "1", "--channels", "2", "--blocks", "1"]

    assert main(["benchmark", "all", *sizes, "--definition", "squeezenet", "--json"]) == 0

    told = capsys.readouterr()
    found = json.loads(told.out)
    assert [speed["batch_size"] for speed in found["training"]] == [1, 2]
    for speed in found["training"]:
        assert not speed["compiled"]
        assert speed["images_per_second"] == pytest.approx(speed["batch_size"] / speed["seconds"])
        assert speed["share"] == pytest.approx(speed["teraflops"] / found["limit_teraflops"])
    assert found["schedule_minutes"] == pytest.approx(
        found["training"][0]["seconds"] * STEPS_OF_SCHEDULE / 60
    )
    for name in ("network_images_per_second", "evaluation_images_per_second"):
        assert found[name] > 0
    assert found["translation"]["images_per_second"] > 0
    assert found["compiled_images_per_second"] is None
    assert "images a second" in told.err
