"""Sets of pictures and the commands; a small network stands in for the Inception."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from inception_weights import soft_picture, write_soft_pictures
from PIL import Image
from test_distributed import launch
from torch import Tensor, nn

from cyclegan_style.cli import main
from cyclegan_style.config import to_yaml
from cyclegan_style.cyclegan import build_generators
from cyclegan_style.evaluation import folders
from cyclegan_style.evaluation.collect import collect_features
from cyclegan_style.evaluation.definitions import DEFINITIONS
from cyclegan_style.export import export_model
from cyclegan_style.images import read_stored_rgb, write_image

ROOT = Path(__file__).parent.parent
FEATURE_COUNT = 24


class SmallNetwork(nn.Module):
    """Random projections of small pictures."""

    def __init__(self) -> None:
        super().__init__()
        weight = torch.randn(FEATURE_COUNT, 300, generator=torch.Generator().manual_seed(0))
        self.register_buffer("weight", weight / 10)
        self.calls = 0

    def forward(self, images: Tensor) -> Tensor:
        self.calls += 1
        small = nn.functional.adaptive_avg_pool2d(images, 10).flatten(1)
        return torch.relu(small @ self.get_buffer("weight").T)


@pytest.fixture
def network(monkeypatch, tmp_path) -> SmallNetwork:
    """Put the small network where the Inception would be, and the cache into a fresh folder."""
    monkeypatch.setenv("CYCLEGAN_STYLE_CACHE", str(tmp_path / "cache"))
    small = SmallNetwork()
    weights = tmp_path / "small.pth"
    weights.write_text("small")
    monkeypatch.setattr(folders, "find_weights", lambda file: weights)
    monkeypatch.setattr(folders, "load_inception", lambda path: small)
    return small


@pytest.fixture(scope="module")
def sets(tmp_path_factory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("sets")
    return {
        "real": write_soft_pictures(root / "real", 9, seed=3),
        "fake": write_soft_pictures(root / "fake", 7, seed=4),
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
    assert scores["definition"] == "pytorch-fid"
    assert len(scores["weights"]) == 64
    for name in ("fid", "kid", "swd"):
        low, high = scores[f"{name}_interval"]
        assert low < scores[name] < high
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

    for name in ("fid", "swd"):
        assert second[name] == pytest.approx(first[name], abs=1e-6)


def test_a_large_set_is_streamed(capsys, sets, network, monkeypatch):
    options = [*of(sets), "--metrics", "fid", "--batch-size", 2]
    kept = run(capsys, *options, "--no-intervals", "--no-cache")
    monkeypatch.setattr(folders, "STREAMED", 5)
    streamed = run(capsys, *options)

    assert streamed["fid"] == pytest.approx(kept["fid"], abs=1e-8)
    assert streamed.keys() == kept.keys()


def test_equal_folders(capsys, sets, network):
    scores = run(capsys, *of(sets | {"fake": sets["real"]}), "--metrics", "fid,swd")

    assert scores["fid"] < 1e-9
    assert scores["swd"] == 0


def test_swd_needs_no_weights(capsys, sets, monkeypatch, tmp_path):
    monkeypatch.setenv("CYCLEGAN_STYLE_CACHE", str(tmp_path))
    monkeypatch.setattr(folders, "find_weights", None)
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

    assert by_file["fid"] == pytest.approx(direct["fid"], abs=1e-6)
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
    assert run(capsys, "paired", "--truth", truth, "--fake", truth)["psnr"] is None


def test_a_model_is_scored_both_ways(capsys, pictures, network, configured, tmp_path):
    config = configured()
    export_model(tmp_path / "run" / "model", build_generators(config), to_yaml(config))
    sets = ["--a", pictures / "trainA", "--b", pictures / "trainB"]
    options = [*sets, "--metrics", "fid,kid,swd"]
    options.append("--no-intervals")
    scores = run(capsys, "model", "--model", tmp_path / "run", *options)

    assert (scores["n_real"], scores["n_fake"]) == (3, 5)
    assert (scores["ba"]["n_real"], scores["ba"]["n_fake"]) == (5, 3)
    for direction in ("ab", "ba"):
        assert {"fid", "kid", "swd", "structure"} <= scores[direction].keys()
    assert run(capsys, "model", "--model", tmp_path / "run" / "model", *options) == scores
    assert "no model there" in complaint(capsys, "model", "--model", tmp_path, *options)


def test_a_ranking(capsys, sets, network, tmp_path):
    near = write_soft_pictures(tmp_path / "near", 7, seed=4)
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


def test_several_processes_count_each_image_once(tmp_path, sets):
    script = ROOT / "tests" / "evaluation_processes.py"
    outcome = launch(script, sets["real"], tmp_path / "two.npz")
    assert outcome.returncode == 0, outcome.stderr
    (printed,) = outcome.stdout.splitlines()  # by one process
    assert json.loads(printed)["swd"] == 0
    assert json.loads(printed)["n_real"] == 9
    paths = sorted(sets["real"].iterdir())
    alone = collect_features(
        paths, SmallNetwork(), DEFINITIONS["pytorch-fid"].prepare, with_descriptors=True
    )

    with np.load(tmp_path / "two.npz") as two:
        assert two["indices"].tolist() == list(range(9))
        np.testing.assert_allclose(two["features"], alone.features, atol=1e-6)
        assert np.array_equal(two["descriptors"], alone.descriptors)
