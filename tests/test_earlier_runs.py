"""Runs and models of earlier versions: they resume, and they load."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from runs_in_tests import metrics_of, run_training
from safetensors.torch import load_file
from tiny import make_pictures, tiny_config

from cyclegan_style import Predictor
from cyclegan_style.config import Config
from cyclegan_style.errors import UserError

pytestmark = pytest.mark.numeric

EARLIER = Path(__file__).parent / "data" / "earlier_run"
AFTER = EARLIER / "after"


@pytest.fixture
def run(tmp_path, monkeypatch) -> Path:
    """A copy of the run beside the pictures that it was trained on."""
    for seed, (name, count) in enumerate([("a", 5), ("b", 3)]):
        make_pictures(tmp_path / "pictures" / name, count, seed=seed)
    shutil.copytree(EARLIER, tmp_path / "run", ignore=shutil.ignore_patterns("after"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "run"


def as_it_began(steps: int = 6, **fields: Any) -> Config:
    return tiny_config(
        run__dir="run",
        data__a="pictures/a",
        data__b="pictures/b",
        train__max_steps=steps,
        checkpoint__every_steps=3,
        tracking__log_every_steps=2,
        tracking__sample_every_steps=100,
        train__pool_size=4,
        train__ema_decay=0.9,
        generator__dropout=True,
        discriminator__augment=("color", "translation", "cutout"),
        evaluation__every_steps=3,
        evaluation__max_images=2,
        **fields,
    )


def test_a_run_goes_on_as_it_would_have(run, capsys):
    assert run_training(as_it_began()).step == 6

    for name in ("generators", "discriminators", "average"):
        there = load_file(run / "checkpoints" / "step-00000006" / f"{name}.safetensors")
        expected = load_file(AFTER / f"{name}.safetensors")
        assert there.keys() == expected.keys()
        for key, tensor in expected.items():
            # Another processor rounds otherwise, which turns Adam's step where a gradient is next
            # to nothing: at a few weights, and at biases before a norm, which have none. Steps of
            # 2e-4 with other pictures, chance or moments differ at nearly all weights.
            difference = (there[key] - tensor).abs().float()
            assert difference.max() <= 3 * 2 * 2e-4
            if tensor.ndim > 1:
                assert difference.median() < 2e-6, key
    recorded = [json.loads(line) for line in (AFTER / "metrics.jsonl").read_text().splitlines()]
    for now, then in zip(metrics_of(run), recorded, strict=True):
        assert {name: now[name] for name in then} == {
            name: pytest.approx(value, rel=2e-4) if name != "images_per_second" else now[name]
            for name, value in then.items()
        }
    # Scores that are newer than the run come to those that it had, and end nothing.
    assert "fd_squeezenet_ab" in metrics_of(run)[-1]
    assert "made in another way" not in capsys.readouterr().err


def test_a_run_that_was_called_fp16_on_a_cpu_goes_on_as_what_it_was(run, monkeypatch):
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    file = run / "config.yaml"
    file.write_text(file.read_text().replace("mixed_precision: 'no'", "mixed_precision: fp16"))

    with pytest.raises(UserError, match="fp16 needs a GPU"):
        run_training(as_it_began(train__mixed_precision="fp16"))
    assert run_training(as_it_began(steps=4)).step == 4


@pytest.mark.parametrize("direction", ["ab", "ba"])
def test_a_model_translates_as_it_did(direction):
    place = torch.linspace(-1, 1, 24)
    across, down = place.expand(24, 24), place[:, None].expand(24, 24)
    image = torch.stack([across, down, across * down])[None]

    output = Predictor.load(EARLIER, direction, "cpu", "fp32").translate_tensor(image)

    # Outputs of up to 0.6, in float32 through a dozen layers that may each round otherwise.
    expected = load_file(AFTER / "translations.safetensors")[direction]
    assert (output - expected).abs().max() < 1e-5
