"""The load test finds what is wrong, and a server under it answers everybody."""

import numpy as np
import pytest
from tiny import configure

from cyclegan_style.benchmarks.serving import Answers, measure_serving, smooth_pictures
from cyclegan_style.serving.pictures import encoded


def test_wrong_answers_are_counted():
    expected = [each.astype(int) for each in smooth_pictures(16)]
    pictures = [each.astype(np.uint8) for each in expected]
    dimmed = np.where(pictures[1] > 1, pictures[1] - 2, pictures[1] + 2)
    answers = Answers()
    for number, picture in [(0, pictures[0]), (0, pictures[0]), (1, pictures[0]), (1, dimmed)]:
        answers.add(number, 200, encoded(picture, ".png", 95, {}), 0.1)
    answers.add(2, 200, encoded(pictures[2][:8], ".png", 95, {}), 0.1)
    answers.add(2, 503, b"{}", 0.1)

    wrong, largest = answers.wrong(expected)

    assert wrong == 4  # another picture, one that differs by 2, a part of one, a refusal
    assert largest == np.abs(expected[0] - expected[1]).max()


@pytest.mark.slow
def test_a_server_under_load_answers_everybody():
    generator = configure(generator__channels=4, generator__blocks=1).generator
    figures = measure_serving(32, generator, clients=3, seconds=1)
    assert figures.wrong == 0
    assert figures.requests >= 3
    assert figures.largest_difference == 0
    assert 0 < figures.p50_seconds <= figures.p99_seconds
    assert figures.first_gigabytes > 0.05
