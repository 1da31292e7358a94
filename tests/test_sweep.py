"""A run for every combination of values, ranked by what the runs' own files say."""

import json
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import yaml
from runs_in_tests import assert_equal_state, metrics_of
from tiny import SMALLEST_NETWORKS, forget_accelerator, make_pictures

from cyclegan_style.benchmarks.recipe_scores import Score
from cyclegan_style.benchmarks.several_runs import RunOutcome
from cyclegan_style.benchmarks.sweep_grid import Grid, file_name
from cyclegan_style.benchmarks.sweep_table import SweepTable, ranked
from cyclegan_style.commands.main import main
from cyclegan_style.commands.sweep import separate_swept, values_of
from cyclegan_style.commands.train import parse_training_options
from cyclegan_style.config import Config
from cyclegan_style.errors import UserError
from cyclegan_style.runs.tracking import Tracking

GRID = ("--train.seed=0,1", "--loss.cycle_a", "5,10")
RUNS = ["cycle_a-5_seed-0", "cycle_a-10_seed-0", "cycle_a-5_seed-1", "cycle_a-10_seed-1"]


@pytest.fixture(scope="module")
def config(tmp_path_factory) -> Path:
    """A file of the smallest networks, two steps and a score."""
    root = tmp_path_factory.mktemp("domains")
    for seed, name in enumerate(["trainA", "trainB", "testA", "testB"]):
        make_pictures(root / name, 3, seed=seed)
    sections: dict[str, dict[str, object]] = {"data": {"root": str(root)}}
    fields = SMALLEST_NETWORKS | {
        "train.max_steps": 2,
        "evaluation.every_steps": 2,
        "evaluation.metrics": ["swd"],
        "tracking.log_every_steps": 1,
        "tracking.sample_every_steps": 2,
        "tracking.sample_count": 1,
    }
    for name, value in fields.items():
        section, _, field = name.partition(".")
        if name not in ("data.a", "data.b"):
            sections.setdefault(section, {})[field] = value
    path = root / "tiny.yaml"
    path.write_text(yaml.safe_dump(sections))
    return path


def sweep(capsys, config: Path, folder: Path, *options: str) -> tuple[int, dict, str]:
    forget_accelerator()
    arguments = ["--config", str(config), "--output", str(folder), "--json", *options]
    status = main(["sweep", *arguments])
    captured = capsys.readouterr()
    last = captured.out.splitlines()[-1] if captured.out else "{}"
    return status, json.loads(last), captured.err


@pytest.fixture(scope="module")
def swept(config, tmp_path_factory) -> Path:
    """A sweep of two by two that nothing interrupted."""
    folder = tmp_path_factory.mktemp("swept")
    forget_accelerator()
    assert main(["sweep", "--config", str(config), "--output", str(folder), *GRID]) == 0
    return folder


def final_scores(run: Path) -> dict[str, float]:
    return {name: v for name, v in metrics_of(run)[-1].items() if name.startswith("swd_")}


def test_every_combination_is_a_run_and_configurations_are_ranked(capsys, config, swept):
    status, found, _ = sweep(capsys, config, swept, *GRID, "--score", "swd_ba")

    assert status == 0
    assert sorted(path.parent.name for path in swept.glob("*/metrics.jsonl")) == sorted(RUNS)
    for run in RUNS:
        fields = yaml.safe_load((swept / run / "config.yaml").read_text())
        wanted = f"cycle_a-{fields['loss']['cycle_a']:g}_seed-{fields['train']['seed']}"
        assert wanted == run
        assert found["scores"][run] == final_scores(swept / run)
    means = {
        weight: statistics.mean(
            final_scores(swept / f"cycle_a-{weight}_seed-{seed}")["swd_ba"] for seed in (0, 1)
        )
        for weight in (5, 10)
    }
    names = [f"cycle_a-{weight}" for weight in sorted(means, key=means.__getitem__)]
    assert [standing["name"] for standing in found["ranking"]] == names
    assert [standing["place"] for standing in found["ranking"]] == [1, 2]
    best = found["ranking"][0]["scores"]["swd_ba"]
    assert best["mean"] == pytest.approx(min(means.values()))
    values = [found["scores"][f"{names[0]}_seed-{seed}"]["swd_ba"] for seed in (0, 1)]
    assert best["deviation"] == pytest.approx(abs(values[0] - values[1]) / 2**0.5)

    document, page = ((swept / f"sweep.{kind}").read_text() for kind in ("md", "html"))
    for text in ("swd_ba ↓", " ± ", *RUNS):
        assert text in document
        assert text in page
    assert page.count("data:image/jpeg") == 4
    assert "http" not in page.replace("http-equiv", "")


