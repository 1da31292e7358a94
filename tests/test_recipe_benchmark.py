"""Recipes are trained for the same time, scored alike, and told apart only with reason."""

import json
import math
import signal
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import yaml
from tiny import SMALLEST_NETWORKS, forget_accelerator, make_pictures

from cyclegan_style.benchmarks.recipe_report import difference_cell, end_of
from cyclegan_style.benchmarks.recipe_scores import (
    Noting,
    Score,
    scores_from_json,
    scores_to_json,
    sign_of,
)
from cyclegan_style.benchmarks.recipe_table import RecipeTable, difference_of
from cyclegan_style.benchmarks.recipes import Speed, measure_speed
from cyclegan_style.benchmarks.several_runs import RunOutcome
from cyclegan_style.benchmarks.tables import Cell, html, markdown
from cyclegan_style.commands.main import main
from cyclegan_style.config import Config
from cyclegan_style.data.images import read_image
from cyclegan_style.evaluation.model import structure_similarity
from cyclegan_style.runs.tracking import Tracking

SPEED = Speed(start_seconds=0.1, step_seconds=0.09, device="a machine")
HALF_SECOND = ("--minutes", str(0.5 / 60))
STEPS = 4
"""In half a second at that speed."""


def recipe_file(path: Path, **fields: object) -> Path:
    """A file with the smallest networks and other values of fields such as ``train__pool_size``."""
    sections: dict[str, dict[str, object]] = {}
    named = {name.replace("__", "."): value for name, value in fields.items()}
    for name, value in (SMALLEST_NETWORKS | {"tracking.log_every_steps": 2} | named).items():
        section, _, field = name.partition(".")
        sections.setdefault(section, {})[field] = value
    path.write_text(yaml.safe_dump(sections))
    return path


@pytest.fixture(scope="module")
def domains(tmp_path_factory) -> list[str]:
    """Options of two domains with test pictures of their own."""
    root = tmp_path_factory.mktemp("domains")
    for seed, (name, count) in enumerate(
        [("trainA", 5), ("trainB", 3), ("testA", 4), ("testB", 4)]
    ):
        make_pictures(root / name, count, seed=seed)
    return [f"--data.root={root}", "--data.load_size=32", "--data.crop_size=24"]


@pytest.fixture(scope="module")
def recipes(tmp_path_factory) -> tuple[Path, Path]:
    """Two recipes, one of which would be scored and stopped early by its own choice."""
    folder = tmp_path_factory.mktemp("recipes")
    plain = recipe_file(folder / "plain.yaml")
    other = recipe_file(
        folder / "averaged.yaml",
        train__ema_decay=0.5,
        train__max_steps=2,
        evaluation__every_steps=1,
        evaluation__patience=1,
    )
    return plain, other


def run_benchmark(capsys, recipes, folder: Path, *options: str) -> tuple[int, dict, str]:
    forget_accelerator()
    named = ",".join(map(str, recipes))
    arguments = ["--recipes", named, "--output", str(folder), "--json", *options]
    status = main(["benchmark", "recipes", *arguments])
    captured = capsys.readouterr()
    last = captured.out.splitlines()[-1] if captured.out else "{}"
    return status, json.loads(last), captured.err


