"""Pictures in the style of others, by the command that users type."""

import json
import pickle
import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pictures import make_images
from PIL import Image
from PIL.ExifTags import Base
from test_report import Tags, curves_of, data_of

from cyclegan_style.applying.origin import ORIGIN_FILE
from cyclegan_style.commands.main import main
from cyclegan_style.commands.stylize import parse_stylize_options, recipe_of
from cyclegan_style.data.images import read_image, write_image
from cyclegan_style.features.squeezenet import SQUEEZENET
from cyclegan_style.stylizing.recipe import Recipe


@pytest.fixture
def style(tmp_path) -> Path:
    return make_images(tmp_path / "styles", 2, height=36, width=44)[1]


@pytest.fixture
def contents(tmp_path) -> Path:
    make_images(tmp_path / "in", 2)
    return tmp_path / "in"


@pytest.fixture
def stylize(style, tmp_path, capsys):
    """Run the command with three steps and return its status, its JSON, and what people read."""

    def run(*contents: object, output: str = "out", options: tuple[object, ...] = ()):
        arguments = ["stylize", "--content", *map(str, contents), "--style", str(style)]
        arguments += ["--output", str(tmp_path / output), "--steps", "3", "--json"]
        status = main([*arguments, *map(str, options)])
        printed = capsys.readouterr()
        result: dict[str, Any] = json.loads(printed.out.splitlines()[-1]) if printed.out else {}
        return status, result, printed.err

    return run


