"""The public tools side by side with ours, on the same files and the same random weights."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from inception_weights import write_random_weights, write_soft_pictures
from torch import nn

from cyclegan_style.evaluation.collect import collect_features
from cyclegan_style.evaluation.comparison import kernel
from cyclegan_style.evaluation.definitions import DEFINITIONS
from cyclegan_style.evaluation.frechet import frechet_of_features
from cyclegan_style.features.inception import INCEPTION

pytorch_fid = pytest.importorskip("pytorch_fid.fid_score")
pytorch_inception = pytest.importorskip("pytorch_fid.inception")
torch_fidelity = pytest.importorskip("torch_fidelity")
clean_fid = pytest.importorskip("cleanfid.fid")
clean_inception = pytest.importorskip("cleanfid.inception_torchscript")

FID_TOLERANCE = 1e-3
"""A tenth of what the smallest known mistake makes, a resize that is rounded."""
KID_TOLERANCE = 2e-6
FEATURE_TOLERANCE = 1e-4
"""Of values of about 1, after 94 layers in float32; measured were 1.5e-5."""
KID_SEED = 2020
SOME = 16
"""Every so manieth feature is enough for a second look."""


@pytest.fixture(scope="module")
def pairs(tmp_path_factory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("pairs")
    return {
        "weights": write_random_weights(root / "torch"),
        "real": write_soft_pictures(root / "real", 3, seed=1),
        "fake": write_soft_pictures(root / "fake", 2, seed=2),
    }


@pytest.fixture
def torch_home(pairs, monkeypatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(pairs["weights"].parents[2]))


@pytest.fixture(scope="module")
def ours(pairs) -> Callable[[str], list[np.ndarray]]:
    network = INCEPTION.load(pairs["weights"])

    @cache
    def features(definition: str) -> list[np.ndarray]:
        prepare = DEFINITIONS[definition].prepare
        return [
            collect_features(sorted(pairs[name].iterdir()), network, prepare, batch_size=4).features
            for name in ("real", "fake")
        ]

    return features


def features_of_pytorch_fid(files: list[Path]) -> np.ndarray:
    model = pytorch_inception.InceptionV3([3])
    return pytorch_fid.get_activations(files, model, batch_size=1, num_workers=0)


def features_of_torch_fidelity(files: list[Path]) -> np.ndarray:
    from torch_fidelity.datasets import ImagesPathDataset
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    extractor = FeatureExtractorInceptionV3(
        "inception", ["2048"], feature_extractor_weights_path=str(INCEPTION.find())
    )
    with torch.no_grad():
        return torch.cat([extractor(x[None])[0] for x in ImagesPathDataset(files)]).numpy()


class Layers(nn.Module):
    """pytorch-fid's network in the place of clean-fid's TorchScript, which is not on PyPI."""

    def __init__(self) -> None:
        super().__init__()
        self.network = pytorch_inception.InceptionV3([3], resize_input=False, normalize_input=False)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.network(images)[0]


def features_of_clean_fid(files: list[Path]) -> np.ndarray:
    model: Any = clean_inception.InceptionV3W.__new__(clean_inception.InceptionV3W)
    nn.Module.__init__(model)
    model.layers, model.resize_inside = Layers().eval(), False
    device = torch.device("cpu")
    return clean_fid.get_files_features(
        files, model, num_workers=0, batch_size=4, device=device, mode="clean", verbose=False
    )


TOOLS = {
    "pytorch-fid": features_of_pytorch_fid,
    "torch-fidelity": features_of_torch_fidelity,
    "clean": features_of_clean_fid,
}


def fid_of_torch_fidelity(real: np.ndarray, fake: np.ndarray) -> float:
    from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric

    statistics = [fid_features_to_statistics(torch.from_numpy(x)) for x in (real, fake)]
    return fid_statistics_to_metric(*statistics, verbose=False)["frechet_inception_distance"]


def fid_by_small_root(real: np.ndarray, fake: np.ndarray) -> float:
    """Σ₁Σ₂ = XᵀX·YᵀY has the eigenvalues of XYᵀ·YXᵀ, but for zeros."""
    real, fake = real.astype(np.float64), fake.astype(np.float64)
    x, y = ((z - z.mean(0)) / np.sqrt(len(z) - 1) for z in (real, fake))
    root = np.sqrt(np.linalg.eigvalsh(x @ y.T @ y @ x.T).clip(0)).sum()
    shift = np.square(real.mean(0) - fake.mean(0)).sum()
    return float(shift + np.square(x).sum() + np.square(y).sum() - 2 * root)


def kid_of_torch_fidelity(real: np.ndarray, fake: np.ndarray) -> tuple[float, float]:
    from torch_fidelity.metric_kid import kid_features_to_metric

    values = kid_features_to_metric(
        *(torch.from_numpy(x) for x in (real, fake)),
        kid_subset_size=min(len(real), len(fake)),
        verbose=False,
    )
    return values["kernel_inception_distance_mean"], values["kernel_inception_distance_std"]


def kid_of_clean_fid(real: np.ndarray, fake: np.ndarray) -> float:
    np.random.seed(KID_SEED)
    return clean_fid.kernel_distance(real, fake)


@pytest.mark.usefixtures("torch_home")
@pytest.mark.parametrize("definition", TOOLS)
def test_same_numbers_as_the_tool(pairs, ours, definition):
    files = [sorted(pairs[name].iterdir()) for name in ("real", "fake")]
    theirs = np.split(TOOLS[definition](files[0] + files[1]), [len(files[0])])
    real, fake = ours(definition)

    for mine, other in zip((real, fake), theirs, strict=True):
        assert np.abs(mine - other).max() < FEATURE_TOLERANCE
    expected = fid_by_small_root(*theirs)
    assert expected > 1
    assert frechet_of_features(real, fake) == pytest.approx(expected, abs=FID_TOLERANCE)
    # The tool itself takes the root of a matrix, for which all features would take long.
    some = [features[:, ::SOME] for features in (real, fake, *theirs)]
    expected = fid_of_torch_fidelity(*some[2:])
    assert expected > 1 / SOME
    assert frechet_of_features(*some[:2]) == pytest.approx(expected, abs=FID_TOLERANCE)
    distance = kernel(real, fake, DEFINITIONS[definition])
    if definition == "clean":
        assert distance.mean == pytest.approx(kid_of_clean_fid(*theirs), abs=KID_TOLERANCE)
    else:
        mean, deviation = kid_of_torch_fidelity(*theirs)
        assert distance.mean == pytest.approx(mean, abs=KID_TOLERANCE)
        assert distance.deviation == pytest.approx(deviation, abs=KID_TOLERANCE)


@pytest.mark.usefixtures("torch_home")
def test_definitions_differ_by_more_than_the_tolerance(ours):
    values = [frechet_of_features(*ours(name)) for name in DEFINITIONS]

    gaps = [abs(values[i] - values[j]) for i in range(3) for j in range(i)]
    assert min(gaps) > 10 * FID_TOLERANCE


@pytest.mark.slow
@pytest.mark.usefixtures("torch_home")
def test_whole_pytorch_fid(pairs, ours):
    paths = [str(pairs[name]) for name in ("real", "fake")]
    expected = pytorch_fid.calculate_fid_given_paths(paths, 1, "cpu", 2048, num_workers=0)

    value = frechet_of_features(*ours("pytorch-fid"))
    assert value == pytest.approx(expected, abs=FID_TOLERANCE)
