"""Pictures of more than 8 bits are trained on, translated and compared with all their bits."""

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
import yaml
from PIL import Image
from runs_in_tests import assert_equal_state, run_training
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from test_deep_files import random_values, write_png
from tiny import enlarge_weights, make_pictures, tiny_config

from cyclegan_style import Predictor
from cyclegan_style.commands.main import main
from cyclegan_style.commands.train import parse_training_options
from cyclegan_style.config import Config, to_yaml
from cyclegan_style.data.deep_files import read_stored
from cyclegan_style.data.images import read_image, write_image
from cyclegan_style.data.listing import DomainError
from cyclegan_style.errors import UserError
from cyclegan_style.evaluation.pairs import evaluate_pairs
from cyclegan_style.models.export import export_model
from cyclegan_style.models.model_files import load_generator
from cyclegan_style.networks.resampling import KEPT_OF_INPUT
from cyclegan_style.training.config_checks import ConfigError, validate
from cyclegan_style.training.cyclegan import build_generators
from cyclegan_style.training.trainer import train
from cyclegan_style.training.value_ranges import measured_range

WHOLE = (0, 65535)


def make_model(folder: Path, **fields: object) -> Path:
    config = tiny_config(**fields)
    generators = build_generators(config)
    enlarge_weights(generators)
    export_model(folder, generators, to_yaml(config))
    return folder


@pytest.fixture(scope="module")
def unchanging(tmp_path_factory) -> Path:
    """A model that changes no more than ``kept`` tells at strength 0, trained with a range."""
    folder = tmp_path_factory.mktemp("unchanging")
    return make_model(folder, generator__skip=True, data__range=WHOLE)


@pytest.fixture(scope="module")
def shallow(tmp_path_factory) -> Path:
    """The same, trained on pictures of 8 bits."""
    return make_model(tmp_path_factory.mktemp("shallow"), generator__skip=True)


def kept(values: np.ndarray, middle: float = 32767.5) -> np.ndarray:
    """What a generator with a skip that changes nothing makes of values around the middle."""
    return middle + KEPT_OF_INPUT * (values - middle)


def translate(model: Path, source: Path, output: Path, *options: str) -> list[Path]:
    arguments = ["--model", str(model), "--input", str(source), "--output", str(output)]
    status = main(["translate", *arguments, "--strength", "0", "--precision", "fp32", *options])
    assert status == 0
    return sorted(path for path in output.rglob("*") if not path.name.startswith("."))


@pytest.fixture(scope="module")
def many_channels(tmp_path_factory) -> Path:
    """Domains of seven channels, in floats and in whole numbers."""
    root = tmp_path_factory.mktemp("many")
    for domain, dtype in (("a", "float32"), ("b", "uint16")):
        (root / domain).mkdir()
        for number in range(3):
            values = random_values(28, 30, 7, dtype=dtype, seed=number)
            np.save(root / domain / f"{number}.npy", values)
    return root


@pytest.fixture
def measured(many_channels, tmp_path) -> Config:
    return tiny_config(
        run__dir=str(tmp_path / "run"),
        data__a=str(many_channels / "a"),
        data__b=str(many_channels / "b"),
        data__channels_a=7,
        data__channels_b=7,
        data__range="measured",
        data__rotate=5.0,
        train__max_steps=2,
        checkpoint__every_steps=1,
        tracking__sample_every_steps=2,
        tracking__sample_channels=(4, 3, 2),
    )


# Training


def test_seven_channels_are_trained_resumed_and_translated(measured, many_channels, tmp_path):
    run_training(measured)
    model = tmp_path / "run" / "model"

    arrays = {
        name: np.stack([np.load(p) for p in many_channels.glob(f"{name}/*")]) for name in "ab"
    }
    ends = {name: [float(each.min()), float(each.max())] for name, each in arrays.items()}
    data = yaml.safe_load((model / "config.yaml").read_text())["data"]
    assert [data["range"], data["range_a"], data["range_b"]] == [None, ends["a"], ends["b"]]
    with Image.open(next((tmp_path / "run" / "samples").iterdir())) as sample:
        assert sample.mode == "RGB"

    # What was measured stays, whatever a measurement would find now.
    kept = tmp_path / "run" / ".ranges.json"
    assert json.loads(kept.read_text()) == ends
    kept.write_text(json.dumps(ends | {"a": [-100.0, 100.0]}))
    longer = tiny_config(**{**fields_of(measured), "train__max_steps": 3})
    run_training(longer)
    assert load_generator(model).ranges == {"a": (-100.0, 100.0), "b": tuple(ends["b"])}

    (path,) = translate_unskipped(model, many_channels / "b" / "0.npy", tmp_path / "out", "ba")
    found = np.load(path)
    assert found.shape == (28, 30, 7) and found.dtype == np.float32  # since A's are negative, too
    assert found.min() >= -100 and found.max() <= 100


