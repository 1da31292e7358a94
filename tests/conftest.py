"""What every test relies on."""

import gc
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, settings
from tiny import forget_accelerator, make_pictures, tiny_config

from cyclegan_style.config import Config
from cyclegan_style.system.measured import SWITCH

# No example fails for being slow: that is the machine's doing.
settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("any machine")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--device", default="cuda", help="where tests marked gpu compute: cuda, cpu")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Spare the collector of garbage what is imported: it would go through it again and again."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_unconfigure() -> None:
    """Let Python take apart what was spared: extensions look for leaks at the end."""
    gc.unfreeze()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--device") == "cuda" and not torch.cuda.is_available():
        for item in items:
            if item.get_closest_marker("gpu"):
                item.add_marker(pytest.mark.skip(reason="needs a CUDA GPU"))


@pytest.fixture
def device(pytestconfig, monkeypatch) -> torch.device:
    """The GPU; the CPU with ``--device cpu``, to see whether the tests themselves are sound."""
    chosen = torch.device(pytestconfig.getoption("--device"))
    if chosen.type == "cpu":
        monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
        return chosen
    return torch.device("cuda", torch.cuda.current_device())


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """Networks this small lose more than they gain by threads, also in processes of their own."""
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("OMP_NUM_THREADS", "1")
        yield


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory) -> Iterator[None]:
    """What tests measure and compute is not for the person who runs them."""
    with pytest.MonkeyPatch.context() as patched:
        base = tmp_path_factory.getbasetemp()
        if "PYTEST_XDIST_WORKER" in os.environ:
            base = base.parent  # which the workers share, so that demo pictures are drawn once
        patched.setenv("CYCLEGAN_STYLE_CACHE", str(base / "cache"))
        yield


@pytest.fixture(scope="session", autouse=True)
def usual_ways() -> Iterator[None]:
    """What is fastest differs from machine to machine, and with it the last digits."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv(SWITCH, "0")
        yield


@pytest.fixture
def measuring(usual_ways, tmp_path, monkeypatch) -> None:
    """Let ways be chosen by measuring, and remembered for this test alone."""
    monkeypatch.delenv(SWITCH)
    monkeypatch.setenv("CYCLEGAN_STYLE_CACHE", str(tmp_path / "cache"))


@pytest.fixture(autouse=True)
def fresh_accelerator() -> Iterator[None]:
    """accelerate keeps its state for the whole process, but tests choose other precisions."""
    forget_accelerator()
    yield
    forget_accelerator()


@pytest.fixture(scope="session")
def pictures(tmp_path_factory) -> Path:
    """Domains in the reference's layout: a of 5 and b of 3 pictures, and two tests of each."""
    root = tmp_path_factory.mktemp("pictures")
    for seed, (name, count) in enumerate(
        [("trainA", 5), ("trainB", 3), ("testA", 2), ("testB", 2)]
    ):
        make_pictures(root / name, count, seed=seed)
    return root


@pytest.fixture
def configured(pictures, tmp_path):
    """A tiny configuration of a run in ``tmp_path`` under a name."""

    def build(name: str = "run", **fields: Any) -> Config:
        usual = {
            "run__dir": str(tmp_path / name),
            "data__a": str(pictures / "trainA"),
            "data__b": str(pictures / "trainB"),
            "train__max_steps": 6,
            "checkpoint__every_steps": 3,
            "tracking__log_every_steps": 2,
            "tracking__sample_every_steps": 6,
        }
        return tiny_config(**(usual | fields))

    return build
