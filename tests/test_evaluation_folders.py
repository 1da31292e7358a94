"""Sets of pictures and the commands; a small network stands in for the Inception."""

import json
import math
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import lpips
import numpy as np
import pytest
import torch
from inception_weights import soft_picture, write_soft_pictures
from lpips_weights import distance_of_files, random_lpips, write_alexnet
from PIL import Image
from small_network import FEATURE_COUNT, SmallNetwork
from tiny import tiny_config

from cyclegan_style.benchmarks.recipe_scores import truth_readers
from cyclegan_style.commands.main import main
from cyclegan_style.config import to_yaml
from cyclegan_style.data.images import (
    Pixels,
    read_image,
    read_stored_rgb,
    to_tensor,
    write_image,
)
from cyclegan_style.data.training_data import open_test_domains
from cyclegan_style.errors import UserError
from cyclegan_style.evaluation import evaluator
from cyclegan_style.evaluation.folders import evaluate_folders
from cyclegan_style.evaluation.model import evaluate_model
from cyclegan_style.evaluation.pairs import evaluate_pairs
from cyclegan_style.evaluation.ranking import rank_models
from cyclegan_style.evaluation.scores import EvaluationOptions
from cyclegan_style.evaluation.statistics import Statistics, read_statistics, write_statistics
from cyclegan_style.features.inception import INCEPTION, WEIGHTS_FILE
from cyclegan_style.models.export import export_model
from cyclegan_style.synthetic import DEMO_COUNTS, demo_folder
from cyclegan_style.training.cyclegan import build_generators
from cyclegan_style.training.demo import known_translations, score


@pytest.fixture
def network(monkeypatch, tmp_path) -> SmallNetwork:
    """Put the small network where the Inception would be, and the cache into a fresh folder."""
    monkeypatch.setenv("CYCLEGAN_STYLE_CACHE", str(tmp_path / "cache"))
    small = SmallNetwork()
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    weights = tmp_path / "hub" / "checkpoints" / WEIGHTS_FILE
    weights.parent.mkdir(parents=True)
    torch.save({}, weights)
    monkeypatch.setattr(evaluator, "INCEPTION", replace(INCEPTION, build=lambda state: small))
    return small