def names_below(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_one_content_becomes_the_file_that_is_named(stylize, contents, tmp_path):
    content = contents / "001.png"
    status, result, _ = stylize(content, output="new/painting.png")

    assert status == 0
    assert set(result) == {"outputs", "loss", "steps", "seconds", "skipped", "failed"}
    assert result["outputs"] == [str(tmp_path / "new" / "painting.png")]
    assert (result["steps"], result["failed"]) == (3, [])
    assert result["loss"] > 0 and result["seconds"] > 0
    assert names_below(tmp_path / "new") == ["painting.png"]
    painted, original = read_image(tmp_path / "new" / "painting.png"), read_image(content)
    assert painted.shape == original.shape
    assert np.abs(painted.astype(int) - original).mean() > 1


def test_the_same_seed_paints_the_same_and_a_named_file_is_painted_anew(
    stylize, contents, tmp_path
):
    paintings = []
    for seed in (1, 1, 2):
        stylize(contents / "000.png", output="p.png", options=("--seed", seed, "--start", "noise"))
        paintings.append((tmp_path / "p.png").read_bytes())

    assert paintings[0] == paintings[1] != paintings[2]


def test_a_folder_goes_on_where_it_was_and_names_what_cannot_be_read(stylize, contents, tmp_path):
    (contents / "deep").mkdir()
    (contents / "000.png").rename(contents / "deep" / "000.jpg")
    (contents / "bad.png").write_bytes(b"no picture")
    (contents / "film.gif").write_bytes(b"GIF89a")
    names = ["001.png", "deep/000.png"]
    failed = [{"path": str(contents / "bad.png"), "error": "not an image of a known kind"}]

    status, result, errors = stylize(contents)
    assert (status, result["failed"], result["skipped"]) == (1, failed, 0)
    assert result["outputs"] == [str(tmp_path / "out" / name) for name in names]
    assert f"error: {contents / 'bad.png'}: not an image of a known kind" in errors
    assert names_below(tmp_path / "out") == [ORIGIN_FILE, *names]

    (tmp_path / "out" / "001.png").unlink()
    before = (tmp_path / "out" / "deep" / "000.png").stat().st_mtime_ns
    (contents / "bad.png").unlink()
    status, result, _ = stylize(contents)
    assert (status, result["failed"], result["skipped"], result["steps"]) == (0, [], 1, 3)
    assert result["outputs"] == [str(tmp_path / "out" / name) for name in names]
    assert (tmp_path / "out" / "deep" / "000.png").stat().st_mtime_ns == before

    status, result, _ = stylize(contents, options=("--overwrite",))
    assert (status, result["skipped"], result["steps"]) == (0, 0, 6)
    assert (tmp_path / "out" / "deep" / "000.png").stat().st_mtime_ns > before


def test_what_another_recipe_painted_is_skipped_with_a_warning(stylize, contents, caplog):
    stylize(contents)
    assert not caplog.messages or all("skipped" not in line for line in caplog.messages)
    stylize(contents)
    assert all("skipped" not in line for line in caplog.messages)
    other = contents / "001.png"
    stylize(
        contents,
        options=(
            "--style",
            other,
            "--start",
            "noise",
            "--style-layers",
            "conv1:2",
            "--mask",
            other,
        ),
    )
    (message,) = [line for line in caplog.messages if "skipped" in line]
    checksum = "[0-9a-f]{8} instead of [0-9a-f]{8}"
    assert re.search(
        rf"style_layers null instead of {{\"conv1\": 2.0}}, start content instead of noise,"
        rf" styles {checksum}, masks null instead of [0-9a-f]{{8}}; use --overwrite",
        message,
    )


def test_formats_metadata_and_globs(stylize, contents, tmp_path):
    exif = Image.Exif()
    exif[Base.Artist] = "Ännchen"
    Image.open(contents / "000.png").save(contents / "000.png", exif=exif)
    stylize(contents / "*0.png", options=("--format", "webp"))
    stylize(contents / "000.png", output="p.jpg", options=("--strip-metadata",))
    for name, kind, kept in (("out/000.webp", "WEBP", True), ("p.jpg", "JPEG", False)):
        with Image.open(tmp_path / name) as image:
            assert image.format == kind
            assert (Base.Artist in image.getexif()) == kept


def test_every_option_reaches_the_recipe(tmp_path):
    chosen: dict[str, tuple[list[str], Any]] = {
        "features": (["vgg19"], "vgg19"),
        "weights": (["w.pth"], Path("w.pth")),
        "layers": (["auto"], "auto"),
        "content_layers": (["fire4:0.5"], {"fire4": 0.5}),
        "style_layers": (["conv1", "fire2:3"], {"conv1": 1.0, "fire2": 3.0}),
        "content_loss": (["ssim"], "ssim"),
        "style_loss": (["wasserstein"], "wasserstein"),
        "content_weight": (["2"], 2.0),
        "style_weight": (["0.5"], 0.5),
        "variation_weight": (["0.25"], 0.25),
        "pooling": (["average"], "average"),
        "optimizer": (["adam"], "adam"),
        "learning_rate": (["0.1"], 0.1),
        "steps": (["7"], 7),
        "scales": (["2"], 2),
        "start": (["style"], "style"),
        "style_scale": (["1.5"], 1.5),
        "preserve_colors": (["histogram"], "histogram"),
        "size": (["64"], 64),
        "memory_budget": (["1GB"], "1GB"),
        "seed": (["3"], 3),
    }
    assert chosen.keys() == {field.name for field in fields(Recipe)}
    files = ["--content", "a", "--style", "b", "--output", "c"]
    assert recipe_of(parse_stylize_options(files)) == Recipe()
    options = [
        word
        for name, (words, _) in chosen.items()
        for word in (f"--{name.replace('_', '-')}", *words)
    ]
    recipe = recipe_of(parse_stylize_options([*files, *options]))
    assert recipe == Recipe(**{name: value for name, (_, value) in chosen.items()})


def test_styles_have_weights_and_masks(stylize, contents, style, tmp_path):
    other = style.with_name("000.png")
    mask = np.zeros((40, 48, 1), np.uint8)
    mask[:, 24:] = 255
    write_image(tmp_path / "right.png", mask)

    def painted(*options: object) -> bytes:
        status, _, errors = stylize(contents / "000.png", output="p.png", options=options)
        assert status == 0, errors
        return (tmp_path / "p.png").read_bytes()

    both = ("--style", style, other)
    alike = painted(*both)
    assert painted(*both, "--style-weights", 1, 1, "--mask", "all", "-") == alike
    assert painted(*both, "--style-weights", 2, 1) != alike
    assert painted(*both, "--mask", "all", tmp_path / "right.png") != alike


def test_layers_chosen_for_the_pictures_are_told_with_the_reason(stylize, contents, caplog):
    stylize(contents / "000.png", output="p.png", options=("--layers", "auto"))

    told = dict(line.split(": ", 1) for line in caplog.messages)
    assert set(told) == set(SQUEEZENET.layers)
    assert all(re.match(r"\d+\.\d\d times as far apart as their halves", t) for t in told.values())
    assert any("chosen for style" in text for text in told.values())


def test_a_small_budget_paints_smaller_and_says_so(stylize, contents, tmp_path, caplog):
    status, _, _ = stylize(
        contents / "000.png", output="p.png", options=("--memory-budget", "2.5MB")
    )

    assert status == 0
    (message,) = caplog.messages
    assert re.match(r"painted at \d\d × \d\d pixels and enlarged: .* more than 2.5MB", message)
    assert read_image(tmp_path / "p.png").shape == (40, 48, 3)


def test_a_style_that_would_be_larger_than_memory_is_shown_smaller(stylize, contents, caplog):
    options = ("--memory-budget", "4MB", "--style-scale", "1000")
    status, _, _ = stylize(contents / "000.png", output="p.png", options=options)

    assert status == 0
    assert caplog.messages == ["a style is shown smaller than --style-scale asks: memory is short"]


@pytest.mark.parametrize("options", [(), ("--layers", "auto")])
@pytest.mark.parametrize("size", [(1, 1), (3, 70)])
def test_tiny_contents(stylize, tmp_path, size, options):
    write_image(tmp_path / "c.png", np.full((*size, 3), 90, np.uint8))
    status, _, errors = stylize(tmp_path / "c.png", output="p.png", options=options)

    assert status == 0, errors
    assert read_image(tmp_path / "p.png").shape == (*size, 3)


# Previews and the report


def test_previews_and_report_lie_beside_the_painting(stylize, contents, tmp_path):
    options = ("--steps", "5", "--save-every", "2", "--report", "--variation-weight", "0.1")
    content = contents / "000.png"
    (content).rename(contents / "<b>&.png")
    status, result, _ = stylize(contents / "<b>&.png", output="p/q.png", options=options)

    assert status == 0
    previews = [f"q-previews/q-step-0000{step}.png" for step in (2, 4)]
    assert names_below(tmp_path / "p") == [*previews, "q.html", "q.png"]
    assert read_image(tmp_path / "p" / previews[0]).shape == (40, 48, 3)
    page = (tmp_path / "p" / "q.html").read_text(encoding="utf-8")
    curves = curves_of(page)
    assert set(curves) == {"content", "style", "variation"}
    assert all(list(curve) == [1, 2, 3, 4, 5] for curve in curves.values())
    assert sum(curve[5] for curve in curves.values()) == pytest.approx(result["loss"])
    assert data_of(page)["samples"] == [1, 2, 3, 4, 5]
    tags = Tags(page)
    captions = [image.get("alt") for image in tags.attributes("img")]
    for caption in ("Content: <b>&.png", "Style: 001.png", "Result", "The painting at step 5"):
        assert caption in captions
    assert all((image["src"] or "").startswith("data:") for image in tags.attributes("img"))
    assert "<b>" not in re.sub("<b>[0-9–.e-]+</b>", "", page)
    assert not re.search(r"(src|href)=\"(?!data:)", page) and "//" not in re.sub(
        'data:image/jpeg;base64,[^"]*', "", page
    )


def test_the_report_tells_of_masks_and_of_the_choice_of_layers(stylize, contents, tmp_path):
    mask = contents / "001.png"
    options = ("--report", "--layers", "auto", "--mask", mask, "--steps", "30", "--size", "8")
    stylize(contents / "000.png", output="p.jpg", options=options)

    page = (tmp_path / "p.html").read_text(encoding="utf-8")
    assert len(data_of(page)["samples"]) == 12
    assert "Where 001.png is wanted" in page
    assert page.count("times as far apart as their halves") == len(SQUEEZENET.layers)
    assert '<div class="chosen"><dt>layers</dt><dd>auto</dd></div>' in page
    assert "<div><dt>seed</dt><dd>0</dd></div>" in page


# What goes wrong


@pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_good_picture(
    stylize, contents, tmp_path, optimizer
):
    options = ("--optimizer", optimizer, "--learning-rate", "1e30", "--report")
    status, result, errors = stylize(contents / "000.png", output="p.png", options=options)

    assert status == 1
    (failure,) = result["failed"]
    assert failure["path"] == str(contents / "000.png")
    assert re.match(
        r"step [23]: the loss is not finite; a smaller --learning-rate", failure["error"]
    )
    assert failure["error"] in errors
    assert result["steps"] < 3 and np.isfinite(result["loss"])
    assert (read_image(tmp_path / "p.png") == read_image(contents / "000.png")).all()
    page = (tmp_path / "p.html").read_text(encoding="utf-8")
    assert "stopped" in page and "the loss is not finite" in page


def refusal(stylize, content: Path, *options: object, output: str = "p.png") -> str:
    status, _, errors = stylize(content, output=output, options=options)
    assert status == 2
    assert errors.startswith("error: ") and errors.count("\n") == 1
    return str(errors)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ("--style-layers", "fire3", "relu9"),
            "squeezenet has no layer 'relu9', but conv1, fire2,",
        ),
        (("--content-layers", "fire3:x"), "--content-layers: 'fire3:x' is no name"),
        (("--content-layers", "fire3:-1"), "the weight of fire3 must be above 0"),
        (("--style-layers", "fire3", "fire3:2"), "--style-layers: fire3 is named twice"),
        (("--style-weights", "1", "2"), "--style-weights: 2 for 1 styles; give one for each"),
        (("--style-weights", "-1"), "--style-weights: must be above 0"),
        (("--mask", "all", "all"), "--mask: 2 for 1 styles"),
        (("--mask", "none.png"), "--mask: none.png: no such file"),
        (("--style", "none.png"), "--style: none.png: no such file"),
        (("--weights", "none.pth"), "--weights: none.pth: no such file"),
        (("--memory-budget", "much"), "--memory-budget: 'much' is not a size"),
        (("--memory-budget", "1KB"), "--memory-budget: at least 2.0MB are needed"),
        (("--steps", "0"), "--steps: must be at least 1"),
        (("--content-weight", "0", "--style-weight", "0"), "one of them must be above 0"),
        (("--features", "vgg16"), "'squeezenet', 'vgg19'"),
        (("--quality", "0"), "--quality must be 1 to 100"),
        (("--save-every", "0"), "save_every"),
    ],
)
def test_options_that_are_refused(stylize, contents, options, message):
    assert message in refusal(stylize, contents / "000.png", *options)


