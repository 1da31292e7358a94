"""Files and folders through a model, by the command that users type."""

import json
import os
import re
import resource
import signal
import struct
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from PIL.ExifTags import Base
from test_video import write_video
from tiny import enlarge_weights, make_pictures, tiny_config
from two_processes import start_two_processes

from cyclegan_style import Predictor
from cyclegan_style.applying.jobs import plan
from cyclegan_style.applying.origin import ORIGIN_FILE
from cyclegan_style.applying.translate import default_threads, translate_files
from cyclegan_style.benchmarks.translation import compare_translation, operations_of_translation
from cyclegan_style.commands.main import main
from cyclegan_style.config import GeneratorConfig, to_yaml
from cyclegan_style.data.images import MAX_PIXELS, read_image
from cyclegan_style.data.listing import list_images
from cyclegan_style.errors import UserError
from cyclegan_style.models.export import export_model
from cyclegan_style.networks import build_generator
from cyclegan_style.training.cyclegan import build_generators

SCRIPT = Path(__file__).parent.parent / "scripts" / "translate.py"


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    config = tiny_config()
    generators = build_generators(config)
    enlarge_weights(generators)
    folder = tmp_path_factory.mktemp("model")
    export_model(folder, generators, to_yaml(config))
    return folder


@pytest.fixture
def translate(model, tmp_path, capsys):
    """Run the command into ``tmp_path/out`` and return its exit status and its JSON."""

    def run(*inputs: object, options: tuple[str, ...] = ()):
        arguments = ["translate", "--model", str(model), "--input", *map(str, inputs)]
        status = main([*arguments, "--output", str(tmp_path / "out"), "--json", *options])
        printed = capsys.readouterr()
        return status, json.loads(printed.out) if printed.out else printed.err

    return run


