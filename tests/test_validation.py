"""Scores during training: what they are, that they leave no trace, what is kept because of them."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from runs_in_tests import assert_equal_state, metrics_of, run_training
from safetensors.torch import load_file
from small_network import SmallNetwork
from tiny import make_pictures

from cyclegan_style.applying.predictor import Predictor
from cyclegan_style.config import Config, EvaluationConfig
from cyclegan_style.data.training_data import spread
from cyclegan_style.errors import UserError
from cyclegan_style.evaluation import evaluator
from cyclegan_style.evaluation.model import evaluate_model
from cyclegan_style.evaluation.scores import EvaluationOptions
from cyclegan_style.features.inception import INCEPTION
from cyclegan_style.models.model_files import load_generators
from cyclegan_style.runs.best import BestScores
from cyclegan_style.training.config_checks import ConfigError, validate
from cyclegan_style.training.demo import Score, flat_scores, score_table

EVERYTHING_RANDOM = {
    "train__pool_size": 2,
    "train__ema_decay": 0.9,
    "generator__dropout": True,
    "discriminator__augment": ("color", "translation", "cutout"),
}


@pytest.fixture
def evaluated(configured, pictures):
    """A configuration whose run is scored on test pictures at every second step."""

    def build(name: str = "run", **fields) -> Config:
        usual = {
            "data__test_a": str(pictures / "testA"),
            "data__test_b": str(pictures / "testB"),
            "data__resize": "none",
            "evaluation__every_steps": 2,
            "evaluation__metrics": ("swd",),
        }
        return configured(name, **(usual | fields))

    return build


def test_evaluation_leaves_no_trace_in_what_is_trained(configured, evaluated):
    unwatched = configured("unwatched", data__resize="none", **EVERYTHING_RANDOM)
    watched = evaluated("watched", **EVERYTHING_RANDOM)

    for config in (unwatched, watched):
        run_training(config)

    assert_equal_state(Path(unwatched.run.dir), Path(watched.run.dir), step=6)


def predictors_of(run: Path) -> dict[str, Predictor]:
    """The run's generators in float32, whatever is faster here."""
    cpu = torch.device("cpu")
    generators = load_generators(str(run))
    return {name: Predictor(each, cpu, torch.float32) for name, each in generators.items()}


def test_scores_are_those_of_the_evaluate_command_for_the_model_of_that_step(
    evaluated, pictures, tmp_path, monkeypatch
):
    weights = tmp_path / "small.pth"
    torch.save({}, weights)
    small = replace(INCEPTION, build=lambda state: SmallNetwork())
    monkeypatch.setattr(evaluator, "INCEPTION", small)
    config = evaluated(
        evaluation__metrics=("swd", "fid"),
        evaluation__weights=str(weights),
        train__ema_decay=0.5,
        train__max_steps=2,
    )
    run_training(config)

    run = Path(config.run.dir)
    line = metrics_of(run)[-1]
    options = EvaluationOptions(("swd", "fid"), weights=weights, intervals=False, cache=False)
    a, b = (str(pictures / name) for name in ("testA", "testB"))
    scores = evaluate_model(predictors_of(run), a, b, options)
    for direction in ("ab", "ba"):
        for name, value in scores[direction].values.items():
            assert line[f"{name}_{direction}"] == pytest.approx(value, rel=1e-5)


@pytest.mark.parametrize(("field", "metric"), [("weights", "fid"), ("lpips_weights", "lpips")])
def test_missing_weights_are_named_by_their_field(evaluated, field, metric):
    config = evaluated(evaluation__metrics=(metric,), **{f"evaluation__{field}": "no.pth"})

    with pytest.raises(UserError, match=rf"^evaluation\.{field}: no\.pth: no such file$"):
        run_training(config)


def test_raw_weights_are_scored_beside_the_average(evaluated):
    averaged = evaluated("averaged", train__ema_decay=0.9, train__seed=3)
    both = evaluated("both", train__ema_decay=0.9, train__seed=3, evaluation__raw_weights=True)
    plain = evaluated("plain", train__seed=3)
    averages, lines, raw = (metrics_of(run_training(each).run) for each in (averaged, both, plain))

    assert len(lines) >= 3
    for average, line, alone in zip(averages, lines, raw, strict=True):
        for name in ("swd_ab", "swd_ba"):
            assert line[name] == average[name]
            assert line[f"{name}_raw"] == alone[name]
    assert lines[-1]["swd_ab"] != lines[-1]["swd_ab_raw"]
    folders = {path.name for path in (Path(both.run.dir) / "best").iterdir()}
    assert folders == {"swd_ab", "swd_ba"}
    with pytest.raises(ConfigError, match=r"raw_weights needs train\.ema_decay"):
        validate(evaluated(evaluation__raw_weights=True))