def test_interrupted_and_resumed_recipes_end_with_a_table(
    tmp_path, capsys, recipes, domains, monkeypatch
):
    folder = tmp_path / "out"
    for name in (
        "plain",
        "averaged",
        "wild",
    ):  # that what is trained does not depend on the machine
        (folder / name).mkdir(parents=True)
        (folder / name / "speed.json").write_text(json.dumps(asdict(SPEED)))
    report = Tracking.metrics

    def report_and_stop(tracking: Tracking, step: int, values: dict[str, float]) -> None:
        report(tracking, step, values)
        if tracking.run.parent.name == "averaged":
            signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(Tracking, "metrics", report_and_stop)
    status, stopped, said = run_benchmark(
        capsys, recipes, folder, *HALF_SECOND, "--seeds", "1", *domains
    )
    monkeypatch.setattr(Tracking, "metrics", report)

    assert (status, stopped["finished"], stopped["runs"]) == (0, 1, 2)
    assert "stopped by SIGTERM after step 1 of" in said
    first = folder / "plain" / "seed-0"
    written = {path: path.stat().st_mtime_ns for path in first.rglob("*") if path.is_file()}
    begun = (folder / "averaged" / "seed-0" / "metrics.jsonl").read_text()

    wild = recipe_file(tmp_path / "wild.yaml", optimizer__learning_rate=1e30)
    status, found, said = run_benchmark(
        capsys, [*recipes, wild], folder, *HALF_SECOND, "--seeds", "2", *domains
    )

    assert "going on from step 1" in said
    assert (folder / "averaged" / "seed-0" / "metrics.jsonl").read_text().startswith(begun)
    assert (status, found["finished"], found["runs"]) == (1, 6, 6)
    assert found["failed"].keys() == {"wild, seed 0", "wild, seed 1"}
    assert all(why.startswith("training diverged") for why in found["failed"].values())
    assert found["recipes"]["wild"]["scores"] == {"ab": {}, "ba": {}}
    for path, time in written.items():
        assert path.stat().st_mtime_ns == time or path.name == ".lock"
    for name in ("plain", "averaged"):
        assert found["recipes"][name]["steps"] == [STEPS, STEPS]
        for seed in (0, 1):
            run = folder / name / f"seed-{seed}"
            config = yaml.safe_load((run / "config.yaml").read_text())
            assert (config["train"]["seed"], config["train"]["steps"]) == (seed, STEPS)
            assert (run / "model" / "generator_ab.safetensors").exists()
            assert json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])["step"] == STEPS
    # What the numbers are: the mean over seeds of what each run's file says.
    values = [
        json.loads((folder / "plain" / f"seed-{seed}" / "scores.json").read_text())["scores"]
        for seed in (0, 1)
    ]
    kids = [each["ab"]["kid"]["value"] for each in values]
    assert found["recipes"]["plain"]["scores"]["ab"]["kid"]["value"] == pytest.approx(np.mean(kids))
    assert {"fd_squeezenet", "kid", "swd", "structure"} == values[0]["ba"].keys()
    assert found["yardsticks"]["doing nothing"]["ab"]["structure"]["value"] == pytest.approx(1)
    assert "structure" not in found["yardsticks"]["real pictures"]["ab"]
    assert "against_first" not in found["recipes"]["plain"]
    words = {
        each["verdict"] for each in found["recipes"]["averaged"]["against_first"]["ab"].values()
    }
    assert words <= {"better", "worse", "not told apart"}
    document, page = ((folder / f"recipes.{kind}").read_text() for kind in ("md", "html"))
    for title in (
        "plain",
        "averaged",
        "doing nothing",
        "real pictures",
        "diverged",
        "train.ema_decay",
    ):
        assert title in document
        assert title in page
    assert "](recipes-ab.png)" in document
    assert page.count("data:image/jpeg") == 2
    assert "http" not in page.replace("http-equiv", "")
    # Pictures of 24 pixels are enlarged; input and two recipes, since the truth is not known.
    assert read_image(folder / "recipes-ba.png").shape[1] == 3 * 144 + 4 * 4

    for changed, complaint in (
        (("--minutes", "0.5", *domains), "--minutes was 0.00833333 and is now 0.5"),
        (
            (*HALF_SECOND, *domains, "--data.flip=false"),
            "plain: data.flip was True and is now False",
        ),
    ):
        status, _, said = run_benchmark(capsys, recipes, folder, *changed)
        assert status == 2
        assert complaint in said
        assert len(said.strip().splitlines()) == 1


