"""A Space is a folder whose program serves the model in it."""

import asyncio
import runpy
import shutil
import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import pytest
import yaml
from PIL import Image
from tiny import enlarge_weights, make_pictures, tiny_config

from cyclegan_style import Predictor
from cyclegan_style.commands.main import main
from cyclegan_style.config import to_yaml
from cyclegan_style.models.export import export_model
from cyclegan_style.training.cyclegan import build_generators

# Not imported here, since it takes seconds, also in processes that run other tests.
pytestmark = pytest.mark.skipif(find_spec("gradio") is None, reason="needs gradio")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    generators = build_generators(tiny_config()).eval()
    enlarge_weights(generators)
    export_model(folder, generators, to_yaml(tiny_config()))
    return folder


@pytest.fixture(scope="module")
def space(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("spaces") / 'my "painter"'
    assert main(["export", str(model), "--space", str(folder)]) == 0
    return folder


def test_a_space_has_what_the_hub_asks_for(space):
    _, header, text = (space / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    said = yaml.safe_load(header)
    needed = (space / "requirements.txt").read_text().splitlines()

    assert said["title"] == "my painter"
    assert (said["sdk"], said["app_file"], said["license"]) == ("gradio", "app.py", "other")
    assert (space / said["app_file"]).is_file()
    assert text.startswith("\n# my painter\n")
    assert any(line.startswith("torch<") for line in needed)
    assert not any("extra ==" in line for line in needed)
    assert "Apache License" in (space / "LICENSE").read_text()


def test_the_program_of_a_space_translates_as_the_model_does(space, model, tmp_path):
    photo = make_pictures(tmp_path, 1) / "000.png"
    program = runpy.run_path(str(space / "app.py"))
    with Image.open(photo) as picture:
        for direction in ("ab", "ba"):
            result = asyncio.run(program["translate"]("my painter", direction, picture))
            expected = Predictor.load(model, direction).translate(photo)
            np.testing.assert_array_equal(result, expected)
    assert program["page"].title == "my painter"


@pytest.mark.slow
def test_a_space_runs_by_its_own_copy_of_the_program(space, tmp_path):
    moved = shutil.copytree(space, tmp_path / "moved")
    asked = "import app, cyclegan_style as c; print(c.__file__, list(app.PREDICTORS))"
    told = subprocess.run(
        [sys.executable, "-c", asked],
        cwd=moved,
        env={"PATH": "", "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=True,
    )

    assert told.stdout.split(maxsplit=1) == [
        str(moved / "cyclegan_style" / "__init__.py"),
        "['ab', 'ba']\n",
    ]


def test_a_folder_with_files_is_left_alone(model, tmp_path, capsys):
    (tmp_path / "thesis.txt").write_text("years of work")

    assert main(["export", str(model), "--space", str(tmp_path)]) == 2
    assert "is not an empty folder" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_model_that_takes_no_pictures_has_no_page(tmp_path, capsys):
    (tmp_path / "config.yaml").write_text("task: noise\n")
    (tmp_path / "generator_b.safetensors").write_bytes(b"")

    assert main(["export", str(tmp_path), "--space", str(tmp_path / "space")]) == 2
    assert "out of noise" in capsys.readouterr().err
    assert not (tmp_path / "space").exists()
