"""The demo domains: the same pixels everywhere, honest splits, safe writing, a real difference."""

import hashlib
import multiprocessing
import os
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from cyclegan_style import synthetic
from cyclegan_style.synthetic import (
    demo_folder,
    demo_sources,
    drawing,
    folders,
    objects,
    paint,
    render_photo,
)
from cyclegan_style.synthetic.randomness import Dice
from cyclegan_style.synthetic.scene import Scene, Season

Pixels = npt.NDArray[np.uint8]
SEASONS: tuple[Season, Season] = ("summer", "winter")

# A change of these means a change of the demo's pictures: raise DEMO_VERSION with it.
PHOTO_SHA256 = "36b2faa6ff0e3ea376779b866097e837722d2d6c08a60f6cc8c20853f4fc3609"
PAINTING_SHA256 = "78be085677cbc1afd2736b99c3dd84f71ea785e25d17f5b30d01ed68f66f4e11"
SUMMER_SHA256 = "1f9e6065700d3523cce461a687e473cd2416900c5959b7821b4a37fe74ad2711"
WINTER_SHA256 = "e8ddfa4c635bd261b01e5ea3f97cc61fdcea9ba444f3005ce49872d40ffc7153"


def _sha256(picture: Pixels) -> str:
    return hashlib.sha256(picture.tobytes()).hexdigest()


def _read(path: Path) -> Pixels:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def _write_small_folder(cache: Path) -> Path:
    return demo_folder("painting", "train", cache=cache, count=4, progress=False)


def test_pixels_are_the_same_on_every_machine() -> None:
    photo = render_photo(seed=1, index=2)
    assert photo.shape == (synthetic.DEMO_SIZE, synthetic.DEMO_SIZE, 3)
    assert photo.dtype == np.uint8
    assert _sha256(photo) == PHOTO_SHA256
    assert _sha256(paint(photo)) == PAINTING_SHA256


def test_both_seasons_are_the_same_on_every_machine() -> None:
    assert np.array_equal(render_photo(1, 2, season="summer"), render_photo(1, 2))
    assert _sha256(render_photo(3, 4, season="summer")) == SUMMER_SHA256
    assert _sha256(render_photo(3, 4, season="winter")) == WINTER_SHA256


def test_snow_lies_on_the_ground_and_the_sky_stays_as_bright() -> None:
    summers, winters = (
        np.stack([render_photo(5, index, size=64, season=season) for index in range(8)]) / 255.0
        for season in SEASONS
    )
    meadow, sky = np.s_[:, 56:], np.s_[:, :16]
    assert winters[meadow].mean() > summers[meadow].mean() + 0.15
    assert abs(winters[sky].mean() - summers[sky].mean()) < 0.05


def test_trees_stay_darker_than_the_snow_and_everything_stays_in_its_place() -> None:
    canvas = np.full((3, 96, 96), 0.5, dtype=np.float32)
    for grow in (objects._draw_tree, objects._draw_conifer):
        shown, drawn = {}, []
        for season in SEASONS:
            dice = Dice(9, 1)
            scene = Scene.random(dice, 48, season)
            scene.canvas[:] = canvas
            grow(scene, 0.5, 0.9, 0.7)
            shown[season] = scene.canvas.mean(axis=0)
            drawn.append(dice.key())
        assert drawn[0] == drawn[1]
        tree = np.abs(shown["summer"] - 0.5) > 0.05
        snow = scene.snow(0.9).mean()
        assert shown["winter"][tree].mean() < 0.7 * snow
        assert np.abs(shown["winter"] - 0.5)[~tree].mean() < 0.01


def test_an_index_names_one_picture() -> None:
    first, again = render_photo(7, 3, size=32), render_photo(7, 3, size=32)
    assert np.array_equal(first, again)
    others = [render_photo(7, 4, size=32), render_photo(8, 3, size=32)]
    assert all(not np.array_equal(first, other) for other in others)


def test_no_landscape_is_in_two_sets() -> None:
    sets = [demo_sources(d, s) for d in synthetic.DEMO_PARTNERS for s in ("train", "test")]
    numbers = [number for sources in sets for number in sources]
    assert len(numbers) == len(set(numbers)) == 4 * sum(synthetic.DEMO_COUNTS.values())
    for domain in synthetic.DEMO_PARTNERS:
        assert demo_sources(domain, "truth") == demo_sources(domain, "test")
    assert demo_sources("photo", "train").start == 0  # those of published figures
    assert demo_sources("painting", "test").start == 3_000_000


def test_an_unknown_domain_is_refused() -> None:
    with pytest.raises(ValueError, match="'paintings'"):
        demo_folder("paintings", "train")  # type: ignore[arg-type]