def files_below(folder: Path) -> list[str]:
    """Names of all files, but for what remembers which model made them."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != ORIGIN_FILE]
    return sorted(str(path.relative_to(folder)) for path in files)


def test_folders_files_and_globs(translate, tmp_path):
    make_pictures(tmp_path / "in", 2)
    make_pictures(tmp_path / "in" / "deep" / "er", 1)
    make_pictures(tmp_path / "single", 1).joinpath("000.png").rename(tmp_path / "one [1].v2.PNG")
    make_pictures(tmp_path / "many" / "x", 1)
    status, result = translate(
        tmp_path / "in", tmp_path / "one [1].v2.PNG", tmp_path / "many" / "*" / "*.png"
    )
    assert status == 0
    assert (result["translated"], result["skipped"], result["failed"]) == (5, 0, [])
    assert result["seconds"] > 0
    assert result["images_per_second"] == pytest.approx(5 / result["seconds"])
    assert files_below(tmp_path / "out") == [
        "000.png",
        "001.png",
        "deep/er/000.png",
        "one [1].v2.png",
        "x/000.png",
    ]


def test_what_is_written_is_what_the_predictor_gives(translate, model, tmp_path):
    make_pictures(tmp_path / "in", 3, height=21, width=34)
    translate(tmp_path / "in", options=("--direction", "ba", "--batch-size", "2"))
    predictor = Predictor.load(model, "ba")
    for path in (tmp_path / "in").iterdir():
        written = read_image(tmp_path / "out" / path.name).astype(int)
        assert np.abs(written - np.asarray(predictor.translate(path))).max() <= 1


def test_finished_files_are_skipped_and_overwrite_redoes_them(translate, tmp_path):
    make_pictures(tmp_path / "in", 3)
    translate(tmp_path / "in")
    (tmp_path / "out" / "001.png").unlink()
    (tmp_path / "out" / "002.png").write_bytes(b"mine")
    _, result = translate(tmp_path / "in")
    assert (result["translated"], result["skipped"]) == (1, 2)
    assert (tmp_path / "out" / "002.png").read_bytes() == b"mine"
    _, result = translate(tmp_path / "in", options=("--overwrite",))
    assert (result["translated"], result["skipped"]) == (3, 0)
    assert read_image(tmp_path / "out" / "002.png").shape == (32, 32, 3)


def test_what_another_model_or_option_made_is_skipped_with_a_warning(
    translate, model, tmp_path, caplog
):
    folder, out = make_pictures(tmp_path / "in", 2), tmp_path / "out"
    other = tiny_config(train__seed=1)
    export_model(tmp_path / "other", build_generators(other), to_yaml(other))

    def warnings(*options: str) -> list[str]:
        caplog.clear()
        translate(folder, options=("--precision", "fp32", *options))
        return [each.getMessage() for each in caplog.records if each.levelname == "WARNING"]

    assert warnings() == []
    assert warnings("--batch-size", "2", "--format", "jpg") == []  # each file tells its format
    for options, difference in (
        (("--model", str(tmp_path / "other")), "weights [0-9a-f]{8} instead of [0-9a-f]{8}"),
        (("--direction", "ba"), "direction ab instead of ba, weights "),
        (("--working-size", "8", "--side-by-side"), "working_size null .*, side_by_side false"),
        (("--strip-metadata", "--precision", "bf16"), "metadata true .*, precision float32"),
        (("--quality", "80"), "quality 95 instead of 80; use --overwrite or another folder"),
    ):
        (message,) = warnings(*options)
        assert re.search(f"out: finished files there are skipped.* made with {difference}", message)
    # Where others are made meanwhile, the last is remembered.
    (out / "001.png").unlink()
    assert len(warnings("--quality", "80")) == 1
    assert warnings("--quality", "80") == []
    assert warnings("--overwrite") == []
    assert warnings() == []
    (out / ORIGIN_FILE).write_text("[")
    assert warnings("--quality", "80") == []
    assert files_below(out) == ["000.jpg", "000.png", "001.jpg", "001.png"]


def test_the_record_is_no_input(model, tmp_path, capsys):
    folder = make_pictures(tmp_path / "in", 1)
    assert main(["translate", *command(model, folder, tmp_path / "once")]) == 0
    assert (tmp_path / "once" / ORIGIN_FILE).is_file()
    assert main(["translate", *command(model, tmp_path / "once", tmp_path / "twice")]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["translated"] == 1


def test_only_beside_a_gpu_threads_take_all_cores(monkeypatch):
    monkeypatch.setattr("cyclegan_style.applying.translate.fair_share_of_cores", lambda: 12)
    assert default_threads(torch.device("cpu")) == 2
    assert default_threads(torch.device("cuda", 1)) == 12


@pytest.mark.parametrize(("name", "kind"), [("png", "PNG"), ("jpg", "JPEG"), ("webp", "WEBP")])
def test_formats_and_side_by_side(translate, tmp_path, name, kind):
    make_pictures(tmp_path / "in", 1, height=20, width=30)
    translate(tmp_path / "in", options=("--format", name, "--side-by-side", "--quality", "80"))
    with Image.open(tmp_path / "out" / f"000.{name}") as image:
        assert (image.format, image.size) == (kind, (60, 20))


def test_metadata_is_kept_or_stripped(translate, tmp_path):
    folder = make_pictures(tmp_path / "in", 1)
    exif = Image.Exif()
    exif[Base.Artist] = "Ännchen"
    Image.new("RGB", (8, 8)).save(folder / "000.png", exif=exif)
    for options, kept in (((), True), (("--strip-metadata", "--overwrite"), False)):
        translate(folder, options=options)
        with Image.open(tmp_path / "out" / "000.png") as image:
            assert (Base.Artist in image.getexif()) == kept


def test_colliding_outputs_are_refused_before_anything_is_written(translate, tmp_path):
    for name in ("a", "b"):
        make_pictures(tmp_path / name, 1)
    status, message = translate(tmp_path / "a", tmp_path / "b")
    assert status == 2
    assert "would both become" in message
    assert not (tmp_path / "out").exists()
    status, result = translate(tmp_path / "a", tmp_path / "a" / "000.png")
    assert (status, result["translated"]) == (0, 1)


def test_inputs_are_never_overwritten(tmp_path):
    first, _ = sorted(make_pictures(tmp_path, 2).iterdir())
    with pytest.raises(UserError, match="itself an input"):
        plan([str(first)], tmp_path, "png")
    assert len(plan([str(first)], tmp_path, "jpg")) == 1
    with pytest.raises(UserError, match="is the folder of the inputs"):
        plan([str(tmp_path)], tmp_path, "jpg")


def test_an_output_below_the_input_is_no_input(tmp_path):
    make_pictures(tmp_path / "in", 2)
    make_pictures(tmp_path / "in" / "out", 2)
    jobs = plan([str(tmp_path / "in")], tmp_path / "in" / "out", "png")
    assert [job.source.parent for job in jobs] == [tmp_path / "in"] * 2


@pytest.fixture
def moving(tmp_path) -> Path:
    """A folder of two pictures, an animation of three frames and two videos of two."""
    folder = make_pictures(tmp_path / "in", 2)
    stills = [Image.new("RGB", (20, 12), colour) for colour in ("red", "green", "blue")]
    for still in stills:
        still.paste("white", (5, 3, 14, 9))
    stills[0].save(folder / "a.gif", save_all=True, append_images=stills[1:], duration=70)
    (folder / "deep").mkdir()
    write_video(folder / "deep" / "b.MP4", [0, 190])
    write_video(folder / "c.webm", [0, 190])
    return folder


def test_videos_are_translated_like_pictures(translate, model, tmp_path, moving):
    (moving / "bad.mp4").write_bytes((moving / "deep" / "b.MP4").read_bytes()[:5000])
    status, result = translate(moving, options=("--batch-size", "2", "--side-by-side"))
    assert (status, result["translated"], result["images"]) == (1, 5, 9)
    assert [Path(failure["path"]).name for failure in result["failed"]] == ["bad.mp4"]
    names = ["000.png", "001.png", "a.gif", "c.webm", "deep/b.mp4"]
    assert files_below(tmp_path / "out") == names
    predictor = Predictor.load(model)
    with Image.open(moving / "a.gif") as source, Image.open(tmp_path / "out" / "a.gif") as written:
        for number in range(3):
            source.seek(number)
            written.seek(number)
            expected = np.asarray(predictor.translate(source.convert("RGB"))).astype(int)
            pixels = np.asarray(written.convert("RGB"))
            assert written.size == (40, 12)
            assert (pixels[:, :20] == np.asarray(source.convert("RGB"))).all()
            assert np.abs(pixels[:, 20:] - expected).mean() < 3  # GIF has 256 colours
    (moving / "bad.mp4").unlink()
    _, result = translate(moving)
    assert (result["translated"], result["skipped"]) == (0, 5)


def test_videos_that_would_become_one_file_are_refused(translate, tmp_path, moving):
    write_video(moving / "deep" / "b.mp4", [0, 190])
    status, message = translate(moving)
    assert status == 2
    assert "would both become" in message


def test_without_pyav_videos_fail_by_name_and_the_rest_is_done(
    translate, tmp_path, moving, monkeypatch
):
    monkeypatch.setitem(sys.modules, "av", None)
    monkeypatch.delitem(sys.modules, "cyclegan_style.applying.video_stream", raising=False)
    status, result = translate(moving)
    assert (status, result["translated"]) == (1, 3)
    assert [Path(failure["path"]).name for failure in result["failed"]] == ["c.webm", "b.MP4"]
    assert result["failed"][0]["error"] == "needs PyAV: pip install 'cyclegan-style[video]'"


def png_of(width: int, height: int) -> bytes:
    """A PNG whose header claims this size and whose pixels are missing."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = [
        struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
        for chunk in (header, b"IDAT")
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def test_bad_files_are_named_and_cost_no_other(translate, tmp_path):
    folder = make_pictures(tmp_path / "in", 2)
    whole = (folder / "000.png").read_bytes()
    bad = {
        "bomb.png": png_of(100_000, MAX_PIXELS // 100_000 + 1),
        "empty.jpg": b"",
        "no area.png": png_of(0, 5),
        "text.png": b"not a picture",
        "truncated\n.png": whole[: len(whole) // 2],
    }
    for name, content in bad.items():
        (folder / name).write_bytes(content)
    links = {"loop.png": "loop.png", "nowhere.jpg": "missing.jpg"}
    for name, target in links.items():
        (folder / name).symlink_to(target)
    (folder / "round").symlink_to(folder)
    os.mkfifo(folder / "pipe.webp")
    make_pictures(folder / "folder.png", 1)
    frames = [Image.new("RGB", (9, 9), color) for color in ("red", "blue")]
    frames[0].save(folder / "animated, größer 画.webp", save_all=True, append_images=frames[1:])
    Image.new("L", (1, 1)).save(folder / "dot.png")
    Image.new("RGB", (100_000, 1)).save(folder / "line of pixels.png")
    status, result = translate(folder)
    assert status == 1
    assert result["translated"] == 6
    failed = {Path(failure["path"]).name: failure["error"] for failure in result["failed"]}
    assert failed.keys() == {*bad, *links, "pipe.webp"}
    assert failed["empty.jpg"] == "the file is empty"
    assert "more than the limit" in failed["bomb.png"]
    assert all(error and "\n" not in error for error in failed.values())
    assert failed["no area.png"] == "not an image of a known kind"
    assert failed["nowhere.jpg"] == "no such file or folder"
    assert read_image(tmp_path / "out" / "line of pixels.png").shape == (1, 100_000, 3)
    assert (tmp_path / "out" / "folder.png" / "000.png").is_file()
    assert [path.name for path in (tmp_path / "out").glob(".*")] == [ORIGIN_FILE]


def test_links_to_nothing_cost_no_other_when_the_shell_names_them(translate, tmp_path):
    folder = make_pictures(tmp_path / "in", 1)
    (folder / "nowhere.png").symlink_to("missing.png")
    for inputs in (sorted(folder.iterdir()), [folder / "*.png"]):
        status, result = translate(*inputs, options=("--overwrite",))
        assert (status, result["translated"], len(result["failed"])) == (1, 1, 1)


def test_what_a_format_or_a_folder_cannot_hold_is_named(translate, tmp_path):
    folder = make_pictures(tmp_path / "in", 2)
    Image.new("RGB", (100_000, 1)).save(folder / "wide.png")
    (folder / "001.png").rename(folder / f"{'x' * 251}.png")
    status, result = translate(folder, options=("--format", "webp"))
    assert (status, result["translated"]) == (1, 1)
    assert [Path(failure["path"]).name[:4] for failure in result["failed"]] == ["wide", "xxxx"]
    assert files_below(tmp_path / "out") == ["000.webp"]


def test_targets_that_cannot_be_written_are_named(translate, tmp_path):
    folder = make_pictures(tmp_path / "in", 2)
    make_pictures(folder / "deep", 1)
    (tmp_path / "out" / "000.png").mkdir(parents=True)
    (tmp_path / "out" / "deep").write_text("a file in place of a folder")
    status, result = translate(folder)
    assert (status, result["translated"]) == (1, 1)
    assert [Path(failure["path"]).name for failure in result["failed"]] == ["000.png", "000.png"]


def test_usage_errors_are_one_line(translate, tmp_path):
    make_pictures(tmp_path / "in", 1)
    (tmp_path / "file").write_text("")
    for arguments, options, message in (
        ([tmp_path / "missing"], (), "--input: .*: no such file or folder"),
        ([tmp_path / "in"], ("--model", "nowhere"), "nowhere: no such file or folder"),
        ([tmp_path / "in"], ("--output", str(tmp_path / "file")), "cannot be written to"),
        ([tmp_path / "in"], ("--output", "/proc/nowhere"), "cannot be written to"),
        ([tmp_path / "in"], ("--output", str(tmp_path / "file" / "deep")), "cannot be written to"),
        ([str(tmp_path / "in") + "x" * 300], (), "File name too long"),
        ([tmp_path / "in"], ("--quality", "0"), "--quality must be"),
        ([tmp_path / "in"], ("--batch-size", "0"), "--batch-size must be"),
        ([tmp_path / "in"], ("--memory-budget", "lots"), "'lots' is not a size"),
        ([tmp_path / "in"], ("--direction", "aa"), "aa"),
        ([tmp_path / "in"], ("--keep-alpha", "--format", "jpg"), "jpg holds no transparency"),
    ):
        status, printed = translate(*arguments, options=options)
        assert status == 2
        assert printed.count("\n") == 1

        assert re.search(message, printed)


def test_a_picture_beyond_the_budget_costs_no_other(translate, tmp_path):
    make_pictures(tmp_path / "in", 2, height=16, width=16)
    make_pictures(tmp_path / "in" / "large", 1, height=600, width=600)
    status, result = translate(tmp_path / "in", options=("--memory-budget", "0.2MB"))
    assert (status, result["translated"], len(result["failed"])) == (1, 2, 1)
    assert "more than the budget" in result["failed"][0]["error"]


def command(model: Path, folder: Path, output: Path) -> list[str]:
    return ["--model", str(model), "--input", str(folder), "--output", str(output), "--json"]


def never_read(picture: Path) -> bytes:
    """Put a pipe in a picture's place, at which its reader waits; return what was there."""
    content = picture.read_bytes()
    picture.unlink()
    os.mkfifo(picture)
    return content


def test_killed_in_the_middle_the_same_command_goes_on(model, tmp_path, capsys):
    folder = make_pictures(tmp_path / "in", 20, height=128, width=128)
    content = never_read(folder / "010.png")
    output = tmp_path / "out"
    arguments = command(model, folder, output)
    process = subprocess.Popen(
        [sys.executable, str(SCRIPT), *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while not list(output.glob("*.png")) and process.poll() is None:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    (folder / "010.png").unlink()
    (folder / "010.png").write_bytes(content)
    finished = {path: path.read_bytes() for path in output.glob("*.png")}
    assert 0 < len(finished) <= 10
    for path in finished:
        assert read_image(path).shape == (128, 128, 3)
    assert main(["translate", *arguments]) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["translated"], result["skipped"]) == (20 - len(finished), len(finished))
    assert len(list(output.glob("*.png"))) == 20
    assert all(path.read_bytes() == content for path, content in finished.items())
    assert [path.name for path in output.glob(".*")] == [ORIGIN_FILE]


@pytest.mark.slow
def test_processes_of_the_script_share_the_files(model, tmp_path):
    folder = make_pictures(tmp_path / "in", 5)
    (folder / "bad.png").write_bytes(b"")
    processes = start_two_processes(SCRIPT, *command(model, folder, tmp_path / "out"))
    (printed, errors), (nothing, _) = (process.communicate() for process in processes)
    assert printed, errors
    result = json.loads(printed)
    assert (result["translated"], result["skipped"], nothing) == (5, 0, "")
    assert [Path(failure["path"]).name for failure in result["failed"]] == ["bad.png"]
    assert [process.returncode for process in processes] == [1, 0]
    assert len(files_below(tmp_path / "out")) == 5


LEAVING = """
import atexit
from cyclegan_style.system.launch import leave

class TakenApart:
    def __del__(self):
        print("taken apart")

one_of_them = TakenApart()
atexit.register(lambda: print("last words"))
leave(3)
"""


def test_processes_end_before_python_is_taken_apart():
    """In which gloo's threads abort one of several, about once in a hundred times."""
    result = subprocess.run([sys.executable, "-c", LEAVING], capture_output=True, text=True)
    assert (result.returncode, result.stdout) == (3, "last words\n")


def test_words_that_nobody_reads_are_an_error_and_no_traceback():
    leaving = "from cyclegan_style.system.launch import leave; print('words'); leave(0)"
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing) as nowhere:
        result = subprocess.run(
            [sys.executable, "-c", leaving], stdout=nowhere, stderr=subprocess.PIPE, env=buffered
        )
    assert (result.returncode, result.stderr) == (1, b"")


@pytest.mark.slow
def test_a_killed_process_costs_only_a_second_run(model, tmp_path, capsys):
    """The processes take every other file: those of the second one are the odd ones."""
    folder = make_pictures(tmp_path / "in", 20, height=128, width=128)
    content = never_read(folder / "011.png")
    output = tmp_path / "out"
    arguments = command(model, folder, output)
    first, second = start_two_processes(SCRIPT, *arguments)
    while not list(output.glob("*[13579].png")) and second.poll() is None:
        time.sleep(0.002)
    second.send_signal(signal.SIGKILL)
    second.communicate()
    (folder / "011.png").unlink()
    (folder / "011.png").write_bytes(content)
    printed, errors = first.communicate()
    assert (first.returncode, printed) == (2, ""), errors
    assert "another process ended before its files were done" in errors
    assert "Traceback" not in errors
    finished = {path: path.stat().st_mtime_ns for path in output.glob("*.png")}
    assert 10 < len(finished) <= 15
    assert len(list(output.glob("*[02468].png"))) == 10
    assert main(["translate", *arguments]) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["translated"], result["skipped"]) == (20 - len(finished), len(finished))
    assert files_below(output) == [f"{number:03}.png" for number in range(20)]
    assert all(read_image(path).shape == (128, 128, 3) for path in output.glob("*.png"))
    assert all(path.stat().st_mtime_ns == time for path, time in finished.items())


def test_the_benchmark_compares_the_same_pictures():
    network = GeneratorConfig(channels=4, blocks=1)
    exact, rounded = (
        compare_translation(16, count=2, config=network, precision=precision, runs=1)
        for precision in ("fp32", "bf16")
    )
    assert exact.ratio > 0
    assert exact.images_per_second == pytest.approx(2 / exact.seconds)
    assert exact.largest_difference <= 1
    assert 0 < rounded.mean_difference < 3
    for found in (exact, rounded):
        assert found.limit_seconds > 0
        assert found.share == pytest.approx(found.limit_seconds / found.seconds)


def test_operations_of_a_translation_are_those_of_its_convolutions():
    full, half, quarter = 16**2, 8**2, 4**2
    outer = 2 * (3 * 4 * 7**2 * full)
    halvings = 4 * 8 * 3**2 * half + 8 * 16 * 3**2 * quarter
    doublings = 16 * 8 * 3**2 * quarter + 8 * 4 * 3**2 * half  # as many as of their transposes
    block = 2 * (16 * 16 * 3**2 * quarter)
    network = build_generator(GeneratorConfig(channels=4, blocks=1))
    operations = operations_of_translation(network, 16, torch.device("cpu"))
    assert operations == 2 * (outer + halvings + doublings + block)


@pytest.mark.slow
def test_long_jobs_are_compiled_and_as_exact_as_before(model, tmp_path, monkeypatch):
    folder = make_pictures(tmp_path / "in", 6, height=64, width=64)
    predictor = Predictor.load(model, precision="bf16")
    translate_files(predictor, plan([str(folder)], tmp_path / "plain", "png"))
    monkeypatch.setattr("cyclegan_style.applying.translate.WORTH_COMPILING", 0.0)
    considered = []
    core = predictor.core
    compile_if_faster = core.compile_if_faster
    monkeypatch.setattr(
        core, "compile_if_faster", lambda *shape: considered.append(compile_if_faster(*shape))
    )

    summary = translate_files(predictor, plan([str(folder)], tmp_path / "compiled", "png"))

    assert summary.translated == 6
    assert considered == [bool(core.compiled)]
    in_float32 = Predictor.load(model, precision="fp32")
    translate_files(in_float32, plan([str(folder)], tmp_path / "exact", "png"))
    exact, plain, compiled = (
        np.stack([read_image(path) for path in sorted((tmp_path / name).iterdir())]).astype(int)
        for name in ("exact", "plain", "compiled")
    )
    error = np.abs(plain - exact).mean()
    assert 0 < error < 2, "bf16 should be off by a little"
    assert np.abs(compiled - exact).mean() < 1.2 * error


def test_an_output_above_the_input(translate, tmp_path):
    make_pictures(tmp_path / "out" / "photos", 2)
    for expected in ((2, 0), (0, 2)):
        status, result = translate(tmp_path / "out" / "photos", options=("--format", "jpg"))
        assert (status, result["translated"], result["skipped"]) == (0, *expected)
    assert sorted(path.name for path in (tmp_path / "out").glob("*.jpg")) == ["000.jpg", "001.jpg"]


def test_translations_are_no_inputs_however_their_folder_is_reached(tmp_path, monkeypatch):
    folder = make_pictures(tmp_path / "in", 1)
    make_pictures(tmp_path / "in" / "deep", 1)
    make_pictures(tmp_path / "elsewhere", 2)
    (folder / "out").symlink_to(tmp_path / "elsewhere")
    monkeypatch.chdir(folder)
    for inputs, output in (
        (str(folder), tmp_path / "elsewhere"),
        ("../in", Path("deep")),
        (str(folder), Path("../in/deep")),
    ):
        sources = [os.path.realpath(job.source) for job in plan([inputs], output, "png")]
        assert os.path.realpath("000.png") in sources
        assert not any(source.startswith(os.path.realpath(output)) for source in sources)


def test_a_file_in_place_of_a_folder_is_refused(tmp_path):
    make_pictures(tmp_path / "in", 1)
    make_pictures(tmp_path / "in" / "000.jpg", 1)
    (tmp_path / "in" / "000.png").rename(tmp_path / "in" / "000.bmp")
    assert len(plan([str(tmp_path / "in")], tmp_path / "out", "png")) == 2
    with pytest.raises(UserError, match="the folder for"):
        plan([str(tmp_path / "in")], tmp_path / "out", "jpg")


def test_files_of_a_list_keep_their_folders(tmp_path):
    for name in ("in/deep/a.png", "in/b.jpg", "lists/c.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    chosen = tmp_path / "lists" / "chosen.txt"
    chosen.write_text("../in/deep/a.png\n../in/b.jpg\n")
    below = [str(job.target) for job in plan([str(chosen)], Path("out"), "png")]
    assert below == ["out/b.png", "out/deep/a.png"]


@pytest.mark.skipif(not hasattr(os, "seteuid"), reason="Windows has other permissions")
def test_a_closed_folder_costs_no_other_file():
    with tempfile.TemporaryDirectory() as name:
        folder = make_pictures(Path(name), 1)
        folder.chmod(0o755)
        make_pictures(folder / "closed", 1)
        (folder / "closed").chmod(0)
        before = os.geteuid()
        os.seteuid(65534)  # root may look into everything
        try:
            jobs = plan([str(folder)], Path("out"), "png")
            with pytest.raises(UserError, match="denied"):
                list_images(str(folder))
            with pytest.raises(UserError, match="denied"):
                read_image(folder / "closed")
        finally:
            os.seteuid(before)
            (folder / "closed").chmod(0o755)
    assert [job.source.name for job in jobs] == ["000.png", "closed"]


def test_odd_videos_cost_no_other_file(translate, tmp_path, moving):
    (moving / "pipe.webm").unlink(missing_ok=True)
    os.mkfifo(moving / "pipe.webm")
    for path, known, unknown in (
        (moving / "deep" / "b.MP4", b"avc1", b"zzzz"),
        (moving / "c.webm", b"V_VP9", b"V_ZZ9"),
    ):
        path.write_bytes(path.read_bytes().replace(known, unknown))
    status, result = translate(moving)
    assert (status, result["translated"]) == (1, 3)
    reasons = {Path(failure["path"]).name: failure["error"] for failure in result["failed"]}
    assert reasons.keys() == {"pipe.webm", "c.webm", "b.MP4"}
    assert reasons["pipe.webm"] == "not a regular file"
    assert "its codec is not known" in reasons["c.webm"]


@contextmanager
def files_limited_to(size: int) -> Iterator[None]:
    """Let this process write no larger files meanwhile."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_is_not_blamed_on_the_video(translate, tmp_path):
    (tmp_path / "in").mkdir()
    for ending in ("mp4", "webm"):
        write_video(tmp_path / "in" / f"a.{ending}", list(range(0, 120, 4)), size=(128, 160))
    with files_limited_to(20_000):
        _, result = translate(tmp_path / "in")
    errors = [failure["error"] for failure in result["failed"]]
    assert errors == ["cannot be written: File too large"] * 2
    assert files_below(tmp_path / "out") == []


def test_an_interruption_is_one_line_and_leaves_whole_files(model, tmp_path):
    folder = make_pictures(tmp_path / "in", 6, height=128, width=128)
    never_read(folder / "002.png")
    process = subprocess.Popen(
        [sys.executable, str(SCRIPT), *command(model, folder, tmp_path / "out")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Shells let what they start in the background ignore it, and these tests with it.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    while not list((tmp_path / "out").glob("*.png")) and process.poll() is None:
        time.sleep(0.002)
    process.send_signal(signal.SIGINT)
    while process.poll() is None:  # the reader still waits, and is let go
        with suppress(OSError):
            os.close(os.open(folder / "002.png", os.O_WRONLY | os.O_NONBLOCK))
        time.sleep(0.01)
    printed, errors = process.communicate()
    assert (process.returncode, printed) == (130, "")
    assert errors.splitlines()[-1] == "interrupted"
    assert "Traceback" not in errors
    assert all(read_image(path).shape == (128, 128, 3) for path in (tmp_path / "out").glob("*.png"))


def test_what_a_bomb_would_take_is_known_before_it_is_unpacked(translate, tmp_path):
    make_pictures(tmp_path / "in", 1)
    (tmp_path / "in" / "bomb.png").write_bytes(png_of(20_000, 20_000))
    Image.new("L", (5000, 1)).save(tmp_path / "in" / "thread.png")
    status, result = translate(tmp_path / "in", options=("--memory-budget", "300MB"))
    assert (status, result["translated"]) == (1, 2)
    error = result["failed"][0]["error"]
    assert error.startswith("20000×20000 pixels need about ")
    assert error.endswith("of memory even in stripes, more than the budget of 0.3 GB")
    _, result = translate(tmp_path / "in", options=("--overwrite", "--working-size", "400"))
    reasons = {Path(failure["path"]).name: failure["error"] for failure in result["failed"]}
    assert "2000000×400 pixels are more than the limit" in reasons["thread.png"]


def test_a_model_of_more_channels_is_refused_at_once(tmp_path, capsys):
    make_pictures(tmp_path / "in", 1)
    network = build_generator(GeneratorConfig(channels=4, blocks=1), 3, 6)
    torch.save(network.state_dict(), tmp_path / "latest_net_G_A.pth")
    arguments = command(tmp_path / "latest_net_G_A.pth", tmp_path / "in", tmp_path / "out")
    assert main(["translate", *arguments]) == 2
    assert "the model has 6 channels" in capsys.readouterr().err