def test_the_warm_up_takes_steps_across_epochs(configured):
    config = configured(train__accumulation_steps=2)

    speed = measure_speed(config, minutes=1e-6)

    assert speed.step_seconds > 0
    assert speed.start_seconds >= 0
    assert Speed(1.0, 0.1, "").steps_within(0.95) < 1
    assert Speed(1.0, 0.1, "").steps_within(2.05) == 10


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--minutes", "0"], "minutes"),
        (["--minutes", "inf"], "--minutes: inf is not a duration"),
        (["--seeds", "0"], "seeds"),
        (["--train.seed", "3"], "--train.seed cannot be given here: --seeds says"),
        (["--run.dir=x"], "--run.dir cannot be given here"),
        (["--train.batch_size", "none"], "plain.yaml"),
        (["--data.a=null"], "data.a is missing"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(tmp_path, capsys, recipes, options, complaint):
    status, _, said = run_benchmark(capsys, recipes[:1], tmp_path / "out", *options)

    assert status == 2
    assert complaint in said
    assert len(said.strip().splitlines()) == 1


def test_recipes_that_cannot_be_compared_are_refused(tmp_path, capsys, recipes, domains):
    plain, _ = recipes
    larger = recipe_file(tmp_path / "larger.yaml", data__crop_size=28)
    (tmp_path / "twice").mkdir()
    namesake = recipe_file(tmp_path / "twice" / "plain.yaml")

    for files, complaint in (
        ([plain, larger], "plain and larger differ in data.crop_size (24 and 28)"),
        ([plain, namesake], "two are called plain"),
        ([plain, tmp_path / "none.yaml"], "none.yaml: no such file"),
    ):
        status, _, said = run_benchmark(capsys, files, tmp_path / "out", *domains[:1])
        assert status == 2
        assert complaint in said


def test_the_interval_of_a_difference_is_that_of_the_paired_t_test():
    from scipy import stats  # which takes a second to import, in every worker

    chance = np.random.default_rng(0)
    for shift in (0.0, 0.5, 3.0):
        first = chance.normal(size=5)
        second = first + shift + 0.3 * chance.normal(size=5)
        test = stats.ttest_rel(second, first)
        expected = test.confidence_interval(0.95)

        found = difference_of(list(second - first), "kid")

        assert found.interval == pytest.approx((expected.low, expected.high), rel=1e-12)
        assert (found.verdict == "worse") == (test.pvalue < 0.05 and shift > 0)


def test_words_follow_what_is_better_of_a_score():
    gain, loss, nothing = [1.0, 1.1, 0.9], [-1.0, -1.1, -0.9], [1.0, -1.1, 0.2]

    assert [difference_of(each, "kid").verdict for each in (gain, loss, nothing)] == [
        "worse",
        "better",
        "not told apart",
    ]
    assert difference_of(gain, "psnr").verdict == "better"
    assert difference_of(loss, "structure").verdict == "worse"
    assert difference_of([0.0, 0.0], "ssim").verdict == "not told apart"
    for score in ("sharpness", "grid"):
        assert sign_of(score) == 0
        assert difference_of(gain, score).verdict == ""
    alone = difference_of([1.0], "kid")
    assert (alone.value, alone.interval, alone.verdict) == (1.0, None, "")


def table_of(values: dict[str, dict[int, float | None]]) -> RecipeTable:
    """A table of ``kid`` from A to B by recipe and seed; None is a run without scores."""
    table = RecipeTable(dict.fromkeys(values, Config()), 1.0, 3, {}, "a machine")
    for name, by_seed in values.items():
        for seed, value in by_seed.items():
            scores = {} if value is None else {"ab": {"kid": Score(value, (0.0, 1.0))}}
            failure = "training diverged" if value is None else None
            table.outcomes[name][seed] = RunOutcome(10, 60.0, scores, failure)
    return table


def test_only_seeds_that_both_have_are_paired():
    table = table_of({"one": {0: 1.0, 1: 2.0, 2: 6.0}, "two": {0: 2.0, 1: 3.5, 2: None}})

    estimate = table.estimate("one", "ab", "kid")
    half = 4.302653 * np.std([1, 2, 6], ddof=1) / math.sqrt(3)  # Student's of two degrees
    assert estimate.value == 3
    assert estimate.interval == pytest.approx((3 - half, 3 + half), rel=1e-6)
    assert table.difference("two", "ab", "kid").value == pytest.approx(1.25)
    assert table.failures == {"two, seed 2": "training diverged"}
    assert (table.finished, table.wanted, table.first) == (6, 6, "one")
    assert table.estimate("one", "ba", "kid") is None


def test_one_seed_has_the_interval_of_the_score_itself():
    found = table_of({"one": {1: 0.5}}).estimate("one", "ab", "kid")

    assert (found.value, found.interval, found.seeds) == (0.5, (0.0, 1.0), 1)


def test_scores_are_read_as_they_were_written():
    scores = {"ab": {"kid": Score(0.25, (0.1, 0.4)), "grid": Score(1.0, None)}, "ba": {}}

    assert scores_from_json(json.loads(json.dumps(scores_to_json(scores)))) == scores


def test_cells_end_neither_a_table_of_markdown_nor_the_page():
    rows = [[Cell("a|b"), Cell("<script>")], [Cell("c\nd"), Cell("−1", "better")]]

    assert markdown(rows) == "| a\\|b | <script> |\n|---|---|\n| c d | **−1** |"
    assert "<th>&lt;script&gt;</th>" in html(rows)
    assert '<td>c<br>d</td><td class="better">−1</td>' in html(rows)
    assert (end_of("averaged", 8), end_of("averaged", 5)) == ("averaged", "…aged")
    found = difference_of([-0.5, -0.52, -0.48], "kid")
    assert difference_cell("kid", found).text == "−0.500\n(−0.550 … −0.450)\nbetter"


def test_structure_is_kept_by_other_colours_and_lost_by_none():
    pixels = np.random.default_rng(0).integers(0, 256, (32, 40, 3), dtype=np.uint8)
    flat = np.full_like(pixels, 90)

    assert structure_similarity(pixels, pixels) == pytest.approx(1)
    assert structure_similarity(pixels, 255 - pixels) == pytest.approx(1, abs=1e-5)
    assert abs(structure_similarity(pixels, flat)) < 0.05
    assert structure_similarity(flat, flat) == pytest.approx(1)


def test_what_is_noted_of_pictures_whose_truth_is_known():
    chance = np.random.default_rng(0)
    truths = {Path(name): chance.integers(0, 200, (64, 64, 3)).astype(np.uint8) for name in "ab"}
    noting = Noting(lambda path: truths[path] + np.uint8(16), lambda path: truths[path])
    for path in truths:
        noting(path)

    scores = noting.scores()

    assert scores["psnr"].value == pytest.approx(20 * math.log10(255 / 16), rel=1e-5)
    assert scores["psnr"].interval is not None
    assert scores["sharpness"].value == pytest.approx(1, rel=1e-5)
    assert scores["grid"].value == pytest.approx(1, abs=0.4)
    small = Noting(lambda path: np.zeros((63, 80, 3), np.uint8))
    small(Path("c"))
    assert small.scores() == {}