def fields_of(config: Config) -> dict[str, object]:
    return {
        f"{section}__{name}": value
        for section in ("run", "data", "train", "checkpoint", "tracking")
        for name, value in vars(getattr(config, section)).items()
    }


def translate_unskipped(model: Path, source: Path, output: Path, direction: str) -> list[Path]:
    arguments = ["--model", str(model), "--input", str(source), "--output", str(output)]
    assert main(["translate", *arguments, "--direction", direction]) == 0
    return [path for path in output.iterdir() if not path.name.startswith(".")]


def test_a_run_of_16_bits_goes_on_bit_for_bit_and_is_scored(tmp_path):
    for domain in "ab":
        (tmp_path / domain).mkdir()
        for number in range(3):
            write_png(tmp_path / domain / f"{number}.png", random_values(32, 32, 3, seed=number))
    fields = {
        "data__a": str(tmp_path / "a"),
        "data__b": str(tmp_path / "b"),
        "data__range": (0, 65535),
        "checkpoint__every_steps": 1,
        "evaluation__every_steps": 2,
        "evaluation__metrics": ("swd",),
    }
    straight = tiny_config(**fields, run__dir=str(tmp_path / "1"), train__max_steps=2)
    result = run_training(straight)
    broken = tiny_config(**fields, run__dir=str(tmp_path / "2"), train__max_steps=1)
    run_training(broken)
    run_training(tiny_config(**fields, run__dir=str(tmp_path / "2"), train__max_steps=2))

    assert result.step == 2
    assert_equal_state(tmp_path / "1", tmp_path / "2", step=2)
    rows = (tmp_path / "1" / "metrics.jsonl").read_text().splitlines()
    assert all(np.isfinite(json.loads(rows[-1])[f"swd_{way}"]) for way in ("ab", "ba"))
    other = tiny_config(**fields | {"data__range": (0, 4095)}, run__dir=str(tmp_path / "1"))
    with pytest.raises(UserError, match=r"data.range was \[0, 65535\] and is now \[0, 4095\]"):
        train(other)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"data__range": (1.0, 1.0)}, r"data.range must be two numbers, the least first"),
        ({"data__range_b": (0.0, float("inf"))}, r"data.range_b must be two numbers"),
        ({"data__channels_a": 7}, r"data.channels_a must be at most 4, not 7, without data.range"),
        ({"tracking__sample_channels": (1,)}, r"sample_channels is for domains with data.range"),
        (
            {"data__range": (0.0, 1.0), "tracking__sample_channels": (1, 2)},
            r"sample_channels must be three numbers",
        ),
        (
            {"data__range": (0.0, 1.0), "tracking__sample_channels": (4,)},
            r"sample_channels must be at most 3",
        ),
        ({"task": "one_style", "data__range": (0.0, 1.0)}, r"data.range is for task cyclegan"),
    ],
)
def test_ranges_that_cannot_be_are_named(fields, reason):
    with pytest.raises(ConfigError, match=reason):
        validate(tiny_config(**fields))


def test_ranges_are_read_from_the_command_line():
    for text, value in (("[0,65535]", (0, 65535)), ("measured", "measured"), ("null", None)):
        _, config = parse_training_options([f"--data.range={text}", "--data.range_b=[-1,1.5]"])
        assert config.data.ranges == {"a": value, "b": (-1, 1.5)}


def test_a_domain_of_one_value_has_no_range(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((4, 4)))
    with pytest.raises(DomainError, match=r"data.a: .*all values are 0"):
        measured_range(str(tmp_path), "data.a")