@pytest.fixture(scope="module")
def sets(tmp_path_factory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("sets")
    return {
        "real": write_soft_pictures(root / "real", 9, seed=3, longest=160),
        "fake": write_soft_pictures(root / "fake", 7, seed=4, longest=160),
    }


def run(capsys, *arguments: object, status: int = 0) -> dict:
    assert main(["evaluate", *(str(part) for part in arguments), "--json"]) == status
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def complaint(capsys, *arguments: object) -> str:
    assert main(["evaluate", *(str(part) for part in arguments)]) == 2
    told = capsys.readouterr().err.splitlines()
    assert told[-1].startswith("error: ")
    assert "Traceback" not in "".join(told)
    return told[-1]


def of(sets: dict[str, Path]) -> list[object]:
    return ["folders", "--real", sets["real"], "--fake", sets["fake"]]


def test_all_metrics_of_two_folders(capsys, sets, network):
    metrics = "fid,kid,swd,precision_recall,fid_infinity"
    scores = run(capsys, *of(sets), "--metrics", metrics)

    assert (scores["n_real"], scores["n_fake"]) == (9, 7)
    sides = np.array([Image.open(path).size for path in sets["real"].iterdir()])
    smallest, largest = (f"{width}x{height}" for width, height in (sides.min(0), sides.max(0)))
    assert scores["size_real"] == f"{smallest} to {largest}"
    assert scores["definition"] == "pytorch-fid"
    assert len(scores["weights"]) == 64
    for name in ("fid", "kid", "swd"):
        low, high = scores[f"{name}_interval"]
        assert low < scores[name] < high
    for name in ("precision", "recall"):
        low, high = scores[f"{name}_interval"]
        assert low <= scores[name] <= high
    assert {"kid_std", "precision", "recall", "fid_infinity"} <= scores.keys()
    assert scores["failed"] == []


def test_a_table_for_people(capsys, sets, network):
    assert main(["evaluate", *map(str, of(sets))]) == 0

    shown = capsys.readouterr()
    assert [line.split()[0] for line in shown.out.splitlines()[:2]] == ["fid", "kid"]
    assert "95 %" in shown.out
    assert shown.err.count("FID of 7 images is biased") == 1


def test_neither_batches_nor_order_of_the_files_change_scores(capsys, sets, network, tmp_path):
    turned = tmp_path / "turned"
    turned.mkdir()
    for path in sets["fake"].iterdir():
        os.link(path, turned / f"{1000 - int(path.stem)}.png")
    options = ["--metrics", "fid,kid,swd", "--no-cache"]
    first = run(capsys, *of(sets), *options, "--batch-size", 1)
    second = run(capsys, *of(sets | {"fake": turned}), *options, "--batch-size", 5)

    # Patches come in another order to means in float64, which are then rounded to float32.
    assert second["swd"] == pytest.approx(first["swd"], rel=1e-6)
    # Batches of another size may sum the 300 products of a float32 feature in another order.
    assert second["fid"] == pytest.approx(first["fid"], rel=1e-5)


def test_a_large_set_is_streamed(capsys, sets, network, monkeypatch):
    options = [*of(sets), "--metrics", "fid", "--batch-size", 2]
    kept = run(capsys, *options, "--no-intervals", "--no-cache")
    monkeypatch.setattr(evaluator, "STREAMED", 5)
    streamed = run(capsys, *options)

    # The same features; only their sums are made in another order, in float64.
    assert streamed["fid"] == pytest.approx(kept["fid"], rel=1e-10)
    assert streamed.keys() == kept.keys()


def test_equal_folders(capsys, sets, network):
    scores = run(capsys, *of(sets | {"fake": sets["real"]}), "--metrics", "fid,swd")

    assert scores["fid"] < 1e-9
    assert scores["swd"] == 0


def test_swd_needs_no_weights(capsys, sets, monkeypatch, tmp_path):
    monkeypatch.setenv("CYCLEGAN_STYLE_CACHE", str(tmp_path))
    monkeypatch.setattr(evaluator, "INCEPTION", None)
    scores = run(capsys, *of(sets), "--metrics", "swd", "--no-intervals")

    assert scores["swd"] > 0
    assert "weights" not in scores
    assert "swd_interval" not in scores


def test_unreadable_files_are_named_once_and_skipped(capsys, sets, network, tmp_path):
    for path in sets["fake"].iterdir():
        os.link(path, tmp_path / path.name)
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (tmp_path / "empty.jpg").touch()
    assert main(["evaluate", *map(str, of(sets | {"fake": tmp_path})), "--json"]) == 1

    shown = capsys.readouterr()
    assert json.loads(shown.out)["n_fake"] == 7
    assert [Path(f["path"]).name for f in json.loads(shown.out)["failed"]] == [
        "broken.png",
        "empty.jpg",
    ]
    assert shown.err.count("broken.png") == 1


def test_mistakes_are_one_line(capsys, sets, network, tmp_path):
    write_image(tmp_path / "one.png", soft_picture(40, 40, 1))
    lone = complaint(capsys, *of(sets | {"fake": tmp_path}))
    assert "1 readable image, and at least two" in lone
    assert "no such file" in complaint(capsys, *of(sets | {"fake": tmp_path / "none"}))
    assert "fidd" in complaint(capsys, *of(sets), "--metrics", "fidd")
    assert "--definition" in complaint(capsys, *of(sets), "--definition", "mine").replace("_", "-")
    assert "batch-size" in complaint(capsys, *of(sets), "--batch-size", 0)


def test_damaged_weights_are_told(capsys, sets, network):
    network.get_buffer("weight").fill_(float("nan"))

    assert "not finite" in complaint(capsys, *of(sets))


def test_statistics_stand_for_their_folder(capsys, sets, network, tmp_path):
    file = tmp_path / "real.npz"
    facts = run(capsys, "stats", "--images", sets["real"], "--output", file)
    assert facts["n"] == 9
    direct = run(capsys, *of(sets), "--metrics", "fid")
    by_file = run(capsys, *of(sets | {"real": file}), "--metrics", "fid")

    # Beside the features' own factor, the covariance's is the root of what float64 holds.
    assert by_file["fid"] == pytest.approx(direct["fid"], rel=1e-7)
    assert by_file["n_real"] == 9
    told = complaint(capsys, *of(sets | {"real": file}), "--metrics", "fid", "--definition=clean")
    assert "made with the definition pytorch-fid" in told
    assert "fid only" in complaint(capsys, *of(sets | {"real": file}), "--metrics", "kid")
    halved = ["stats", "--images", sets["real"], "--output", file, "--precision", "bf16"]
    assert "fp32 only" in complaint(capsys, *halved)


def test_statistics_of_pytorch_fid_are_read_and_damaged_ones_refused(
    capsys, sets, network, tmp_path
):
    np.savez_compressed(
        tmp_path / "theirs.npz", mu=np.zeros(FEATURE_COUNT), sigma=np.eye(FEATURE_COUNT)
    )
    scores = run(capsys, *of(sets | {"real": tmp_path / "theirs.npz"}), "--metrics", "fid")
    assert scores["n_real"] is None
    assert scores["fid"] > 0

    (tmp_path / "damaged.npz").write_bytes(b"PK")
    told = complaint(capsys, *of(sets | {"real": tmp_path / "damaged.npz"}), "--metrics", "fid")
    assert "not a file of statistics" in told


@pytest.mark.parametrize("write", [np.savez, np.savez_compressed])
def test_damaged_statistics_are_read_or_refused_in_a_line(tmp_path, write):
    path = tmp_path / "damaged.npz"
    write(path, mu=np.zeros(4), sigma=np.eye(4))
    whole, random = path.read_bytes(), np.random.default_rng(0)
    refused = []
    for _ in range(400):
        content = bytearray(whole)
        content[random.integers(len(content))] = random.integers(256)
        path.write_bytes(content[: random.integers(len(content) // 2, 2 * len(content))])
        try:
            assert read_statistics(path).mean.ndim == 1
        except UserError as error:
            refused.append(str(error))
    assert len(refused) > 100
    assert all("\n" not in each and "damaged.npz: " in each for each in refused)


@pytest.mark.parametrize(
    "count", [np.arange(3), np.array(np.inf), np.array("three"), np.array(-3), np.array(0)]
)
def test_an_odd_count_of_pictures_is_refused_or_unknown(tmp_path, count):
    path = tmp_path / "odd.npz"
    np.savez(path, mu=np.zeros(4), sigma=np.eye(4), n=count)
    if count.dtype.kind == "i" and count.ndim == 0:
        assert read_statistics(path).count is None
    else:
        with pytest.raises(UserError, match="not a file of statistics"):
            read_statistics(path)


def test_features_of_the_real_set_are_kept(capsys, sets, network, tmp_path):
    real = tmp_path / "real"
    real.mkdir()
    for path in sets["real"].iterdir():
        (real / path.name).write_bytes(path.read_bytes())
    options = [*of(sets | {"real": real}), "--batch-size", 100]
    first = run(capsys, *options)
    calls = network.calls
    second = run(capsys, *options)
    assert network.calls == calls
    assert second == first

    write_image(real / "000.png", soft_picture(50, 50, 7))
    changed = run(capsys, *options)
    assert network.calls > calls
    assert changed["fid"] != first["fid"]
    assert run(capsys, *options, "--definition", "clean")["fid"] != changed["fid"]


def test_files_are_read_as_the_tools_do(tmp_path):
    Image.new("RGBA", (4, 4), (10, 20, 30, 0)).save(tmp_path / "alpha.png")
    Image.fromarray(np.full((4, 4), 300, np.uint16)).save(tmp_path / "deep.png")
    turned = Image.new("RGB", (6, 4))
    exif = turned.getexif()
    exif[0x0112] = 6
    turned.save(tmp_path / "turned.jpg", exif=exif)

    for path in tmp_path.iterdir():
        expected = np.array(Image.open(path).convert("RGB"))
        assert np.array_equal(read_stored_rgb(path), expected)


def test_pairs(capsys, tmp_path):
    truth, fake = tmp_path / "truth", tmp_path / "fake"
    for folder in (truth, fake):
        folder.mkdir()
    for number in range(3):
        picture = soft_picture(40, 50, number).clip(10, 240)
        write_image(truth / f"{number}.png", picture)
        write_image(fake / f"{number}.png", picture + np.uint8(5))
    write_image(fake / "alone.png", soft_picture(40, 50, 9))
    scores = run(capsys, "paired", "--truth", truth, "--fake", fake)

    assert (scores["n"], scores["unpaired"]) == (3, 1)
    assert scores["psnr"] == pytest.approx(20 * np.log10(255 / 5), abs=1e-6)
    assert 0.9 < scores["ssim"] < 1
    write_image(fake / "1.png", soft_picture(41, 50, 9))
    other = run(capsys, "paired", "--truth", truth, "--fake", fake, status=1)
    assert "50 × 41 and the truth 50 × 40" in other["failed"][0]["error"]
    same = ["paired", "--truth", truth, "--fake", truth]
    assert run(capsys, *same)["psnr"] is None
    assert run(capsys, *same, "--metrics", "sharpness")["sharpness"] == 1
    for path in truth.iterdir():
        write_image(path, np.full((40, 50, 3), 128, np.uint8))
    assert run(capsys, *same, "--metrics", "sharpness")["sharpness"] is None  # of nothing


def test_a_model_is_scored_both_ways(capsys, pictures, network, configured, tmp_path):
    config = configured()
    export_model(tmp_path / "run" / "model", build_generators(config), to_yaml(config))
    sets = ["--a", pictures / "trainA", "--b", pictures / "trainB"]
    options = [*sets, "--metrics", "fid,kid,swd"]
    options.append("--no-intervals")
    scores = run(capsys, "model", "--model", tmp_path / "run", *options)

    assert (scores["n_real"], scores["n_fake"]) == (3, 5)
    assert (scores["ba"]["n_real"], scores["ba"]["n_fake"]) == (5, 3)
    assert scores["ab"]["size_fake"] == "32x32"
    for direction in ("ab", "ba"):
        assert {"fid", "kid", "swd", "structure"} <= scores[direction].keys()
    assert run(capsys, "model", "--model", tmp_path / "run" / "model", *options) == scores
    assert "no model there" in complaint(capsys, "model", "--model", tmp_path, *options)


class Darker:
    """Translates to a share of the brightness."""

    def __init__(self, share: float) -> None:
        self.share = share

    def read(self, picture: Path) -> Pixels:
        return read_image(picture)

    def translate_pixels(self, pictures: Sequence[Pixels]) -> list[Pixels]:
        return [(pixels * self.share).astype(np.uint8) for pixels in pictures]


@pytest.fixture(scope="module")
def perceptual(tmp_path_factory) -> tuple[lpips.LPIPS, Path]:
    """The package's network, and a file with the same AlexNet."""
    network = random_lpips()
    return network, write_alexnet(network, tmp_path_factory.mktemp("lpips") / "alexnet.pth")


def lpips_of_darker(network: lpips.LPIPS, paths: Sequence[Path], share: float, to: Path) -> list:
    """The package's distances between files and their darker copies."""
    to.mkdir()
    for path in paths:
        write_image(to / path.name, Darker(share).translate_pixels([read_image(path)])[0])
    return [distance_of_files(network, path, to / path.name) for path in paths]


def test_translations_are_compared_with_what_they_were_made_from(
    sets, network, perceptual, tmp_path
):
    theirs, weights = perceptual
    options = EvaluationOptions(("fid", "lpips", "art_fid"), lpips_weights=weights)
    a, b = str(sets["fake"]), str(sets["real"])
    scores = evaluate_model({"ab": Darker(0.5)}, a, b, options)

    (direction,) = scores
    found = scores[direction].values
    paths = sorted(sets["fake"].iterdir())
    distances = lpips_of_darker(theirs, paths, 0.5, tmp_path / "darker")
    assert direction == "ab"
    # Networks in float32 that see one picture at a time or two.
    assert found["lpips"] == pytest.approx(np.mean(distances), rel=1e-5)
    assert found["art_fid"] == pytest.approx((1 + found["lpips"]) * (1 + found["fid"]))
    by_files = evaluate_folders(b, str(tmp_path / "darker"), EvaluationOptions(("fid",)))
    assert found["fid"] == pytest.approx(by_files.values["fid"], rel=1e-6)
    assert 0.5 < found["structure"] < 1
    for name in ("fid", "lpips", "art_fid", "structure"):
        low, high = scores[direction].intervals[name]
        assert low < found[name] < high


def test_pictures_too_small_for_lpips_are_named(capsys, sets, network, perceptual, tmp_path):
    for path in sets["fake"].iterdir():
        os.link(path, tmp_path / path.name)
    write_image(tmp_path / "small.png", soft_picture(30, 60, 1))
    options = EvaluationOptions(("lpips",), lpips_weights=perceptual[1])
    scores = evaluate_model({"ba": Darker(0.5)}, str(sets["real"]), str(tmp_path), options)

    assert [error.path.name for error in scores["ba"].failed] == ["small.png"]
    assert scores["ba"].circumstances.n_fake == 7
    assert "not lpips, but fid" in complaint(capsys, *of(sets), "--metrics", "lpips")


def test_models_are_ranked_on_the_same_pictures(sets, network, perceptual, tmp_path):
    theirs, weights = perceptual
    options = EvaluationOptions(("lpips",), lpips_weights=weights)
    models = {"dark": Darker(0.3), "light": Darker(0.8)}
    a, b = str(sets["fake"]), str(sets["real"])
    rankings = rank_models({name: {"ab": model} for name, model in models.items()}, a, b, options)

    ranking = rankings["ab"]
    paths = sorted(sets["fake"].iterdir())
    distances = {
        name: np.array(lpips_of_darker(theirs, paths, model.share, tmp_path / name))
        for name, model in models.items()
    }
    assert list(rankings) == ["ab"]
    assert [rank.name for rank in ranking.ranks] == ["light", "dark"]
    behind = distances["dark"] - distances["light"]
    assert ranking.ranks[1].behind == pytest.approx(behind.mean(), rel=1e-4)
    # Of a mean, leaving out one of three groups in turn is Student's interval of three values.
    left_out = np.array([np.delete(behind, np.s_[group::3]).mean() for group in range(3)])
    values = 3 * behind.mean() - 2 * left_out
    half = 4.302653 * values.std(ddof=1) / np.sqrt(3)
    low, high = ranking.ranks[1].interval
    assert (high - low) / 2 == pytest.approx(half, rel=1e-4)
    assert ranking.ranks[0].interval is None

    by_fid = rank_models(
        {name: {"ab": model, "ba": model} for name, model in models.items()},
        a,
        b,
        EvaluationOptions(("fid",)),
    )
    for name, model in models.items():
        scores = evaluate_model({"ba": model}, a, b, EvaluationOptions(("fid",)))
        (found,) = (rank.value for rank in by_fid["ba"].ranks if rank.name == name)
        assert found == scores["ba"].values["fid"]


def test_models_compared_by_command(capsys, pictures, network, configured, tmp_path):
    for seed, name in enumerate(("first", "second")):
        config = configured(name)
        torch.manual_seed(seed)
        export_model(tmp_path / name, build_generators(config), to_yaml(config))
    models = [tmp_path / "first", tmp_path / "second"]
    sets = ["--a", pictures / "trainA", "--b", pictures / "trainB"]
    ranking = run(capsys, "model", "--compare", *models, *sets)

    assert (ranking["n_real"], ranking["n_fake"], ranking["definition"]) == (3, 5, "pytorch-fid")
    for direction in ("ab", "ba"):
        ranks = ranking[direction]["ranking"]
        assert {rank["model"] for rank in ranks} == {str(model) for model in models}
        assert ranks[0]["fid"] < ranks[1]["fid"]
        assert ranks[1]["behind"] == pytest.approx(ranks[1]["fid"] - ranks[0]["fid"])
    command = ["evaluate", "model", "--compare", *models, *sets]
    assert main([str(part) for part in command]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == ["ab", "  ranking"]
    assert lines[2].strip() in map(str, models)

    assert "either --model or" in complaint(capsys, "model", *sets)
    one = complaint(capsys, "model", "--compare", models[0], models[0], *sets)
    assert "two different ones" in one
    both = complaint(capsys, "model", "--compare", *models, *sets, "--metrics", "fid,kid")
    assert "ranking is by one of fid" in both
    write_statistics(tmp_path / "a.npz", Statistics(np.zeros(2), np.eye(2), 2, None, None))
    told = complaint(
        capsys, "model", "--model", models[0], "--a", tmp_path / "a.npz", *sets[2:], "--metrics=fid"
    )
    assert "no pictures in it to translate" in told


def test_a_ranking(capsys, sets, network, tmp_path):
    near = write_soft_pictures(tmp_path / "near", 7, seed=4, longest=160)
    write_image(near / "000.png", soft_picture(90, 90, 3))
    far = tmp_path / "far"
    far.mkdir()
    for path in sets["fake"].iterdir():
        write_image(far / path.name, read_stored_rgb(path) // 8)
    fakes = ["--fake", far, near, sets["fake"]]
    ranking = run(capsys, "compare", "--real", sets["real"], *fakes)

    values = [rank["fid"] for rank in ranking["ranking"]]
    assert values == sorted(values)
    last = ranking["ranking"][-1]
    assert last["fake"] == str(far)
    assert last["behind"] == pytest.approx(values[-1] - values[0])
    assert last["behind_interval"][0] > 0
    assert main(["evaluate", "compare", "--real", str(sets["real"]), *map(str, fakes)]) == 0
    shown = capsys.readouterr().out
    assert shown.index(str(near)) < shown.index(str(far))
    (near / "000.png").unlink()
    told = complaint(capsys, "compare", "--real", sets["real"], *fakes)
    assert "the same pictures of each" in told


def test_the_truth_of_the_demo_is_known_by_name(tmp_path, monkeypatch):
    """What does nothing to the photographs scores as the trainer says that it does."""
    monkeypatch.setenv("CYCLEGAN_STYLE_CACHE", str(tmp_path))
    monkeypatch.setitem(DEMO_COUNTS, "test", 4)
    photos = demo_folder("photo", "test")

    scores = evaluate_pairs("demo:painting", str(photos), ("psnr", "ssim", "sharpness")).to_dict()

    data = tiny_config(data__a="demo:photo", data__b="demo:painting").data
    known = next(known for known in known_translations(data) if known.direction.name == "ab")
    nothing = score(known.inputs, known)
    assert scores["n"] == len(known.inputs) == 4
    assert scores["psnr"] == pytest.approx(nothing.psnr, abs=1e-4)
    assert scores["ssim"] == pytest.approx(nothing.ssim, abs=1e-4)
    assert scores["sharpness"] == pytest.approx(nothing.sharpness, rel=1e-4)
    low, high = scores["sharpness_interval"]
    assert low < scores["sharpness"] < high


@pytest.mark.parametrize(("a", "b"), [("summer", "winter"), ("winter", "summer")])
def test_the_truth_of_partners_is_known_in_both_orders(a, b, tmp_path, monkeypatch):
    monkeypatch.setenv("CYCLEGAN_STYLE_CACHE", str(tmp_path))
    monkeypatch.setitem(DEMO_COUNTS, "test", 1)
    config = tiny_config(data__a=f"demo:{a}", data__b=f"demo:{b}")

    known = known_translations(config.data)
    readers = truth_readers(config, open_test_domains(config))

    assert [each.title for each in known] == [f"{a} to {b}", f"{b} to {a}"]
    for source, target, each in ((a, b, known[0]), (b, a, known[1])):
        (picture,) = demo_folder(source, "truth").iterdir()
        assert torch.equal(each.truths[0], to_tensor(read_image(picture)))
        assert readers[each.direction.name](picture).shape[2] == 3
        same = evaluate_pairs(f"demo:{target}", str(picture.parent), ("psnr",))
        assert same.values["psnr"] == [math.inf]


@pytest.mark.parametrize("b", ["demo:winter", "demo:photo", "pictures/"])
def test_pairs_that_are_no_partners_have_no_truth(b):
    assert known_translations(tiny_config(data__a="demo:photo", data__b=b).data) == []
