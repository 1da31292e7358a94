"""Scores by the network that comes with the package: what they are, and that they tell apart."""

import json
from pathlib import Path

import lpips
import numpy as np
import pytest
import torch
from inception_weights import soft_picture, write_soft_pictures
from safetensors.torch import load_file
from torchvision import models

from cyclegan_style.benchmarks.evaluation import compare_with_pytorch_fid
from cyclegan_style.commands.main import main
from cyclegan_style.data.images import read_stored_rgb, write_image
from cyclegan_style.errors import UserError
from cyclegan_style.evaluation.definitions import (
    Definition,
    FeatureNetwork,
    definition_named,
    imagenet_bicubic,
)
from cyclegan_style.evaluation.evaluator import Evaluator
from cyclegan_style.evaluation.folders import evaluate_folders
from cyclegan_style.evaluation.frechet import frechet_of_features
from cyclegan_style.evaluation.kid import squared_mmd
from cyclegan_style.evaluation.scores import (
    EvaluationOptions,
    Scores,
    contradiction,
    definition_for,
    named_by,
)
from cyclegan_style.evaluation.squeezenet import (
    COMPARED,
    PooledStatistics,
    load_squeezenet_distance,
)
from cyclegan_style.features.squeezenet import SQUEEZENET
from cyclegan_style.synthetic import DEMO_COUNTS, demo_folder

pytestmark = pytest.mark.numeric

NO_NETWORK = "http://127.0.0.1:1"


