"""The benchmark of the loader loads the same pixels as torchvision, from every source."""

import json

import pytest
import torch

from cyclegan_style.commands.main import main


def test_every_source_is_measured_and_the_pixels_are_torchvisions(capsys, monkeypatch):
    # Libraries that take seconds to import, and that a machine may be without.
    monkeypatch.setattr("cyclegan_style.benchmarks.loading.find_spec", lambda name: None)
    threads = torch.get_num_threads()
    options = "--images 2 --side 40 --size 32 --workers [0] --runs 1 --json"
    try:
        assert main(["benchmark", "data", *options.split()]) == 0
    finally:
        torch.set_num_threads(threads)

    found = json.loads(capsys.readouterr().out)
    assert found["same_pixels"] is True
    assert {each["decoder"]: each["same_pixels"] for each in found["decoding"]}.items() >= {
        ("pillow", True),
        ("torchvision", True),
    }
    measured = {(each["format"], each["loader"]) for each in found["loading"]}
    for name in ("jpeg", "png", "webp"):
        assert {(name, loader) for loader in ("torchvision", "folder", "memory")} <= measured
    assert ("jpeg", "list") in measured
    assert ("jpeg", "shard") in measured
    assert all(each["images_per_second"] > 0 for each in found["loading"])
    wanted = found["wanted"]
    assert wanted["images_per_second"] == pytest.approx(
        2 * 0.3 * 989e12 / (wanted["gigaflop_of_a_step"] * 1e9)
    )