def test_usual_scores_need_nothing_and_are_those_of_the_command(
    evaluated, pictures, tmp_path, monkeypatch
):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:1")
    usual = EvaluationConfig().metrics
    run = run_training(evaluated(train__max_steps=2, evaluation__metrics=usual)).run

    line = metrics_of(run)[-1]
    options = EvaluationOptions(("fd", "kid", "squeezenet_distance"), intervals=False, cache=False)
    a, b = (str(pictures / name) for name in ("testA", "testB"))
    scores = evaluate_model(predictors_of(run), a, b, options)
    for direction in ("ab", "ba"):
        found = scores[direction].values
        assert 0 < found["squeezenet_distance"] < 2
        for name in ("fd_squeezenet", "kid"):
            # With two pictures a kernel distance is a small difference of large sums.
            assert line[f"{name}_{direction}"] == pytest.approx(found[name], rel=1e-3)
            assert (run / "best" / f"{name}_{direction}" / "score.json").is_file()


def test_the_best_model_of_each_score_is_kept_with_its_checkpoint(evaluated):
    config = evaluated(
        train__max_steps=12, checkpoint__every_steps=2, checkpoint__keep=1, train__seed=3
    )
    run_training(config)

    run = Path(config.run.dir)
    lines = metrics_of(run)
    best_steps = set()
    for name in ("swd_ab", "swd_ba"):
        best = min(lines, key=lambda line: line[name])
        assert json.loads((run / "best" / name / "score.json").read_text()) == {
            name: best[name],
            "step": best["step"],
        }
        kept = load_file(run / "best" / name / "generator_ab.safetensors")
        checkpoint = load_file(
            run / f"checkpoints/step-{best['step']:08d}" / "generators.safetensors"
        )
        assert all((checkpoint[f"ab.{key}"] == value).all() for key, value in kept.items())
        best_steps.add(best["step"])
    assert best_steps != {12}, "the seed should have its best before the end"
    names = {path.name for path in (run / "checkpoints").iterdir()}
    assert names == {f"step-{step:08d}" for step in best_steps | {12}}


def test_an_interrupted_run_knows_its_best_scores(evaluated):
    whole, parts = evaluated("whole", train__seed=3), evaluated("parts", train__seed=3)
    run_training(whole)
    run_training(evaluated("parts", train__seed=3, train__max_steps=4))
    run_training(parts)

    runs = [Path(config.run.dir) for config in (whole, parts)]
    states = [
        json.loads((run / "checkpoints/step-00000006/state.json").read_text())["scores"]
        for run in runs
    ]
    assert states[0] == states[1]
    for name in states[0]["best"]:
        files = [run / "best" / name / "generator_ba.safetensors" for run in runs]
        assert files[0].read_bytes() == files[1].read_bytes()


def test_a_run_without_progress_stops_early_and_goes_on_with_more_patience(evaluated, capsys):
    standing_still = {"optimizer__learning_rate": 0.0, "train__max_steps": 40}

    first = run_training(evaluated(evaluation__patience=2, **standing_still))
    again = run_training(evaluated(evaluation__patience=2, **standing_still))
    longer = run_training(evaluated(evaluation__patience=4, **standing_still))

    # The first evaluation has the best scores, all others the same.
    assert (first.step, again.step, longer.step) == (6, 6, 10)
    assert "no best score in 2 evaluations" in capsys.readouterr().err
    assert [line["step"] for line in metrics_of(first.run)] == [2, 4, 6, 8, 10]
    assert (first.run / "samples/step-00000006.png").exists()


def test_scores_made_in_another_way_are_not_compared(evaluated, pictures, capsys):
    run_training(evaluated(train__max_steps=2))
    other = evaluated(data__test_b=str(pictures / "trainB"), train__max_steps=4)

    run_training(other)

    assert "made in another way" in capsys.readouterr().err
    run = Path(other.run.dir)
    state = json.loads((run / "checkpoints/step-00000004/state.json").read_text())["scores"]
    assert {best["step"] for best in state["best"].values()} == {4}