def test_styles_and_masks_that_are_none(stylize, contents, tmp_path):
    for size, colour, reason in (
        ((1, 1), 5, "--style: the picture is 1 × 1 pixels, and 32 × 32 are needed"),
        ((40, 40), 90, "--style: the picture has one colour only"),
    ):
        write_image(tmp_path / "s.png", np.full((*size, 3), colour, np.uint8))
        assert reason in refusal(stylize, contents, "--style", tmp_path / "s.png", output="out")
    (tmp_path / "vast.ppm").write_bytes(b"P6 100000 100000 255\n")
    vast = refusal(stylize, contents, "--style", tmp_path / "vast.ppm", output="out")
    assert "vast.ppm: 100000 × 100000 pixels are more than the limit" in vast
    write_image(tmp_path / "black.png", np.zeros((9, 9, 1), np.uint8))
    black = refusal(stylize, contents, "--mask", tmp_path / "black.png", output="out")
    assert "black.png is black everywhere" in black
    assert not (tmp_path / "out").exists()


class Planted:
    def __reduce__(self):
        return (print, ("unpickled",))


def test_weights_that_are_none_are_refused_unread(stylize, contents, tmp_path, capsys):
    torch.save({"features.0.weight": torch.ones(3)}, tmp_path / "other.pth")
    (tmp_path / "damaged.pth").write_bytes((tmp_path / "other.pth").read_bytes()[:-300])
    (tmp_path / "code.pth").write_bytes(pickle.dumps(Planted(), protocol=2))
    for name in ("other", "damaged", "code"):
        message = refusal(stylize, contents / "000.png", "--weights", tmp_path / f"{name}.pth")
        assert f"{name}.pth: not the weights of SqueezeNet 1.1" in message
        assert "unpickled" not in message + capsys.readouterr().out


def test_outputs_that_are_refused(stylize, contents, style, tmp_path):
    content = contents / "000.png"
    before = content.read_bytes()
    for output, message in (
        ("p.gif", ".gif is not written, but .bmp"),
        ("in/000.png", "000.png is itself an input"),
        ("styles/001.png", "001.png is itself an input"),
        ("in/000.png/q.png", "cannot be written to"),
    ):
        assert message in refusal(stylize, content, output=output)
    assert "is one picture for 2 contents; name a folder" in refusal(stylize, contents)
    assert "is the folder of the inputs" in refusal(stylize, contents, output="in")
    assert content.read_bytes() == before
    missing = refusal(stylize, tmp_path / "none.png")
    assert "--content: " in missing and "none.png: no such file or folder" in missing
