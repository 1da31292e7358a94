"""Each way to go wrong is told by its own detector, and by no other; what is told is told once."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from runs_in_tests import assert_equal_state, killed_in_step, metrics_of, run_training
from tiny import tiny_config
from torch import Tensor, nn

from cyclegan_style.config import DiscriminatorConfig
from cyclegan_style.data.images import Pixels, write_image
from cyclegan_style.data.training_data import open_dataset, open_test_domains
from cyclegan_style.networks.discriminators import PatchDiscriminator
from cyclegan_style.runs.best import BestScores
from cyclegan_style.runs.health import DETECTORS, findings, new_complaints
from cyclegan_style.training.cyclegan import Generators
from cyclegan_style.training.discriminators import Discriminators
from cyclegan_style.training.health import Health
from cyclegan_style.training.progress import Progress

SIDE = 64
TINTS = (-0.3, 0.0, 0.3)
"""What the colours of B have beyond those of A."""


def soft_scene(generator: np.random.Generator, tints: tuple[float, ...]) -> Pixels:
    """Light and shade as large as a picture, and a little of the same in each colour."""
    light = torch.from_numpy(generator.uniform(-0.7, 0.7, (1, 1, 7, 7)))
    colours = torch.from_numpy(generator.uniform(-0.15, 0.15, (1, 3, 9, 9)))
    fields = [F.interpolate(each, (SIDE, SIDE), mode="bicubic") for each in (light, colours)]
    scene = 0.6 * (fields[0] + fields[1])[0].permute(1, 2, 0).numpy() + np.array(tints)
    levels: Pixels = np.clip(127.5 * (scene + 1), 0, 255).astype(np.uint8)
    return levels


@pytest.fixture(scope="module")
def scenes(tmp_path_factory) -> Path:
    """Twelve training pictures and twelve others of two domains that differ by a tint."""
    root, generator = tmp_path_factory.mktemp("scenes"), np.random.default_rng(0)
    for name, tints in (("A", (0.0, 0.0, 0.0)), ("B", TINTS)):
        for kind in ("train", "test"):
            (root / f"{kind}{name}").mkdir()
            for number in range(12):
                scene = soft_scene(generator, tints)
                write_image(root / f"{kind}{name}" / f"{number:02}.png", scene)
    return root


@pytest.fixture(scope="module")
def health(scenes) -> Health:
    """What measures a run on those pictures, of 100 steps and 20 evaluations."""
    config = tiny_config(
        data__a=str(scenes / "trainA"),
        data__b=str(scenes / "trainB"),
        data__test_a=str(scenes / "testA"),
        data__test_b=str(scenes / "testB"),
        data__resize="none",
        data__crop_size=SIDE,
        train__max_steps=100,
        evaluation__every_steps=5,
    )
    dataset = open_dataset(config, Accelerator(cpu=True))
    best = BestScores({"definition": "any"})
    progress = Progress(config, best, steps_per_epoch=12, images_per_step=1)
    return Health(config, dataset, open_test_domains(config), progress, best)


class Painted(nn.Module):
    """A network that is a formula."""

    def __init__(self, formula: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.formula = formula
        self.anywhere = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        return self.formula(x)


class Judging(PatchDiscriminator):
    """A discriminator whose verdicts are a formula."""

    def __init__(self, formula: Callable[[Tensor], Tensor]) -> None:
        super().__init__(3, DiscriminatorConfig(channels=1, layers=1))
        self.model = Painted(formula)  # type: ignore[assignment]


TINT = torch.tensor(TINTS).view(1, 3, 1, 1)
WAVE = 0.1 * torch.cos(torch.pi / 2 * torch.arange(SIDE))
ACROSS = (torch.arange(SIDE) - 30.0) / 2
SPOT = 0.8 * torch.exp(-ACROSS.square() / 2) * torch.exp(-ACROSS.square() / 2)[:, None]


def tinted(x: Tensor) -> Tensor:
    return x + TINT


def untinted(y: Tensor) -> Tensor:
    return y - TINT


def smooth(x: Tensor) -> Tensor:
    return F.avg_pool2d(F.pad(x, (2, 2, 2, 2), mode="replicate"), 5, stride=1)


def with_hidden_detail(x: Tensor) -> Tensor:
    return tinted(smooth(x) + 0.02 * (x - smooth(x)))


def found_again(y: Tensor) -> Tensor:
    return untinted(smooth(y) + 50 * (y - smooth(y)))


def by_light(x: Tensor) -> Tensor:
    """Verdicts that have nothing to do with the domain."""
    return F.avg_pool2d(x.mean(1, keepdim=True), 8)


def by_tint(x: Tensor) -> Tensor:
    return F.avg_pool2d(x[:, 2:] - x[:, :1], 8)


def measured(
    health: Health,
    ab: Callable[[Tensor], Tensor] = tinted,
    ba: Callable[[Tensor], Tensor] = untinted,
    judge: Callable[[Tensor], Tensor] = by_light,
) -> dict[str, float]:
    """The numbers of a run with these networks."""
    config = health.config
    generators = Generators({"ab": Painted(ab), "ba": Painted(ba)}, config.loss)
    judges = {domain: Judging(judge) for domain in ("a", "b")}
    return health.measure(generators, Discriminators(judges, config.loss, config.discriminator))


def complaints(values: dict[str, float], before: float = 90) -> list[str]:
    """What is said when the numbers are found at the end of a run and a while before."""
    rows = [{"step": step, "epoch": 1.0, **values} for step in (before, 100.0)]
    return new_complaints(rows, total_steps=100)


def test_healthy_networks_leave_all_detectors_silent(health):
    values = measured(health)

    assert len(values) == 2 * 9 + 1
    assert complaints(values) == []


@pytest.mark.parametrize(
    ("networks", "said", "option"),
    [
        ({"ab": lambda x: x, "ba": lambda y: y}, "equal their input", "loss.identity_b"),
        ({"ab": lambda x: 0 * x + TINT}, "A all look alike", "loss.cycle_a"),
        ({"ab": lambda x: TINT - x, "ba": lambda y: TINT - y}, "inverted", "generator.skip true"),
        ({"ab": lambda x: tinted(x) + WAVE}, "a grid", "generator.upsampling bilinear"),
        ({"ab": lambda x: tinted(x) + SPOT}, "spots", "generator.norm"),
        ({"ab": with_hidden_detail, "ba": found_again}, "hide the way back", "loss.cycle_a"),
        ({"ab": lambda x: x - TINT, "judge": by_tint}, "has won", "spectral_norm true"),
        ({"judge": lambda x: 0.5 + 0.01 * by_light(x)}, "blind", "optimizer.learning_rate"),
    ],
    ids=["change", "variety", "brightness", "grid", "spots", "hidden", "separation", "spread"],
)
def test_networks_that_fail_in_one_way_are_told_so(health, networks, said, option):
    lines = complaints(measured(health, **networks))

    assert any(said in line and option in line for line in lines)
    # What finds a hidden picture again finds rubbish in a picture of B's own.
    others = [line for line in lines if said not in line and "translations of B" not in line]
    assert others == []


def test_a_discriminator_that_knows_its_pictures_is_told(health):
    known = health.known["b"]

    def by_heart(x: Tensor) -> Tensor:
        distance = torch.stack([(x - each).abs().mean() for each in known]).min()
        return by_light(x) + (distance < 1e-3)

    lines = complaints(measured(health, judge=by_heart))

    assert len(lines) == 1
    assert "discriminator_b knows its training pictures by heart (1, healthy below 0.9)" in lines[0]
    assert "data.b" in lines[0]


def test_scores_that_no_longer_get_better_are_told(health):
    for step in range(12):
        health.best.update(step, {"fid_ab": 9.0 + step})
    try:
        lines = complaints(measured(health))
    finally:
        health.best.evaluations_without = 0

    assert len(lines) == 1
    assert "no score has been a best one for long (0.55, healthy below 0.33)" in lines[0]
    assert "evaluation.patience" in lines[0]


def test_what_pictures_cannot_tell_is_left_out(configured):
    """Of pictures that are trained on, too small for a grid and few."""
    config = configured(data__resize="none")
    dataset = open_dataset(config, Accelerator(cpu=True))
    progress = Progress(config, BestScores({}), 5, 1)
    small = Health(config, dataset, open_test_domains(config), progress, BestScores({}))

    names = {key.removeprefix("health_") for key in measured(small)}

    told = {"change", "variety", "brightness", "spots", "hidden"}
    judged = {"separation", "spread"}
    assert names == {f"{name}_{way}" for name in told for way in ("ab", "ba")} | {
        f"{name}_{domain}" for name in judged for domain in ("a", "b")
    }


def rows_of(values: list[float], key: str = "health_variety_ab") -> list[dict[str, float]]:
    return [{"step": 10 * n, "epoch": 0.0, key: value} for n, value in enumerate(values, 1)]


def test_a_detector_speaks_at_the_second_time_and_once_until_it_recovers():
    values = [0.1, 0.1, 0.1, 0.1, 0.1, 0.5, 0.1, 0.5, 0.1, 0.1]
    rows = rows_of(values)

    said = [
        place for place in range(1, len(rows) + 1) if new_complaints(rows[:place], total_steps=100)
    ]

    # A third of the run is over after 40 steps; 50 is the second time since.
    assert said == [5, 10]
    assert [each.speaks for each in findings(rows[:6], 100)] == [False]
    rows.append({"step": 101, "epoch": 0.0, "lr": 1.0})
    assert new_complaints(rows, 100) == []  # of a step that measured nothing
    assert [each.speaks for each in findings(rows, 100)] == [True]


def test_sentences_name_the_networks_of_their_direction():
    for detector in DETECTORS:
        beyond = detector.limit + (0.01 if detector.healthy == "below" else -0.01)
        for ending, (a, b) in {"_ab": "ab", "_ba": "ba", "_a": "ab", "_b": "ba"}.items():
            key = f"health_{detector.name}{ending}"
            (line,) = new_complaints(rows_of([0.0] * 8 + [beyond] * 2, key)[-2:], 100)
            assert line.startswith("health: ")
            assert detector.advice.format(a=a, b=b) in line
            assert detector.complaint.format(a=a, A=a.upper()) in line


def test_measuring_leaves_no_trace_in_what_is_trained(configured):
    fields = {
        "train__pool_size": 2,
        "generator__dropout": True,
        "generator__norm": "batch",
        "discriminator__norm": "batch",
        "discriminator__spectral_norm": True,
        "discriminator__augment": ("color", "translation", "cutout"),
    }
    never = configured("never", tracking__sample_every_steps=1000, **fields)
    always = configured("always", tracking__sample_every_steps=1, **fields)

    for config in (never, always):
        run_training(config)

    assert_equal_state(Path(never.run.dir), Path(always.run.dir), step=6)


def test_an_interrupted_run_says_what_a_whole_one_says(configured, monkeypatch, capsys):
    """With a rate at which nothing is learnt, of generators that begin near the identity."""
    fields = {
        "optimizer__learning_rate": 1e-30,
        "tracking__sample_every_steps": 1,
        "generator__skip": True,
    }
    whole, killed = configured("whole", **fields), configured("killed", **fields)
    run_training(whole)
    expected = health_lines(capsys)
    assert sum("translations of A equal their input" in line for line in expected) == 1
    assert len(set(expected)) == len(expected)
    with killed_in_step(6, monkeypatch):
        run_training(killed)
    before = health_lines(capsys)
    run_training(killed)  # from step 3, of which all was said

    assert before + health_lines(capsys) == expected
    numbers = [
        [{key: line[key] for key in line if key.startswith("health_")} for line in metrics_of(run)]
        for run in (Path(whole.run.dir), Path(killed.run.dir))
    ]
    assert numbers[0] == numbers[1]


def health_lines(capsys) -> list[str]:
    """What was said of the training's health since this was last asked."""
    return [line for line in capsys.readouterr().err.splitlines() if line.startswith("health:")]
