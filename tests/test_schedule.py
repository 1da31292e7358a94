"""The learning rate follows the reference's schedule."""

import pytest
import torch
from tiny import configure

from cyclegan_style.runs.best import BestScores
from cyclegan_style.training.progress import Progress
from cyclegan_style.training.schedule import learning_rate, share_behind


def rate_at(epoch: float, **fields: object) -> float:
    config = configure(**fields)
    return learning_rate(config.optimizer, config.train, epoch)


@pytest.mark.parametrize(("epochs", "decay_epochs"), [(100, 100), (3, 2), (0, 4), (2, 0)])
def test_linear_decay_is_the_reference_s_at_every_epoch(epochs, decay_epochs):
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=2e-4)
    scheduler = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda epoch: 1.0 - max(0, epoch + 1 - epochs) / float(decay_epochs + 1)
    )
    for epoch in range(epochs + decay_epochs):
        expected = optimizer.param_groups[0]["lr"]
        for moment in (epoch, epoch + 0.5, epoch + 0.999):
            rate = rate_at(moment, train__epochs=epochs, train__decay_epochs=decay_epochs)
            assert rate == pytest.approx(expected, rel=1e-12)
        optimizer.step()
        scheduler.step()


def test_the_share_that_is_behind_grows_from_0_to_1():
    train = configure(train__epochs=1, train__decay_epochs=3).train

    assert [share_behind(train, epoch) for epoch in (0.0, 0.5, 3.0, 4.0, 4.5)] == [
        *(0, 0.125, 0.75, 1, 1)
    ]


def test_linear_decay_never_turns_negative():
    assert rate_at(1000, train__epochs=1, train__decay_epochs=1) == 0


def test_cosine_decay_begins_at_the_full_rate_and_ends_at_zero():
    fields = {
        "optimizer__schedule": "cosine",
        "optimizer__learning_rate": 1.0,
        "train__epochs": 4,
        "train__decay_epochs": 8,
    }

    assert [rate_at(epoch, **fields) for epoch in (0, 2.5, 4)] == [1, 1, 1]
    assert rate_at(6, **fields) == pytest.approx(0.5 + 0.5 * 0.5**0.5)
    assert rate_at(8, **fields) == pytest.approx(0.5)
    assert rate_at(12, **fields) == pytest.approx(0, abs=1e-15)
    assert rate_at(13, **fields) == pytest.approx(0, abs=1e-15)
    rates = [rate_at(4 + step / 10, **fields) for step in range(81)]
    assert rates == sorted(rates, reverse=True)


def test_cosine_without_decay_keeps_the_rate():
    fields = {"optimizer__schedule": "cosine", "train__epochs": 2, "train__decay_epochs": 0}

    assert [rate_at(epoch, **fields) for epoch in (0, 1.9)] == [2e-4, 2e-4]


def rates_of_training(total: int, steps_per_epoch: int, **fields: object) -> list[float]:
    config = configure(**fields)
    progress = Progress(config, BestScores({}), steps_per_epoch, images_per_step=1)
    rates = []
    while progress.step < progress.total_steps:
        epoch = progress.epochs_of_schedule
        rates.append(learning_rate(config.optimizer, config.train, epoch))
        progress.advance()
        if progress.step_in_epoch == steps_per_epoch:
            progress.begin_epoch()
    assert len(rates) == total
    return rates


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_a_training_of_so_many_steps_has_the_schedule_of_its_epochs(schedule):
    shape = {"train__epochs": 1, "train__decay_epochs": 2, "optimizer__schedule": schedule}

    by_epochs = rates_of_training(30, 10, **shape)

    assert rates_of_training(30, 10, **shape, train__steps=30) == by_epochs
    # Three times as many steps, or epochs of another length, change nothing but its pace.
    assert rates_of_training(90, 10, **shape, train__steps=90)[::3] == pytest.approx(by_epochs)
    assert rates_of_training(30, 400, **shape, train__steps=30) == pytest.approx(by_epochs)
    stopped = rates_of_training(7, 10, **shape, train__steps=90, train__max_steps=7)
    assert stopped == pytest.approx([2e-4] * 7)