def test_a_stopped_sweep_goes_on_to_the_same_bits(capsys, config, swept, tmp_path, monkeypatch):
    one_seed = ("--train.seed=0,", *GRID[1:])
    report = Tracking.metrics

    def report_and_stop(tracking: Tracking, step: int, values: dict[str, float]) -> None:
        report(tracking, step, values)
        if tracking.run.name == RUNS[1]:
            signal.raise_signal(signal.SIGTERM)

    with monkeypatch.context() as patched:
        patched.setattr(Tracking, "metrics", report_and_stop)
        status, stopped, said = sweep(capsys, config, tmp_path, *one_seed)

    assert (status, stopped["finished"], stopped["runs"]) == (0, 1, 2)
    assert "1 of 2 runs are over; run the same command again" in said
    written = {path: path.stat().st_mtime_ns for path in (tmp_path / RUNS[0]).rglob("*")}

    status, found, said = sweep(capsys, config, tmp_path, *one_seed)

    assert (status, found["finished"]) == (0, 2)
    assert "1 of 2 runs to train" in said
    assert "going on from step 1" in said
    assert written == {path: path.stat().st_mtime_ns for path in written}
    for run in RUNS[:2]:
        assert_equal_state(tmp_path / run, swept / run, 2)
        assert final_scores(tmp_path / run) == final_scores(swept / run)


def test_values_may_join_and_another_base_is_refused(capsys, config, tmp_path):
    fields = ("--loss.cycle_b=3", "--optimizer.learning_rate")
    status, _, _ = sweep(capsys, config, tmp_path, *fields, "2e-4,")
    assert status == 0

    status, found, said = sweep(capsys, config, tmp_path, *fields, "0.0002,1e30")

    assert status == 1, said
    assert "1 of 2 runs to train" in said
    assert found["failed"].keys() == {"learning_rate-1e+30"}
    assert "training diverged" in (tmp_path / "sweep.md").read_text()
    assert [standing["place"] for standing in found["ranking"]] == [1, None]

    for changed, complaint in (
        (
            ["--loss.cycle_b=4", "--optimizer.learning_rate=1,2"],
            "loss.cycle_b was 3.0 and is now 4.0",
        ),
        (["--loss.cycle_b=3", *GRID[:1]], "it was over optimizer.learning_rate and is now over"),
    ):
        status, _, said = sweep(capsys, config, tmp_path, *changed)
        assert status == 2
        assert complaint in said
        assert len(said.strip().splitlines()) == 1


@pytest.mark.slow
def test_two_runs_at_once(capsys, config, tmp_path):
    status, found, said = sweep(
        capsys, config, tmp_path, "--parallel=2", "--train.seed=0,1", "--tracking.log_every_steps=2"
    )

    assert (status, found["finished"]) == (0, 2), said
    for run in ("seed-0", "seed-1"):
        assert found["scores"][run] == final_scores(tmp_path / run)
        assert f"{run}: begins" in said
        assert f"{run}: finished after 2 steps" in said
        assert f"starting in {tmp_path / run}" in (tmp_path / f"{run}.log").read_text()
    assert "starting in" not in said


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_runs_at_once_stop_with_their_sweep_and_go_on(capsys, config, tmp_path, how):
    options = ("--train.seed=0,1", "--train.max_steps=400", "--train.steps=400")
    rare = ("--evaluation.every_steps=400", "--tracking.sample_every_steps=400")
    options += ("--checkpoint.every_steps=20", *rare)
    command = [sys.executable, "-m", "cyclegan_style", "sweep", "--config", str(config)]
    command += ["--output", str(tmp_path), "--parallel=2", *options]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    runs = [tmp_path / "seed-0", tmp_path / "seed-1"]
    wait_until(lambda: all(any(run.glob("checkpoints/step-*")) for run in runs))
    process.send_signal(how)
    said = process.communicate(timeout=60)[1]
    wait_until(lambda: not any(trains(run) for run in runs))

    if how == signal.SIGTERM:
        assert process.returncode == 0
        assert "0 of 2 runs are over; run the same command again" in said
    status, found, said = sweep(capsys, config, tmp_path, *options)
    assert (status, found["finished"]) == (0, 2)
    assert said.count("going on from step") == 2
    for run in runs:
        assert [line["step"] for line in metrics_of(run)] == list(range(1, 401))


