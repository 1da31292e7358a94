"""``evaluate`` and its parts: scores of folders, models and pairs, and files of statistics."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from accelerate import PartialState
from jsonargparse import ArgumentParser, Namespace

from cyclegan_style.applying.number_format import choose_dtype
from cyclegan_style.applying.predictor import Predictor
from cyclegan_style.commands.parser import (
    Command,
    add_style_option,
    command_parser,
    print_result,
    run_named,
)
from cyclegan_style.data.levels import Range, is_range
from cyclegan_style.errors import UserError
from cyclegan_style.evaluation.collect import BATCH_SIZE
from cyclegan_style.evaluation.definitions import DEFINITIONS
from cyclegan_style.evaluation.folders import evaluate_folders, statistics_of
from cyclegan_style.evaluation.model import evaluate_model
from cyclegan_style.evaluation.pairs import METRICS as PAIRED_METRICS
from cyclegan_style.evaluation.pairs import evaluate_pairs
from cyclegan_style.evaluation.ranking import Ranking, rank_folders, rank_models
from cyclegan_style.evaluation.scores import METRICS, OF_TRANSLATIONS, EvaluationOptions, Scores
from cyclegan_style.evaluation.statistics import write_statistics
from cyclegan_style.models.model_files import load_generators
from cyclegan_style.models.styles import with_strength, with_style
from cyclegan_style.synthetic import DEMO_SPECS
from cyclegan_style.system.hardware import choose_device, join_processes

DEMOS = ", ".join(DEMO_SPECS)


def evaluate_command(arguments: list[str]) -> int:
    """Run one part; exit status 1 if pictures could not be read."""
    parts: dict[str, tuple[Command, str]] = {
        "folders": (folders_command, "scores of one folder of pictures against another"),
        "model": (model_command, "scores of a trained model, or a ranking of several"),
        "compare": (compare_command, "rank several folders by one metric"),
        "paired": (
            paired_command,
            "PSNR, SSIM, sharpness and distances of pictures whose truth is known",
        ),
        "stats": (stats_command, "write the statistics of a folder, to be used in its place"),
    }
    join_processes()
    return run_named("cyclegan-style evaluate", "part", parts, arguments)


def folders_command(arguments: list[str]) -> int:
    """``evaluate folders``."""
    parser = command_parser(
        "evaluate folders", "Score the pictures of one folder against those of another."
    )
    parser.add_argument("--real", required=True, help=f"folder, glob, .npz or {DEMOS}")
    parser.add_argument("--fake", required=True, help="the same, of the pictures to be judged")
    _add_options(parser)
    options = parser.parse_args(arguments)
    scores = evaluate_folders(
        options.real, options.fake, _evaluation_options(options, options.real, options.fake)
    )
    _show(scores.to_dict(), options.json)
    return 1 if scores.failed else 0


def model_command(arguments: list[str]) -> int:
    """``evaluate model``."""
    parser = command_parser(
        "evaluate model", "Translate A and B with a model and score both directions."
    )
    kinds = "run folder, exported model, Hub repository or a generator file of the reference"
    parser.add_argument("--model", help=kinds)
    parser.add_argument("--compare", nargs="+", help="several models, to be ranked by one metric")
    parser.add_argument("--a", required=True, help=f"pictures of domain A: folder, glob or {DEMOS}")
    parser.add_argument("--b", required=True, help="pictures of domain B")
    add_style_option(parser)
    _add_options(parser, metrics=(*METRICS, *OF_TRANSLATIONS))
    _add_lpips_weights(parser)
    options = parser.parse_args(arguments)
    if (options.model is None) == (options.compare is None):
        raise UserError("give either --model or, to rank several, --compare")
    if options.compare:
        ranked = _evaluation_options(options, options.a, options.b, ranked=True)
        models = {
            model: load_both(model, options.style, options.strength) for model in options.compare
        }
        rankings = rank_models(models, options.a, options.b, ranked)
        shown = {name: _shown(ranking, options.json) for name, ranking in rankings.items()}
        _show(_with_shared(shown, rankings, options.json), options.json)
        return 1 if any(ranking.failed for ranking in rankings.values()) else 0
    evaluation_options = _evaluation_options(options, options.a, options.b)
    scores = evaluate_model(
        load_both(options.model, options.style, options.strength),
        options.a,
        options.b,
        evaluation_options,
    )
    both = {name: score.to_dict() for name, score in scores.items()}
    _show(_with_shared(both, scores, options.json), options.json)
    return 1 if any(score.failed for score in scores.values()) else 0


def compare_command(arguments: list[str]) -> int:
    """``evaluate compare``."""
    parser = command_parser(
        "evaluate compare", "Rank folders of fakes of the same pictures, best first."
    )
    parser.add_argument("--real", required=True, help=f"folder, glob, .npz or {DEMOS}")
    parser.add_argument("--fake", required=True, nargs="+", help="two folders or more")
    _add_options(parser)
    options = parser.parse_args(arguments)
    ranking = rank_folders(
        options.real, options.fake, _evaluation_options(options, options.real, ranked=True)
    )
    _show(_shown(ranking, options.json), options.json)
    return 1 if ranking.failed else 0


def paired_command(arguments: list[str]) -> int:
    """``evaluate paired``."""
    parser = command_parser("evaluate paired", "Score pictures against the truth of the same name.")
    parser.add_argument("--truth", required=True, help=f"true pictures: folder, glob or {DEMOS}")
    parser.add_argument("--fake", required=True, help="folder or glob of pictures to be judged")
    parser.add_argument(
        "--metrics", default="psnr,ssim", help=f"some of {','.join(PAIRED_METRICS)}"
    )
    parser.add_argument(
        "--range",
        type=str,
        help="values of black and white, such as 0,4095 (or --range=-1,1); files of floats need it,"
        " and of others it is all that they can hold",
    )
    _add_lpips_weights(parser)
    options = parser.parse_args(arguments)
    scores = evaluate_pairs(
        *(options.truth, options.fake, _listed(options.metrics), options.lpips_weights),
        None if options.range is None else parsed_range(options.range),
    )
    _show(scores.to_dict(), options.json)
    return 1 if scores.failed else 0


def stats_command(arguments: list[str]) -> int:
    """``evaluate stats``."""
    parser = command_parser("evaluate stats", "Write mean and covariance of a folder's features.")
    parser.add_argument("--images", required=True, help=f"folder, glob or {DEMOS}")
    parser.add_argument("--output", type=Path, required=True, help="file to write, .npz")
    _add_options(parser, metrics=())
    options = parser.parse_args(arguments)
    if options.output.suffix != ".npz":
        raise UserError(f"--output: {options.output}: must end in .npz")
    statistics, failed = statistics_of(options.images, _evaluation_options(options, options.images))
    if PartialState().is_main_process:
        write_statistics(options.output, statistics)
    facts = {
        "output": str(options.output),
        "n": statistics.count,
        "definition": statistics.definition,
        "weights": statistics.weights,
        "failed": [{"path": str(error.path), "error": error.reason} for error in failed],
    }
    _show(facts, options.json)
    return 1 if failed else 0


def _add_options(parser: ArgumentParser, metrics: Sequence[str] = METRICS) -> None:
    if metrics:
        usual = "fid,kid unless given, or one to rank by fid; for demo domains fd,kid,swd, or fd"
        parser.add_argument(
            "--metrics",
            type=str,
            help=f"some of {','.join(metrics)}; {usual}",
        )
        parser.add_argument(
            "--no-intervals", action="store_true", help="leave out the confidence intervals"
        )
    parser.add_argument(
        "--definition",
        choices=list(DEFINITIONS),
        help="whose network, resizing and value range to follow; unless given squeezenet, which"
        " needs no download, for fd, and pytorch-fid without fd",
    )
    parser.add_argument(
        "--weights",
        type=Path,
        help="file of the features' network; else the package's, torch hub's cache or a download",
    )
    parser.add_argument(
        "--precision", default="fp32", choices=["fp32", "bf16"], help="bf16: faster, a little off"
    )
    parser.add_argument("--batch-size", type=int, default=BATCH_SIZE, help="images at a time")
    parser.add_argument(
        "--no-cache", action="store_true", help="neither use nor keep features on disk"
    )


def _add_lpips_weights(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--lpips-weights",
        type=Path,
        help="torchvision's file of AlexNet, for lpips; else torch hub's cache, else a download",
    )


def parsed_range(text: str) -> Range:
    """The two numbers of ``LOW,HIGH``."""
    try:
        low, high = map(float, text.split(","))
    except ValueError:
        low = high = 0.0
    if not is_range(low, high):
        raise UserError(f"--range: {text} is not LOW,HIGH, such as 0,65535")
    return low, high


def _listed(metrics: str) -> tuple[str, ...]:
    """Names between commas, each once."""
    return tuple(dict.fromkeys(part.strip() for part in metrics.split(",") if part.strip()))


def _evaluation_options(options: Namespace, *specs: str, ranked: bool = False) -> EvaluationOptions:
    usual = "fid" if ranked else "fid,kid"
    if any(spec.startswith("demo:") for spec in specs):
        usual = "fd" if ranked else "fd,kid,swd"
    if any(spec.endswith(".npz") for spec in specs):
        usual = "fid"  # nothing else can be computed from statistics
    chosen = options.get("metrics", "fid") or usual
    return EvaluationOptions(
        metrics=_listed(chosen),
        definition=options.definition,
        weights=options.weights,
        lpips_weights=options.get("lpips_weights"),
        batch_size=options.batch_size,
        intervals=not options.get("no_intervals", True),
        cache=not options.no_cache,
        precision=options.precision,
    )


def load_both(model: str, style: str | None = None, strength: float = 1.0) -> dict[str, Predictor]:
    """The predictors of a model by direction; a single generator file has just one."""
    device = choose_device("auto")
    generators = {
        name: with_strength(with_style(each, style), strength)
        for name, each in load_generators(model).items()
    }
    predictors = {
        name: Predictor(generator, device, choose_dtype("auto", device, generator))
        for name, generator in generators.items()
    }
    for predictor in predictors.values():
        predictor.require_eight_bits("evaluate model is for")
    return predictors


def _with_shared(
    both: dict[str, Any], results: Mapping[str, Scores | Ranking], as_json: bool
) -> dict[str, Any]:
    """``ab`` and ``ba``, for programs with the circumstances of the first beside them."""
    first = next(iter(results.values()))
    return both | (first.circumstances.to_dict() if as_json else {})


def _shown(ranking: Ranking, as_json: bool) -> dict[str, Any]:
    """A ranking as one object, for people under the names of what is ranked."""
    facts = ranking.to_dict()
    if not as_json:
        facts["ranking"] = {ranked.pop(ranking.what): ranked for ranked in facts["ranking"]}
    return facts


def _show(values: Mapping[str, Any], as_json: bool) -> None:
    if not PartialState().is_main_process:
        return
    if as_json:
        print_result(values, as_json=True)
    else:
        print("\n".join(table(values)))


def table(values: Mapping[str, Any]) -> list[str]:
    """Lines for people: a score with its interval, then what it was computed from."""
    lines = []
    for name, value in values.items():
        if isinstance(value, Mapping):
            lines += [name, *(f"  {line}" for line in table(value))]
        elif not name.endswith("_interval") and name != "failed":
            interval = values.get(f"{name}_interval")
            shown = f"{value:.6g}" if isinstance(value, float) else f"{value}"
            spread = f"  95 % {interval[0]:.6g} … {interval[1]:.6g}" if interval else ""
            lines.append(f"{name.replace('_', ' '):<20}{shown}{spread}")
    return lines
