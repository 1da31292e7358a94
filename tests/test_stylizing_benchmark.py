"""The benchmark of style transfer judges both ways alike."""

import json

import pytest
import torch

from cyclegan_style.benchmarks.stylizing import (
    Judge,
    Loop,
    Losses,
    Task,
    chosen_pictures,
    paint_alone,
)
from cyclegan_style.commands.main import main
from cyclegan_style.stylizing.network import painting_network
from cyclegan_style.stylizing.recipe import Recipe


@pytest.fixture(scope="module")
def task() -> Task:
    content, style = chosen_pictures(40, None, None)
    return Task(content, style, Recipe(), painting_network(Recipe(), torch.device("cpu")))


def test_the_loop_has_the_losses_of_the_recipe(task):
    """Where no border is near, mirrored surroundings change nothing."""
    grey = torch.full_like(task.content, 0.3)
    flat = Task(grey, torch.full_like(task.style, -0.6), task.recipe, task.network)
    picture = torch.full_like(grey, 0.1)

    plain = flat.plain_objective()(picture)
    placed = Judge(flat).objectives[0](picture)

    assert plain.total.item() > 0.1
    assert plain.content.item() == pytest.approx(placed.content.item(), rel=1e-4)
    assert plain.style.item() == pytest.approx(placed.style.item(), rel=1e-4)


def test_what_looks_like_the_style_is_judged_to_have_it(task):
    judge = Judge(task)
    itself = Task(task.style, task.style, task.recipe, task.network)

    assert Judge(itself)(task.style) == pytest.approx(0, abs=1e-5)
    assert judge(task.content) > 1


def test_the_loop_stops_when_it_is_as_good_as_wanted(task):
    judge = Judge(task)
    start = judge(task.content)
    eager, idle = Loop(task, judge), Loop(task, judge)

    eager.run(Losses(start * 0.9, start * 0.7, start * 0.5), limit=60)
    idle.run(Losses(0, 0, 0), limit=1e-9)

    assert eager.own_loss <= start * 0.5
    assert eager.judged <= start * 0.9
    assert 0 < eager.reached["own"] <= eager.reached["loops"] <= eager.seconds
    assert (idle.steps, idle.reached) == (1, {})
    assert eager.picture.abs().max() <= 1


def test_the_command_ends_with_both_losses(capsys):
    arguments = ["--size", "40", "--steps", "3", "--limit", "2", "--json"]

    assert main(["benchmark", "stylize", *arguments]) == 0

    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert {"baseline_seconds", "seconds", "ratio", "device"} <= result.keys()
    assert result["ratio"] == pytest.approx(result["baseline_seconds"] / result["seconds"])
    assert result["loss"] < result["start_loss"]
    assert (result["steps"], result["size"]) == (3, 40)


def test_what_a_painting_alone_takes():
    alone = paint_alone(64, None, None, Recipe(steps=2))

    assert 0 < alone.gigabytes_before <= alone.peak_gigabytes
    assert (alone.steps, alone.size) == (2, 64)
    assert alone.seconds > 0