def test_truth_is_the_other_side_of_test(tmp_path: Path) -> None:
    folders = {
        (domain, split): demo_folder(domain, split, cache=tmp_path, count=2, progress=False)
        for domain in ("photo", "painting")
        for split in ("train", "test", "truth")
    }
    assert len(set(folders.values())) == 6
    for folder in folders.values():
        assert _names(folder) == ["0000.png", "0001.png"]
    for name in ("0000.png", "0001.png"):
        photo = _read(folders["photo", "test"] / name)
        assert np.array_equal(_read(folders["photo", "truth"] / name), paint(photo))
        photo = _read(folders["painting", "truth"] / name)
        assert np.array_equal(_read(folders["painting", "test"] / name), paint(photo))


@pytest.mark.parametrize("domain", ["summer", "winter"])
def test_truth_of_a_season_is_the_other(domain: synthetic.Domain, tmp_path: Path) -> None:
    test, truth = (
        _read(demo_folder(domain, split, cache=tmp_path, count=1, progress=False) / "0000.png")
        for split in ("test", "truth")
    )
    (source,) = demo_sources(domain, "test", 1)
    pictures = {
        season: render_photo(drawing.DEMO_SEED, source, season=season) for season in SEASONS
    }
    assert np.array_equal(test, pictures[domain])
    assert np.array_equal(truth, pictures[synthetic.DEMO_PARTNERS[domain]])


def test_a_finished_folder_is_not_rendered_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = demo_folder("photo", "test", cache=tmp_path, count=1, progress=False)
    monkeypatch.setattr(drawing, "render_photo", lambda *_: pytest.fail("rendered again"))
    assert demo_folder("photo", "test", cache=tmp_path, count=1, progress=False) == folder


def test_the_cache_is_found_in_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "shared"))
    monkeypatch.delenv("CYCLEGAN_STYLE_CACHE", raising=False)
    folder = demo_folder("photo", "test", count=1, progress=False)
    assert folder.is_relative_to(tmp_path / "shared" / "cyclegan_style")
    monkeypatch.setenv("CYCLEGAN_STYLE_CACHE", str(tmp_path / "own"))
    folder = demo_folder("photo", "test", count=1, progress=False)
    assert folder.is_relative_to(tmp_path / "own")
    assert f"demo-{synthetic.DEMO_VERSION}" in folder.parts


