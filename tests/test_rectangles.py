"""Pictures of any shape: sizes of height and width, with squares as they have always been."""

import hashlib
import math
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pictures import open_domain
from PIL import Image
from runs_in_tests import assert_equal_state, killed_in_step, run_training
from tiny import configure

from cyclegan_style.commands.train import read_config
from cyclegan_style.config import Config, to_dict
from cyclegan_style.data.domains import enlarged
from cyclegan_style.data.images import Pixels, write_image
from cyclegan_style.data.sampling import SampleKey, UnpairedDataset, turned_crop
from cyclegan_style.training.config_checks import ConfigError, validate

RECTANGLE = {"data__load_size": "44x60", "data__crop_size": "40x56", "train__pool_size": 2}


def coordinates(height: int, width: int) -> Pixels:
    """A picture that says of each pixel where it is: its row, its column and nothing."""
    y, x = np.mgrid[:height, :width]
    return np.stack([y, x, 0 * y], axis=-1).astype(np.uint8)


def levels_of(sample: torch.Tensor) -> np.ndarray:
    return ((sample.double() + 1) * 127.5).round().permute(1, 2, 0).numpy().astype(int)


@pytest.fixture
def places(tmp_path) -> Path:
    """Three pictures of coordinates, each of another shape."""
    (tmp_path / "places").mkdir()
    for number, size in enumerate([(50, 70), (37, 52), (50, 41)]):
        write_image(tmp_path / "places" / f"{number}.png", coordinates(*size))
    return tmp_path / "places"


# Sizes


def test_a_square_is_stored_as_the_number_that_it_was_and_a_rectangle_as_it_is_written():
    config = configure(data__load_size="64x64", data__crop_size="40x56")
    assert (
        to_dict(config)["data"] | {"load_size": 64, "crop_size": "40x56"}
        == (to_dict(config)["data"])
    )
    assert (config.data.load, config.data.crop) == ((64, 64), (40, 56))
    assert configure(data__crop_size=64).data.crop == (64, 64)


NO_SIZES = ["40x", "x40", "40x56x3", "40 x 56", "-4x8", "4e1x8", "wide", "٤٠x٥٦", "9" * 12 + "x8"]


@pytest.mark.parametrize("field", ["data__load_size", "data__crop_size"])
@pytest.mark.parametrize("written", NO_SIZES)
def test_what_is_no_size_is_refused(field, written):
    name = field.replace("__", ".")
    with pytest.raises(ConfigError, match=rf"^{name}: '.*' is neither a side such as 256 nor"):
        validate(configure(data__a="a", data__b="b", **{field: written}))


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"crop_size": "0x8"}, r"data.crop_size must be at least 1, not 0x8"),
        ({"crop_size": "256x288"}, r"data.crop_size \(256x288\) is larger than data.load_size"),
        ({"crop_size": "288x256", "load_size": "287x400"}, r"\(288x256\) is larger than .*287x400"),
        ({"crop_size": "128x130"}, r"\(128x130\) must be divisible by 4"),
        ({"crop_size": "20x256"}, r"\(20x256\) must be at least 24 for discriminator.layers"),
    ],
)
def test_rectangles_that_cannot_be_trained_on_are_refused(fields, reason):
    named = {f"data__{name}": value for name, value in fields.items()}
    with pytest.raises(ConfigError, match=reason) as told:
        validate(configure(data__a="a", data__b="b", **named))
    assert "\n" not in str(told.value)


def test_what_makes_or_judges_squares_refuses_rectangles():
    noise = {
        "task": "noise",
        "data__b": "b",
        "generator__architecture": "dcgan",
    }
    with pytest.raises(ConfigError, match=r"data.crop_size: 64x128 is no square"):
        validate(configure(data__crop_size="64x128", **noise))
    whole = {"discriminator__architecture": "whole", "discriminator__layers": 4}
    with pytest.raises(ConfigError, match=r"data.crop_size \(64x128\) must be 64 for"):
        validate(configure(data__a="a", data__b="b", data__crop_size="64x128", **whole))


# Resized pictures


def test_square_brings_every_picture_to_exactly_the_size(places):
    domain = open_domain(places, resize="square", sizes=[(28, 40)])
    assert {domain.pixels(index).shape for index in range(3)} == {(28, 40, 3)}