def wait_until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def trains(run: Path) -> bool:
    """Whether a process holds the run's folder."""
    commands = (process.info["cmdline"] or [] for process in psutil.process_iter(["cmdline"]))
    return any(f"{run}.yaml" in command for command in commands)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--train.seed=3"], "give a field several values"),
        (["--train.seed=0,,1"], "nothing between two commas"),
        (["--loss.cycle_a=5,5.0"], "--loss.cycle_a: 5.0 is given twice"),
        (["--train.batch_size=1,many"], "batch_size"),
        (["--train.sede=1,2"], "sede"),
        (["--loss.cycle_a=1,-1", *GRID[:1]], "cycle_a--1_seed-0: loss.cycle_a must be at least 0"),
        (["--run.dir=a,b"], "--run.dir cannot be given here"),
        ([*GRID, "--score=kid_ab"], "--score: not kid_ab, but one of swd_ab, swd_ba"),
        ([*GRID, "--evaluation.every_steps=0"], "add --evaluation.every_steps"),
        (["--evaluation.metrics=swd,kid"], "metrics"),
    ],
)
def test_mistakes_are_told_in_one_line_before_anything_is_trained(
    capsys, config, tmp_path, options, complaint
):
    status, _, said = sweep(capsys, config, tmp_path, *options)

    assert status == 2
    assert complaint in said
    assert len(said.strip().splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_commas_in_brackets_and_in_names_of_files_part_no_values(tmp_path):
    (tmp_path / "a,b").mkdir()

    assert values_of("discriminator.augment", "[color,translation]") == ["[color,translation]"]
    assert values_of("discriminator.augment", "[],[color,cutout]") == ["[]", "[color,cutout]"]
    assert values_of("data.a", str(tmp_path / "a,b")) == [str(tmp_path / "a,b")]
    assert values_of("data.a", str(tmp_path / "?,b")) == [str(tmp_path / "?,b")]
    assert values_of("data.a", "one/,two/") == ["one/", "two/"]
    constant, swept = separate_swept(
        ["--train.seed", "0,", "--discriminator.augment", "[color,cutout]", "--data.flip=true"]
    )
    assert swept == {"train.seed": ["0"]}
    assert constant == ["--discriminator.augment=[color,cutout]", "--data.flip=true"]
    with pytest.raises(UserError, match="several values"):
        separate_swept(["--discriminator.augment", "[color,cutout]"])


def test_names_of_runs_are_safe_and_tell_values_apart():
    values = {
        "generator.channels": (8, 16),
        "discriminator.channels": (8,),
        "data.a": ("my photos/x", "my photos_x"),
        "discriminator.augment": ((), ("color", "cutout")),
    }
    grid = Grid(Config(), values)

    names = [run.name for run in grid.runs]
    assert len(set(names)) == 8
    assert all(set("/ ").isdisjoint(name) and len(name) < 200 for name in names)
    assert names[0].startswith("generator.channels-8_discriminator.channels-8_a-my-photos-x-")
    assert [file_name(value) for value in (0.0002, 5.0, True, None, (), ("color", "cutout"))] == [
        *("0.0002", "5", "true", "null", "empty", "color+cutout")
    ]
    assert grid.runs[-1].config.discriminator.augment == ("color", "cutout")


def test_without_a_chosen_score_configurations_are_ranked_by_their_mean_rank():
    grid = Grid(Config(), {"loss.cycle_a": (1.0, 2.0, 3.0)})
    table = SweepTable(grid, ["psnr_ab", "kid_ba"], None)
    for run, psnr, kid in zip(grid.runs, (20, 22, 22), (0.1, 0.3, 0.2), strict=True):
        scores = {"ab": {"psnr": Score(psnr, None)}, "ba": {"kid": Score(kid, None)}}
        table.outcomes[run.name] = RunOutcome(1, 1.0, scores)

    found = [(each.name[-1], each.place, each.mean_rank) for each in table.ranking()]

    assert ranked({"x": 20, "y": 22, "z": 22}, "psnr_ab") == {"x": 3, "y": 1.5, "z": 1.5}
    assert found == [("3", 1, 1.75), ("1", 2, 2.0), ("2", 3, 2.25)]


def test_wandb_gets_the_same_grid_in_words_that_train_takes(capsys, config, tmp_path):
    file = tmp_path / "sweep.yaml"
    lists = "--discriminator.augment=[],[color,cutout]"
    status, found, _ = sweep(
        capsys, config, tmp_path / "out", *GRID, lists, "--data.flip=false", "--wandb", str(file)
    )

    assert (status, found) == (0, {"file": str(file), "runs": 8})
    assert not (tmp_path / "out").exists()
    written = yaml.safe_load(file.read_text())
    assert written["method"] == "grid"
    assert written["metric"] == {"name": "swd_ab", "goal": "minimize"}
    parameters = {name: each["values"] for name, each in written["parameters"].items()}
    assert parameters == {
        "discriminator.augment": ["[]", "[color,cutout]"],
        "loss.cycle_a": [5, 10],
        "train.seed": [0, 1],
    }
    command = written["command"]
    assert (command[0], command[-1]) == ("${env}", "${args}")
    options = command[command.index("train") + 1 : -1]
    chosen = [f"--{name}={values[-1]}" for name, values in parameters.items()]
    _, read = parse_training_options([*options, *chosen])
    assert (read.loss.cycle_a, read.train.seed, read.data.flip) == (10, 1, False)
    assert read.discriminator.augment == ("color", "cutout")
    assert (read.tracking.backend, read.train.max_steps) == ("wandb", 2)