def test_arrays_do_not_join_a_folder_of_pictures(tmp_path):
    make_pictures(tmp_path, 2)
    np.save(tmp_path / "mask.npy", np.full((9, 9), 300, np.uint16))
    assert measured_range(str(tmp_path), "data.a")[1] < 256
    np.save(tmp_path / "other.npy", np.full((9, 9), 400, np.uint16))
    assert measured_range(str(tmp_path / "*.npy"), "data.a") == (300, 400)


# Translation


@pytest.mark.parametrize("model", ["unchanging", "shallow"])
@pytest.mark.parametrize(("ending", "options"), [("png", []), ("tif", ["--format", "tif"])])
def test_16_bits_in_are_16_bits_out(tmp_path, request, model, ending, options):
    values = random_values(37, 26, 3)
    (tmp_path / "in").mkdir()
    if ending == "png":
        write_png(tmp_path / "in" / "a.png", values, icc_profile=b"a profile that stays")
    else:
        tifffile.imwrite(tmp_path / "in" / "a.tif", values, photometric="rgb", byteorder=">")

    (path,) = translate(request.getfixturevalue(model), tmp_path / "in", tmp_path / "out", *options)

    found = read_stored(path)
    assert path.name == f"a.{ending}" and found.values.dtype == np.uint16
    assert np.abs(found.values - kept(values)).max() < 0.51  # that is rounding alone
    if ending == "png":
        with Image.open(path) as image:
            assert image.info["icc_profile"] == b"a profile that stays"


def test_pictures_of_8_bits_are_as_they_were_beside_those_of_16(tmp_path, shallow):
    eight, sixteen = tmp_path / "8", tmp_path / "16"
    make_pictures(eight, 3, 24, 24)
    (alone,) = {path.parent for path in translate(shallow, eight, tmp_path / "alone")}
    write_png(eight / "deep.png", random_values(24, 24, 3))

    beside = translate(shallow, eight, sixteen, "--batch-size", "2", "--overwrite")

    assert [read_stored(path).values.dtype.itemsize for path in beside] == [1, 1, 1, 2]
    for path in beside[:3]:
        assert path.read_bytes() == (alone / path.name).read_bytes()


def test_values_go_through_a_range_and_come_back_as_what_they_were(tmp_path, unchanging):
    (tmp_path / "in").mkdir()
    sources = {
        "a.npy": random_values(20, 24, 3).astype(np.float64),
        "b.npy": random_values(20, 24, 3).astype(np.int32),
    }
    for name, values in sources.items():
        np.save(tmp_path / "in" / name, values)

    for path in translate(unchanging, tmp_path / "in", tmp_path / "out"):
        found = np.load(path)
        assert found.dtype == sources[path.name].dtype
        rounding = 0.01 if found.dtype.kind == "f" else 0.51
        assert np.abs(found - kept(sources[path.name])).max() < rounding
    predictor = Predictor.load(unchanging, device="cpu", strength=0)
    assert predictor.dtype.itemsize == 4
    found = predictor.translate_values(sources["b.npy"])
    assert np.array_equal(found, np.load(tmp_path / "out" / "b.npy"))
    with pytest.raises(UserError, match="no numbers"):
        predictor.translate_values(np.full((9, 9, 3), np.nan))


def test_alpha_of_16_bits_is_kept_or_laid_on_white(tmp_path, shallow):
    values = random_values(20, 24, 4)
    (tmp_path / "in").mkdir()
    write_png(tmp_path / "in" / "a.png", values)

    (with_alpha,) = translate(shallow, tmp_path / "in", tmp_path / "kept", "--keep-alpha")
    (laid,) = translate(shallow, tmp_path / "in", tmp_path / "laid")

    share = values[:, :, 3:] / 65535
    on_white = values[:, :, :3] * share + 65535 * (1 - share)
    found = read_stored(with_alpha).values
    assert np.array_equal(found[:, :, 3], values[:, :, 3])
    assert np.abs(found[:, :, :3] - kept(on_white)).max() < 0.6
    assert np.abs(read_stored(laid).values - kept(on_white)).max() < 0.6