@given(
    stored=st.tuples(st.integers(1, 90), st.integers(1, 90)),
    least=st.tuples(st.integers(1, 40), st.integers(1, 40)),
)
def test_a_picture_too_small_is_enlarged_until_it_just_covers_the_size(stored, least):
    height, width = enlarged(coordinates(*stored), least).shape[:2]
    if stored[0] >= least[0] and stored[1] >= least[1]:
        assert (height, width) == stored
        return
    assert height >= least[0]
    assert width >= least[1]
    assert height == least[0] or width == least[1]
    factor = max(least[0] / stored[0], least[1] / stored[1])
    assert abs(height - factor * stored[0]) < 1 + 1e-9
    assert abs(width - factor * stored[1]) < 1 + 1e-9


def test_shortest_covers_the_size_by_either_side(places):
    domain = open_domain(places, resize="shortest", sizes=[(30, 40)])
    assert [domain.pixels(index).shape[:2] for index in range(3)] == [(30, 42), (30, 42), (48, 40)]


def test_a_photograph_stored_on_its_side_is_brought_to_size_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    for number in range(2):
        Image.fromarray(coordinates(20, 60)).save(tmp_path / f"{number}.png", exif=exif)
    domain = open_domain(tmp_path, resize="shortest", sizes=[(30, 20)])
    assert (len(domain), domain.unreadable_count, domain.held_count) == (2, 0, 2)
    assert domain.pixels(0).shape == (60, 20, 3)


# Crops


def test_a_rectangular_crop_is_cut_out_of_the_picture(places):
    dataset = UnpairedDataset({"a": open_domain(places, resize="none")}, (24, 40), False)
    corners = set()
    for seed in range(60):
        levels = levels_of(dataset[SampleKey(0, 0, seed)]["a"])
        top, left = levels[0, 0, :2]
        np.testing.assert_array_equal(levels, coordinates(50, 70)[top : top + 24, left : left + 40])
        corners.add((top, left))
    assert len(corners) > 50
    assert max(top for top, _ in corners) > 20
    assert max(left for _, left in corners) > 24


def test_squares_are_cropped_and_mirrored_as_ever(places):
    """The digest is of an earlier version's samples, of which runs go on."""
    dataset = UnpairedDataset(
        dict.fromkeys("ab", open_domain(places, resize="none")), (32, 32), True
    )
    digest = hashlib.sha256()
    for seed in range(12):
        sample = dataset[SampleKey(seed % 3, (seed + 1) % 3, seed * 977)]
        digest.update(b"".join(sample[name].contiguous().numpy().tobytes() for name in "ab"))
    assert digest.hexdigest()[:16] == "d5aa5da1f49c7a64"


def earlier_turned_crop(
    pixels: Pixels, size: int, angle: float, zoom: float, down: float, across: float
) -> Pixels:
    """As squares were turned when there was nothing else."""
    height, width = pixels.shape[:2]
    cosine, sine = math.cos(angle), math.sin(angle)
    bounds = abs(cosine) + abs(sine)
    side = min(size / zoom, min(height, width) / bounds)
    margin = side * bounds / 2
    y = margin + down * (height - 2 * margin)
    x = margin + across * (width - 2 * margin)
    a, b, half = cosine * side / size, sine * side / size, size / 2
    to_source = (a, -b, x - (a - b) * half, b, a, y - (a + b) * half)
    image = Image.fromarray(pixels).transform(
        (size, size), Image.Transform.AFFINE, to_source, Image.Resampling.BICUBIC
    )
    return np.array(image)


def test_squares_are_turned_as_ever():
    draws = np.random.default_rng(0)
    pixels = draws.integers(0, 256, (37, 52, 3)).astype(np.uint8)
    for _ in range(200):
        size = int(draws.integers(5, 60))
        turn = draws.uniform(-0.8, 0.8), draws.uniform(1, 2), *draws.random(2)
        np.testing.assert_array_equal(
            turned_crop(pixels, (size, size), *turn), earlier_turned_crop(pixels, size, *turn)
        )