@pytest.fixture(autouse=True)
def nothing_at_hand(tmp_path, monkeypatch):
    """No weights but the package's, no network and no features of earlier tests."""
    monkeypatch.setenv("CYCLEGAN_STYLE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("https_proxy", NO_NETWORK)


@pytest.fixture(scope="module")
def sets(tmp_path_factory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("sets")
    return {
        name: write_soft_pictures(root / name, count, seed, longest=160)
        for name, count, seed in (("real", 5, 3), ("fake", 4, 4))
    }


def features_by_hand(paths: list[Path]) -> np.ndarray:
    """The documented formula, in float64, on the activations of torchvision's own module."""
    layers = models.squeezenet1_1(weights=None).features.eval()
    state = load_file(SQUEEZENET.find())
    layers.load_state_dict({name: tensor.float() for name, tensor in state.items()})
    rows = []
    for path in paths:
        activations, row = imagenet_bicubic(read_stored_rgb(path))[None], []
        for place, layer in enumerate(layers):
            with torch.no_grad():
                activations = layer(activations)
            if place in (4, 7):  # fire3 and fire5
                scale = {4: 41, 7: 38}[place]
                channels = activations[0].double().flatten(1).numpy()
                row += [channels.mean(1) / scale, channels.std(1) / scale]
        rows.append(np.concatenate(row))
    return np.array(rows)


def run(capsys, *arguments: object) -> dict:
    assert main(["evaluate", *map(str, arguments), "--json"]) == 0
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def complaint(capsys, *arguments: object) -> str:
    assert main(["evaluate", *map(str, arguments)]) == 2
    told = capsys.readouterr().err.splitlines()
    assert told[-1].startswith("error: ")
    assert "Traceback" not in "".join(told)
    return told[-1]


def of(sets: dict[str, Path], *options: object) -> list[object]:
    return ["folders", "--real", sets["real"], "--fake", sets["fake"], *options]


def test_scores_are_those_of_the_documented_formula(capsys, sets):
    metrics = ["--metrics", "fid,kid,precision_recall", "--definition", "squeezenet"]
    scores = run(capsys, *of(sets, *metrics))

    real, fake = (features_by_hand(sorted(sets[name].iterdir())) for name in ("real", "fake"))
    assert real.shape == (5, 768)
    # Features in float32 with up to 2304 summands of each activation.
    assert scores["fd_squeezenet"] == pytest.approx(frechet_of_features(real, fake), rel=1e-4)
    subset = np.random.RandomState(2020)
    subsets = [
        squared_mmd(real[subset.choice(5, 4, replace=False)], fake[subset.permutation(4)])
        for _ in range(100)
    ]
    assert scores["kid"] == pytest.approx(np.mean(subsets), rel=1e-4)
    assert {"precision", "recall", "fd_squeezenet_interval", "kid_interval"} <= scores.keys()
    assert "fid" not in scores
    assert scores["definition"] == "squeezenet"
    assert scores["weights"] == SQUEEZENET.weights.sha256
    again = run(capsys, *of(sets, "--metrics", "fd,kid", "--weights", SQUEEZENET.find()))
    assert again["fd_squeezenet"] == scores["fd_squeezenet"]


def test_features_of_plain_pictures_are_finite_and_of_no_batch():
    network = PooledStatistics(SQUEEZENET.load(SQUEEZENET.find()))
    pictures = [np.full((20, 30, 3), 128, np.uint8), soft_picture(50, 40, 1)]
    images = torch.stack([imagenet_bicubic(pixels) for pixels in pictures])

    with torch.inference_mode():
        both, alone = network(images), torch.cat([network(image[None]) for image in images])

    assert both.isfinite().all()
    assert torch.allclose(both, alone, rtol=0, atol=1e-5)


def test_photographs_and_paintings_are_told_apart(tmp_path):
    for domain in ("photo", "painting"):
        for number, path in enumerate(sorted(demo_folder(domain, "test").iterdir())[:24]):
            part = tmp_path / f"{domain}{number % 2}"
            part.mkdir(exist_ok=True)
            (part / path.name).write_bytes(path.read_bytes())

    def compared(real: str, fake: str) -> Scores:
        options = EvaluationOptions(("fd", "kid"))
        return evaluate_folders(str(tmp_path / real), str(tmp_path / fake), options)

    between = compared("painting0", "photo0")
    for domain in ("photo", "painting"):
        within = compared(f"{domain}0", f"{domain}1")
        for name in ("fd_squeezenet", "kid"):
            assert within.intervals[name][1] < between.intervals[name][0]
        assert within.intervals["kid"][0] < 0 < within.intervals["kid"][1]


@pytest.mark.parametrize(
    ("metrics", "chosen", "definition", "names"),
    [
        ("fid,kid", None, "pytorch-fid", "fid,kid"),
        ("kid", None, "pytorch-fid", "kid"),
        ("fd,kid", None, "squeezenet", "fd_squeezenet,kid"),
        ("fid,kid", "squeezenet", "squeezenet", "fd_squeezenet,kid"),
        ("kid", "squeezenet", "squeezenet", "kid"),
        ("fd,art_fid", "clean", "clean", "fid,art_fid"),
        ("fd", "dinov2", "dinov2", "fid"),
    ],
)
def test_which_features_are_compared_and_what_the_scores_are_called(
    metrics, chosen, definition, names
):
    asked = tuple(metrics.split(","))
    found = definition_for(asked, chosen)

    assert found == definition_named(definition)
    assert named_by(found, asked) == tuple(names.split(","))
    assert contradiction(asked, found) is None


def test_a_network_of_ones_own_is_called_fid_unless_its_definition_says_otherwise(sets):
    for definition, name in (
        (Definition("own", imagenet_bicubic), "fid"),
        (Definition("own", imagenet_bicubic, frechet="fd_own"), "fd_own"),
    ):
        own = FeatureNetwork(definition, lambda images: images.mean((2, 3)), "none")
        scores = evaluate_folders(
            str(sets["real"]), str(sets["fake"]), EvaluationOptions(("fd",), network=own)
        )
        assert set(scores.values) == set(scores.intervals) == {name}


def test_mistakes_are_one_line(capsys, sets, tmp_path):
    assert "fd and fid are the same" in complaint(capsys, *of(sets, "--metrics", "fd,fid"))
    by_squeezenet = ["--definition", "squeezenet", "--metrics"]
    for metric in ("fid_infinity", "fid,fid_infinity"):
        told = complaint(capsys, *of(sets, *by_squeezenet, metric))
        assert "--metrics: fid_infinity cannot be had by the definition squeezenet" in told
    assert "Inception only" in complaint(
        capsys, *of(sets, *by_squeezenet, "fd", "--precision=bf16")
    )
    torch.save({"0.weight": torch.zeros(1)}, tmp_path / "other.pth")
    told = complaint(capsys, *of(sets, *by_squeezenet, "fd", "--weights", tmp_path / "other.pth"))
    assert "not the weights of SqueezeNet 1.1" in told


def test_without_the_inception_an_error_names_what_needs_no_download(capsys, sets):
    told = complaint(capsys, *of(sets, "--metrics", "fid"))
    assert "no Inception weights" in told
    assert told.endswith("--definition squeezenet needs no download")

    options = EvaluationOptions(
        ("fid",), definition_field="evaluation.definition", weights_field="evaluation.weights"
    )
    with pytest.raises(UserError) as caught:
        Evaluator(options)
    assert "or name it with evaluation.weights;" in str(caught.value)
    assert str(caught.value).endswith("evaluation.definition squeezenet needs no download")


def test_statistics_of_other_features_are_refused(capsys, sets, tmp_path):
    file = tmp_path / "real.npz"
    run(capsys, "stats", "--images", sets["real"], "--output", file, "--definition", "squeezenet")
    by_file = run(capsys, *of(sets | {"real": file}, "--metrics", "fd", "--no-intervals"))
    direct = run(capsys, *of(sets, "--metrics", "fd", "--no-intervals"))
    assert by_file["fd_squeezenet"] == pytest.approx(direct["fd_squeezenet"], rel=1e-7)

    np.savez(file, mu=np.zeros(192), sigma=np.eye(192))  # as pytorch-fid writes them
    told = complaint(capsys, *of(sets | {"real": file}, "--metrics", "fd"))
    assert "features of 192 and of 768 dimensions are of different networks" in told


def test_scores_of_the_demo_need_nothing(capsys, sets, tmp_path, monkeypatch):
    monkeypatch.setenv("CYCLEGAN_STYLE_CACHE", str(tmp_path))
    monkeypatch.setitem(DEMO_COUNTS, "test", 4)
    folders = ["folders", "--real", "demo:painting", "--fake", sets["fake"], "--no-intervals"]
    scores = run(capsys, *folders)
    assert {"fd_squeezenet", "kid", "swd"} <= scores.keys()
    ranked = ["compare", "--real", "demo:painting", "--fake", sets["fake"], f"{sets['fake']}/"]
    ranked.append("--no-intervals")
    assert all("fd_squeezenet" in rank for rank in run(capsys, *ranked)["ranking"])


def test_the_distance_of_two_pictures_is_that_of_lpips_without_its_trained_weights():
    theirs = lpips.LPIPS(net="squeeze", lpips=False, pnet_rand=True, verbose=False)
    state = load_file(SQUEEZENET.find())
    slices = {key.partition(".")[2]: key for key in theirs.net.state_dict()}
    theirs.net.load_state_dict({slices[name]: tensor.float() for name, tensor in state.items()})
    generator = torch.Generator().manual_seed(2)
    first, second = torch.rand(2, 2, 3, 48, 61, generator=generator) * 2 - 1

    with torch.no_grad():
        found = load_squeezenet_distance()(first, second)
        expected = theirs(first, second).flatten() / len(COMPARED)

    assert torch.allclose(found, expected, rtol=1e-5)


def test_pairs_by_the_distance(capsys, tmp_path):
    truth, fake = tmp_path / "truth", tmp_path / "fake"
    for number, side in enumerate((40, 44, 31)):
        picture = soft_picture(side, 50, number)
        for folder, shown in ((truth, picture), (fake, 255 - picture)):
            folder.mkdir(exist_ok=True)
            write_image(folder / f"{number}.png", shown)
    options = ["--metrics", "squeezenet_distance", "--json"]
    assert main(["evaluate", "paired", "--truth", str(truth), "--fake", str(fake), *options]) == 1
    scores = json.loads(capsys.readouterr().out)

    assert scores["n"] == 2
    assert scores["squeezenet_distance"] > 0.05
    assert "squeezenet_distance needs 32 × 32" in scores["failed"][0]["error"]
    (truth / "2.png").unlink()
    same = run(capsys, "paired", "--truth", truth, "--fake", truth, *options[:2])
    assert same["squeezenet_distance"] == 0


@pytest.mark.slow
def test_the_benchmark_needs_no_weights(capsys):
    comparison = compare_with_pytorch_fid(3, None)

    assert comparison.random_weights
    # Both tools sum the same float32 activations in other orders.
    assert comparison.fid == pytest.approx(comparison.baseline_fid, rel=1e-4)
    assert "random" in capsys.readouterr().err