def test_formats_of_8_bits_get_what_is_seen(tmp_path, unchanging):
    (tmp_path / "in").mkdir()
    write_png(tmp_path / "in" / "a.png", np.full((16, 16, 3), 257 * 99, np.uint16))
    write_image(tmp_path / "in" / "b.png", np.full((16, 16, 3), 99, np.uint8))

    jpg = translate(unchanging, tmp_path / "in", tmp_path / "out", "--format", "jpg")
    png = translate(unchanging, tmp_path / "in", tmp_path / "png")

    shown = kept(np.array([99, 99 / 257]), 127.5)
    assert [read_image(path).mean() for path in jpg] == pytest.approx(shown, abs=1)
    # Eight bits hold no values up to 65,535.
    assert [read_stored(path).values.max() for path in png] == pytest.approx(shown * 257, abs=0.6)


def test_what_comes_as_8_bits_is_refused_in_one_line(tmp_path, unchanging, caplog):
    Image.new("RGB", (16, 16)).save(tmp_path / "a.gif")
    arguments = ["--model", str(unchanging), "--input", str(tmp_path / "a.gif")]
    assert main(["translate", *arguments, "--output", str(tmp_path / "out")]) == 1
    assert "videos are pictures of 8 bits, and the model was trained with data.range" in caplog.text


def test_the_range_of_a_model_that_anybody_wrote_is_checked(tmp_path, unchanging):
    folder = tmp_path / "model"
    folder.mkdir()
    for file in unchanging.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    sections = yaml.safe_load((folder / "config.yaml").read_text())
    for values in ([1, 0], ["0", "1"], "measured", [0, float("nan")], {"low": 0}):
        sections["data"]["range"] = values
        (folder / "config.yaml").write_text(yaml.safe_dump(sections))
        with pytest.raises(UserError, match="no values from low to high"):
            load_generator(folder)


def test_an_exported_folder_has_the_ranges(tmp_path, unchanging):
    assert main(["export", str(unchanging), "--folder", str(tmp_path / "folder")]) == 0
    assert load_generator(tmp_path / "folder", "ba").ranges == {"a": (0, 65535), "b": (0, 65535)}


# Scores


@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_pairs_are_scored_in_their_own_range_as_scikit_image_does(tmp_path, dtype):
    truth = random_values(24, 26, 5, dtype=dtype)
    if dtype == "uint16":
        fake = np.clip(truth.astype(int) + random_values(24, 26, 5) % 7, 0, 65535).astype(dtype)
        limits, values_range = 65535.0, None
    else:
        fake = truth + random_values(24, 26, 5, dtype=dtype, seed=1) / 50
        limits, values_range = 20.0, (-10.0, 10.0)
    for name, values in (("truth", truth), ("fake", fake)):
        (tmp_path / name).mkdir()
        np.save(tmp_path / name / "a.npy", values)

    found = evaluate_pairs(
        str(tmp_path / "truth"), str(tmp_path / "fake"), values_range=values_range
    ).values

    expected = peak_signal_noise_ratio(
        truth.astype(np.float64), fake.astype(np.float64), data_range=limits
    )
    assert found["psnr"] == [pytest.approx(expected, abs=1e-6)]
    low = (values_range or (0, 0))[0]  # from which values are counted
    similarity = structural_similarity(
        truth.astype(np.float64) - low,
        fake.astype(np.float64) - low,
        channel_axis=2,
        data_range=limits,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
    )
    assert found["ssim"] == [pytest.approx(similarity, abs=1e-9)]


def test_floats_need_a_range_to_be_scored(tmp_path, capsys):
    np.save(tmp_path / "a.npy", np.zeros((16, 16), np.float32))
    arguments = ["evaluate", "paired", *("--truth", str(tmp_path)), *("--fake", str(tmp_path))]
    assert main(arguments) == 2
    assert "float32 values: give --range LOW,HIGH" in capsys.readouterr().err
    assert main([*arguments, "--range", "1,0"]) == 2
    assert "--range: 1,0 is not LOW,HIGH" in capsys.readouterr().err
    assert main([*arguments, "--range", "0,1", "--metrics", "ssim", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["ssim"] == pytest.approx(1)