def test_what_a_killed_process_left_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Die in the middle, without the cleaning that even an exception would bring.
    monkeypatch.setattr("shutil.rmtree", lambda *_, **__: None)
    monkeypatch.setattr(drawing, "paint", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        _write_small_folder(tmp_path)
    monkeypatch.undo()
    leftovers = [path for path in tmp_path.glob("*/*") if path.is_dir()]
    assert len(leftovers) == 1
    folder = demo_folder("painting", "train", cache=tmp_path, count=4, progress=False)
    assert folder not in leftovers
    assert _names(folder) == ["0000.png", "0001.png", "0002.png", "0003.png"]


def test_the_next_rendering_deletes_what_was_left_an_hour_ago(tmp_path: Path) -> None:
    parent = _write_small_folder(tmp_path).parent
    old, recent = (parent / f".photo-train-400-{number * 32}" for number in "01")
    for leftover, age in ((old, 3700), (recent, 3500)):
        leftover.mkdir()
        (leftover / "0000.png").touch()
        os.utime(leftover, times=(time.time() - age,) * 2)
    _write_small_folder(tmp_path)
    assert old.exists()  # nothing was left to render
    demo_folder("photo", "test", cache=tmp_path, count=1, progress=False)
    assert not old.exists()
    assert _names(recent) == ["0000.png"]


def test_an_interrupted_process_cleans_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drawing, "paint", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        _write_small_folder(tmp_path)
    assert list(tmp_path.glob("*/*")) == []


def test_the_slower_of_two_takes_the_folder_of_the_faster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest_render = folders._render_into

    def render_while_another_finishes(unfinished: Path, *rest: object) -> None:
        honest_render(unfinished, *rest)  # type: ignore[arg-type]
        monkeypatch.setattr(folders, "_render_into", honest_render)
        _write_small_folder(tmp_path)

    monkeypatch.setattr(folders, "_render_into", render_while_another_finishes)
    folder = demo_folder("painting", "train", cache=tmp_path, count=4, progress=False)
    assert list(folder.parent.iterdir()) == [folder]
    assert len(_names(folder)) == 4


def test_two_processes_end_with_one_complete_folder(tmp_path: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    processes = [spawn.Process(target=_write_small_folder, args=(tmp_path,)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(timeout=60)
    assert [process.exitcode for process in processes] == [0, 0]
    (folder,) = tmp_path.glob("*/*")
    assert folder == demo_folder("painting", "train", cache=tmp_path, count=4, progress=False)
    assert _names(folder) == ["0000.png", "0001.png", "0002.png", "0003.png"]


@pytest.fixture
def helped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two processes draw even a handful."""
    monkeypatch.setattr(drawing, "_MANY", 2)
    monkeypatch.setattr(drawing, "usable_cores", lambda: 2)


@pytest.mark.usefixtures("helped")
def test_helpers_draw_the_same_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    helped = _write_small_folder(tmp_path / "helped")
    monkeypatch.undo()
    alone = _write_small_folder(tmp_path / "alone")
    assert [path.read_bytes() for path in sorted(helped.iterdir())] == [
        path.read_bytes() for path in sorted(alone.iterdir())
    ]
    assert _names(helped) == ["0000.png", "0001.png", "0002.png", "0003.png"]


@pytest.mark.usefixtures("helped")
def test_a_helper_that_fails_leaves_one_line_and_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drawing, "_PROGRAM", "import sys; sys.exit('No space left on device')")
    with pytest.raises(OSError, match=r"No space left on device; set CYCLEGAN_STYLE_CACHE"):
        _write_small_folder(tmp_path)
    assert list(tmp_path.glob("*/*")) == []


@pytest.mark.usefixtures("helped")
def test_no_helper_outlives_an_interruption(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[subprocess.Popen[str]] = []
    start_helper = drawing._start_helper

    def start_and_remember(*arguments: Any) -> "subprocess.Popen[str]":
        started.append(start_helper(*arguments))
        return started[-1]

    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(drawing, "_start_helper", start_and_remember)
    monkeypatch.setattr("time.sleep", interrupt)
    with pytest.raises(KeyboardInterrupt):
        demo_folder("photo", "train", cache=tmp_path, count=500, progress=False)
    assert [helper.returncode is not None for helper in started] == [True, True]
    assert list(tmp_path.glob("*/*")) == []


def test_a_helper_ends_when_its_parent_is_gone(tmp_path: Path) -> None:
    helper = drawing._start_helper(tmp_path, "photo", range(100_000), 0, 1)
    assert helper.stdin is not None
    helper.stdin.close()
    assert helper.wait(timeout=60) == 1


def test_an_unwritable_cache_is_named(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    with pytest.raises(OSError, match="CYCLEGAN_STYLE_CACHE") as failure:
        demo_folder("photo", "train", cache=blocked, count=1, progress=False)
    assert str(blocked) in str(failure.value)
    assert "\n" not in str(failure.value)


@pytest.mark.parametrize("shape", [(16, 16, 3), (17, 33, 3), (50, 21, 3)])
def test_paint_keeps_the_shape(shape: tuple[int, int, int]) -> None:
    photo = render_photo(1, 5, size=64)[: shape[0], : shape[1]]
    painting = paint(photo)
    assert painting.shape == shape
    assert painting.dtype == np.uint8


@pytest.mark.parametrize("level", [0, 128, 255])
def test_paint_takes_a_flat_picture(level: int) -> None:
    painting = paint(np.full((20, 20, 3), level, dtype=np.uint8)).astype(int)
    assert int(np.ptp(painting, axis=(0, 1)).max()) <= 4  # the weave of the canvas


def test_paint_refuses_what_is_no_photo() -> None:
    for shape in ((15, 40, 3), (40, 40, 4), (40, 40)):
        with pytest.raises(ValueError, match="a photo is"):
            paint(np.zeros(shape, dtype=np.uint8))


def test_statistics_of_colour_do_not_explain_the_painting() -> None:
    """Doing nothing and matching mean and deviation fall short of one smooth map of colours."""
    photos = [render_photo(11, index) for index in range(8)]
    truths = [paint(photo) for photo in photos]
    samples = np.concatenate([photo.reshape(-1, 3) for photo in photos]).astype(float)
    targets = np.concatenate([truth.reshape(-1, 3) for truth in truths]).astype(float)

    def mean_psnr(outputs: npt.NDArray[np.float64]) -> float:
        errors = np.square(np.clip(outputs, 0.0, 255.0) - targets).reshape(len(photos), -1)
        return float(np.mean(10.0 * np.log10(255.0**2 / errors.mean(axis=1))))

    normed = (samples - samples.mean(0)) / samples.std(0)
    matched = mean_psnr(normed * targets.std(0) + targets.mean(0))
    red, green, blue = normed.T
    terms = [np.ones_like(red), red, green, blue, red * red, green * green, blue * blue]
    terms += [red * green, green * blue, blue * red]
    design = np.stack(terms, axis=1)
    fitted = mean_psnr(design @ np.linalg.lstsq(design, targets, rcond=None)[0])

    assert mean_psnr(samples) < 18.5
    assert matched < 20.5
    assert fitted > matched + 3.0
