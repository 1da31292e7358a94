"""Ways to change a style are compared on pictures whose truth is known."""

import runpy
from pathlib import Path

import numpy as np
import pytest
from tiny import tiny_config

from cyclegan_style.benchmarks.methods import BEGIN, END, with_colors_of, write_tables
from cyclegan_style.config import to_yaml
from cyclegan_style.data.images import read_image
from cyclegan_style.errors import UserError
from cyclegan_style.models.export import export_model
from cyclegan_style.synthetic import DEMO_COUNTS
from cyclegan_style.training.cyclegan import build_generators

SCRIPT = Path(__file__).parents[1] / "scripts" / "compare.py"


@pytest.fixture
def compare(tmp_path, monkeypatch):
    """Run the script on a demo of three pictures with a model that changes nothing much."""
    monkeypatch.setenv("CYCLEGAN_STYLE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setitem(DEMO_COUNTS, "test", 3)
    config = tiny_config()
    export_model(tmp_path / "model", build_generators(config), to_yaml(config))
    script = runpy.run_path(str(SCRIPT))["main"]

    def run(*options: str, model: str = "model") -> int:
        folders = ["--model", str(tmp_path / model), "--output", str(tmp_path / "docs")]
        return script([*folders, "--steps", "2", *options])

    return run


def test_the_tables_have_every_method_and_tell_the_truth_apart(compare, tmp_path):
    assert compare() == 0

    text = (tmp_path / "docs" / "comparison.md").read_text(encoding="utf-8")
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")]
    tables = [rows[1:7], rows[8:14]]
    for table in tables:
        nothing, one_picture, told, stylized, model, truth = table
        assert (nothing[7], truth[3]) == ("1.000", "1.000")  # structure kept, and SSIM
        assert float(told[2]) > max(float(nothing[2]), float(one_picture[2]))  # PSNR
        assert stylized[0] == "`stylize`" and model[0] == "CycleGAN"
        assert all(float(row[4]) > 0 for row in table)
    assert tables[0][3][1] == "one painting" and tables[1][3][1] == "one photo"
    assert "3 test pictures" in text
    strip = read_image(tmp_path / "docs" / "comparison.jpg")
    assert strip.shape[:2] == (20 + 4 * 128 + 5 * 4, 6 * 128 + 7 * 4)


def test_mistakes_are_told_in_a_line(compare, capsys):
    assert compare(model="nowhere") == 2
    assert "accelerate launch train.py" in capsys.readouterr().err
    assert compare("--pictures", "2") == 2
    assert capsys.readouterr().err == "error: --pictures must be at least 3, not 2\n"


def test_colors_of_one_picture_are_taken_over():
    chance = np.random.default_rng(0)
    picture, style = (chance.integers(90, 90 + wide, (20, 20, 3)) for wide in (20, 60))

    changed = with_colors_of(picture.astype(np.uint8), style.astype(np.uint8))

    assert changed.mean((0, 1)) == pytest.approx(style.mean((0, 1)), abs=0.5)
    assert changed.std((0, 1)) == pytest.approx(style.std((0, 1)), abs=0.5)


def test_words_around_the_tables_stay(tmp_path):
    document = tmp_path / "comparison.md"
    document.write_text(f"before\n{BEGIN}old{END}\nafter\n", encoding="utf-8")

    write_tables(document, r"new \1")

    assert document.read_text(encoding="utf-8") == f"before\n{BEGIN}\n\nnew \\1\n\n{END}\nafter\n"
    document.write_text("no marks", encoding="utf-8")
    with pytest.raises(UserError, match="to write between"):
        write_tables(document, "new")