@pytest.mark.parametrize("degrees", [-45, -10, 0, 30])
@pytest.mark.parametrize("zoom", [1.0, 1.4])
def test_a_turned_rectangle_is_the_pattern_turned_inside_the_picture(degrees, zoom):
    y, x = np.mgrid[:90, :120] + 0.5
    pixels = np.rint(150 + 90 * np.sin(0.3 * x + 0.1 * y))[:, :, None].astype(np.uint8)
    angle, (height, width) = math.radians(degrees), (24, 56)
    v, u = np.mgrid[:height, :width] + 0.5
    v, u = (v - height / 2) / zoom, (u - width / 2) / zoom
    rows = math.sin(angle) * u + math.cos(angle) * v
    columns = math.cos(angle) * u - math.sin(angle) * v
    # Of all its places, the first has the window's edge at the picture's.
    half = 0.5 / zoom * (math.cos(angle) + abs(math.sin(angle)))
    expected_y, expected_x = half - rows.min(), half - columns.min()
    crop = turned_crop(pixels, (height, width), angle, zoom, 0, 0)[:, :, 0] / 1.0

    expected = 150 + 90 * np.sin(0.3 * (expected_x + columns) + 0.1 * (expected_y + rows))
    assert np.abs(crop - expected)[4:-4, 4:-4].max() < 8
    assert crop.min() > 55


@pytest.mark.parametrize("size", [(32, 32), (20, 90), (300, 200)])
def test_corners_of_turned_rectangles_are_never_blank(size):
    white = np.full((*size, 3), 255, dtype=np.uint8)
    draws = np.random.default_rng(1)
    for _ in range(50):
        turn = draws.uniform(-0.8, 0.8), draws.uniform(1, 2), *draws.random(2)
        crop = turned_crop(white, (16, 40), *turn)
        assert crop.shape == (16, 40, 3)
        assert crop.min() == 255


# Mirrored crops


@pytest.mark.parametrize(
    ("written", "stored", "mirrored", "upside_down"),
    [
        (True, True, True, False),
        ("horizontal", True, True, False),
        ("both", "both", True, True),
        ("none", False, False, False),
        (False, False, False, False),
    ],
)
def test_flips_are_read_by_either_name_and_stored_as_ever(
    written, stored, mirrored, upside_down, tmp_path
):
    file = tmp_path / "flip.yaml"
    file.write_text(f"data: {{flip: {str(written).lower()}}}")
    for read in (read_config(file), read_config(values={"data.flip": written})):
        assert to_dict(read)["data"]["flip"] is stored or stored == "both"
        assert to_dict(read)["data"]["flip"] == stored
        assert (read.data.mirrored, read.data.upside_down) == (mirrored, upside_down)


def test_both_turns_over_half_of_what_true_makes_and_changes_nothing_else(places):
    domains = {"a": open_domain(places, resize="none")}
    across = UnpairedDataset(domains, (24, 40), True)
    both = UnpairedDataset(domains, (24, 40), True, upside_down=True)
    turned = mirrored = both_ways = 0
    for seed in range(200):
        expected, found = (
            levels_of(each[SampleKey(seed % 3, 0, seed)]["a"]) for each in (across, both)
        )
        over = found[0, 0, 0] > found[-1, 0, 0]
        np.testing.assert_array_equal(found, expected[::-1] if over else expected)
        turned += over
        mirrored += expected[0, 0, 1] > expected[0, -1, 1]
        both_ways += over and expected[0, 0, 1] > expected[0, -1, 1]
    # Half of 200 each and a quarter of both, within four deviations.
    assert 72 < turned < 128
    assert 72 < mirrored < 128
    assert 25 < both_ways < 75


# Runs


def config_of(run: Path) -> dict[str, dict[str, object]]:
    sections: dict[str, dict[str, object]] = yaml.safe_load((run / "config.yaml").read_text())
    return sections


def goes_on_bit_for_bit(whole: Config, killed: Config, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Train one run in one go and one that is killed, compare them, and return the first."""
    run_training(whole)
    with killed_in_step(3, monkeypatch):
        run_training(killed)
    run_training(killed)
    assert_equal_state(Path(whole.run.dir), Path(killed.run.dir), step=4)
    return Path(whole.run.dir)


def test_training_on_rectangles_goes_on_bit_for_bit_and_shows_them_in_shape(
    configured, monkeypatch
):
    fields = RECTANGLE | {
        "train__max_steps": 4,
        "checkpoint__every_steps": 2,
        "tracking__sample_every_steps": 4,
        "tracking__sample_count": 1,
        "data__rotate": 10.0,
        "loss__contrastive": 1.0,
    }
    run = goes_on_bit_for_bit(
        configured("whole", **fields), configured("killed", **fields), monkeypatch
    )
    assert config_of(run)["data"]["crop_size"] == "40x56"
    with Image.open(run / "samples" / "step-00000004.png") as sheet:
        assert (sheet.height, sheet.width) == (20 + 40 + 2 * 4, 8 * 56 + 9 * 4)
    assert "health_change_ab" in (run / "metrics.jsonl").read_text()
