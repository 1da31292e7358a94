"""The fastest way is found by trying, and remembered for this machine and this work alone."""

import time
from collections.abc import Mapping
from functools import partial

import pytest
import torch

from cyclegan_style.system.measured import (
    MARGIN,
    MEASURED_FILE,
    SWITCH,
    Speeds,
    Trial,
    fastest_here,
    long_enough,
    measured_speeds,
)
from cyclegan_style.system.user_cache import cache_folder


def at_once() -> None:
    pass


def never() -> Mapping[str, Trial]:
    raise AssertionError("measured again")


QUICK, SLOW = Trial(at_once, at_once), Trial(partial(time.sleep, 0.01), partial(time.sleep, 0.01))


@pytest.fixture(autouse=True)
def cache(measuring):
    return cache_folder()


def measured_again(*what: str) -> bool:
    speeds = fastest_here(what, ["slow", "quick"], lambda: {"slow": SLOW, "quick": QUICK})
    assert speeds.best == "quick"
    return not speeds.remembered


def test_a_faster_way_than_the_usual_is_chosen():
    assert Speeds(measured_speeds({"slow": SLOW, "quick": QUICK})).best == "quick"


def test_a_much_slower_way_is_given_up_after_a_small_part():
    begun = []
    slow = Trial(SLOW.part, lambda: begun.append("slow"))

    speeds = measured_speeds({"quick": QUICK, "slow": slow})

    assert (speeds, begun) == ({"quick": 1.0, "slow": 0.0}, [])


def test_what_a_first_call_prepares_does_not_count():
    waits = [0.1]

    def prepare() -> None:
        time.sleep(waits.pop() if waits else 0)

    speeds = measured_speeds({"slow": SLOW, "prepares": Trial(prepare, at_once)})

    assert speeds["prepares"] > 1


def test_ways_that_are_about_as_fast_as_one_must_be_are_measured_for_longer():
    soon, late = long_enough([1.0, 0.5]), long_enough([1.0, 1.0 / MARGIN])
    assert late > soon
    assert long_enough([1.0, 1.5, 0.95]) == long_enough([1.0, 0.5, 0.95]) == late
    assert long_enough([1.0, 1.5, 0.5]) == soon


def test_a_way_that_fails_is_not_chosen():
    def fail() -> None:
        raise RuntimeError("not implemented for Half")

    for broken in (Trial(fail, at_once), Trial(at_once, fail)):
        assert measured_speeds({"slow": SLOW, "broken": broken})["broken"] == 0.0


def test_another_way_must_be_faster_by_a_margin():
    kept = Speeds({"float32": 1.0, "bfloat16": 1.05})
    assert kept.best == "float32"
    assert kept.reasons() == "bfloat16 is only 1.05 times as fast (measured here)"
    why = "float32 would be taken here: bfloat16 is only 1.05 times as fast (measured here)"
    assert kept.better_than("bfloat16") == why
    chosen = Speeds({"float32": 1.0, "bfloat16": 1.9}, remembered=True)
    assert chosen.best == "bfloat16"
    assert chosen.reasons() == "1.9 times as fast as float32 (measured here earlier)"


def test_what_was_measured_is_remembered_for_the_same_work_on_the_same_machine(monkeypatch):
    assert measured_again("training", "small")
    assert fastest_here(["training", "small"], ["slow", "quick"], never).best == "quick"

    assert measured_again("training", "large")
    threads = torch.get_num_threads()
    torch.set_num_threads(threads + 1)
    try:
        assert measured_again("training", "small")
    finally:
        torch.set_num_threads(threads)
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "SSE41")
    assert measured_again("training", "small")
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA")
    monkeypatch.setattr(torch, "__version__", "9.0")
    assert measured_again("training", "small")


def test_the_usual_way_is_taken_without_measuring_where_that_is_switched_off(monkeypatch):
    assert measured_again("work")
    monkeypatch.setenv(SWITCH, "0")

    speeds = fastest_here(["work"], ["slow", "quick"], never)

    assert speeds.best == "slow"
    assert speeds.reasons() == "the usual way, since CYCLEGAN_STYLE_MEASURE is 0"


def test_damaged_and_foreign_files_are_measured_over(cache):
    assert measured_again("work")
    file = cache / MEASURED_FILE
    whole = file.read_text()
    for rubbish in (
        *("", "{", "[]", "null", whole.replace("1.0", "-1.0"), whole.replace("1.0", "NaN")),
        *(whole.replace("slow", "slower"), whole.replace("1.0", "null"), "[" * 10_000),
    ):
        file.write_text(rubbish)
        assert measured_again("work")
        assert not measured_again("work")
    file.write_bytes(b"\xff\xfe")
    assert measured_again("work")


def test_a_cache_that_cannot_be_written_is_no_error(cache):
    cache.write_text("not a folder")

    assert measured_again("work")
    assert measured_again("work")