def test_best_scores_outlive_a_part_without_evaluation(evaluated):
    run_training(evaluated(train__max_steps=2))
    run = run_training(evaluated(train__max_steps=4, evaluation__every_steps=0)).run
    run_training(evaluated())

    state = json.loads((run / "checkpoints/step-00000006/state.json").read_text())["scores"]
    lines = [line for line in metrics_of(run) if "swd_ab" in line]
    assert [line["step"] for line in lines] == [2, 6]
    assert state["best"]["swd_ab"]["value"] == min(line["swd_ab"] for line in lines)


def test_too_few_test_pictures_are_refused_before_training(evaluated, tmp_path):
    config = evaluated(data__test_a=str(make_pictures(tmp_path / "one", 1)))

    with pytest.raises(UserError, match=r"data\.test_a: .*one: 1 readable image"):
        run_training(config)
    assert not (Path(config.run.dir) / "checkpoints").exists()


def test_more_or_less_is_better_by_the_metric():
    scores = BestScores({})

    assert scores.update(1, {"fid_ab": 9.0, "psnr_ab": 20.0, "structure_ab": 0.5}) == [
        "fid_ab",
        "psnr_ab",
    ]
    assert scores.update(2, {"fid_ab": 10.0, "psnr_ab": 21.0, "structure_ab": 0.9}) == ["psnr_ab"]
    assert scores.update(3, {"fid_ab": math.nan, "psnr_ab": 21.0}) == []
    assert scores.evaluations_without == 1
    assert scores.update(3, {"sharpness_ab": 5.0}) == []
    assert scores.update(4, {"fid_ab": 8.0, "psnr_ab": -math.inf}) == ["fid_ab"]
    assert (scores.best["fid_ab"].step, scores.best["psnr_ab"].step) == (4, 2)
    assert scores.update(5, {"fd_squeezenet_ab": 3.0}) == ["fd_squeezenet_ab"]
    assert scores.update(6, {"fd_squeezenet_ab": 4.0, "squeezenet_distance_ab": 0.1}) == []


def test_scores_against_the_truth_have_names_and_columns():
    scores = {"ab": {"model": Score(20.5, 0.75, 0.875), "nothing": Score(17.0, 0.5, 1.0)}}

    assert flat_scores(scores) == {"psnr_ab": 20.5, "ssim_ab": 0.75, "sharpness_ab": 0.875}
    head, *rows = score_table(scores)
    assert rows[0].split()[-3:] == ["20.50", "0.750", "0.875"]
    for column in ("PSNR", "SSIM", "Sharpness"):
        end = head.index(column) + len(column)
        assert all(row[end - 1].isdigit() and row[end : end + 1] in ("", " ") for row in rows)


def test_best_scores_stay_where_another_network_joins_and_go_where_it_is_replaced():
    def made(definition: str, weights: str | None) -> BestScores:
        return BestScores({"definition": definition, "weights": weights, "images_a": 5})

    without = made("pytorch-fid", None)
    without.update(1, {"swd_ab": 5.0})
    joined = made("squeezenet", "s")
    assert joined.restore(without.state())
    assert joined.update(2, {"swd_ab": 6.0, "kid_ab": 0.1}) == ["kid_ab"]
    left = made("pytorch-fid", None)
    assert left.restore(joined.state())
    assert set(left.best) == {"swd_ab", "kid_ab"}

    # The kernel distance that is still known is of other features.
    replaced = made("pytorch-fid", "p")
    assert not replaced.restore(left.state())
    assert replaced.best == {}
    assert not BestScores({"definition": "x", "weights": None, "images_a": 6}).restore(left.state())


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"evaluation__patience": 0}, r"evaluation\.patience must be at least 1"),
        ({"evaluation__patience": 2, "evaluation__every_steps": 0}, r"needs evaluation\.every"),
        ({"evaluation__metrics": ()}, r"evaluation\.metrics must name at least one"),
        ({"evaluation__max_images": 1}, r"evaluation\.max_images must be at least 2"),
    ],
)
def test_fields_that_make_no_sense_are_named(evaluated, fields, message):
    with pytest.raises(ConfigError, match=message):
        validate(evaluated(**fields))


def test_chosen_pictures_are_spread_over_all():
    assert spread("abcdefghij", 3) == ["a", "d", "g"]
    assert spread("ab", 5) == ["a", "b"]
