"""The best scores of a run so far, and the models that reached them."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import nn

from cyclegan_style.models.export import export_model
from cyclegan_style.system.whole_files import write_durably

BEST_FOLDER = "best"
SCORE_FILE = "score.json"
LESS_IS_BETTER = ("fid", "fd_squeezenet", "kid", "swd", "art_fid")
MORE_IS_BETTER = ("psnr", "ssim", "precision", "recall")


@dataclass(frozen=True)
class Best:
    """The best value of a score and the step that had it."""

    value: float
    step: int


class BestScores:
    """The best value of each score such as ``fid_ab``, and how long there was none better."""

    def __init__(self, made_by: Mapping[str, Any]) -> None:
        self.made_by = dict(made_by)
        self.best: dict[str, Best] = {}
        self.evaluations_without = 0

    def update(self, step: int, values: Mapping[str, float]) -> list[str]:
        """Take in an evaluation; return the names of the scores that are the best so far."""
        names = [name for name, value in values.items() if self.is_best(name, value)]
        self.best |= {name: Best(values[name], step) for name in names}
        self.evaluations_without = 0 if names else self.evaluations_without + 1
        return names

    def is_best(self, name: str, value: float) -> bool:
        """Whether a score is better than any before."""
        before = self.best.get(name)
        sign = direction_of_improvement(name)
        if sign == 0 or not math.isfinite(value):
            return False
        return before is None or sign * value > sign * before.value

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {
            "made_by": self.made_by,
            "best": {name: asdict(best) for name, best in self.best.items()},
            "evaluations_without": self.evaluations_without,
        }

    def restore(self, state: Mapping[str, Any]) -> bool:
        """Put back what ``state`` returned; False if those scores were made in another way."""
        if not self.made_by:  # nothing is scored now, and what was is kept as it is
            self.made_by = state["made_by"]
        elif state["best"]:
            before, now = used_by(state["made_by"]), used_by(self.made_by)
            if any(before[name] != now[name] for name in before.keys() & now.keys()):
                return False
            self.made_by |= before  # of scores that are not made for now
        self.best = {name: Best(**best) for name, best in state["best"].items()}
        self.evaluations_without = state["evaluations_without"]
        return True


def used_by(made_by: Mapping[str, Any]) -> dict[str, Any]:
    """What scores were made with; a definition counts only with its network."""
    unused = {"definition"} if made_by.get("weights") is None else set()
    return {
        name: value for name, value in made_by.items() if value is not None and name not in unused
    }


def direction_of_improvement(name: str) -> int:
    """1 for scores of which more is better, -1 if less is, 0 for what is not a quality."""
    metric = name.rpartition("_")[0]
    return int(metric in MORE_IS_BETTER) - int(metric in LESS_IS_BETTER)


def keep_best_model(
    run: Path, name: str, best: Best, generators: nn.ModuleDict, config_yaml: str
) -> None:
    """Write the model that has the best score under the score's name."""
    folder = run / BEST_FOLDER / name
    export_model(folder, generators, config_yaml)
    write_durably(folder / SCORE_FILE, json.dumps({name: best.value, "step": best.step}).encode())


def best_table(best: BestScores) -> list[str]:
    """A line for each best score."""
    return [
        f"best {name + ':':<18}{found.value:10.4f}  at step {found.step}, {BEST_FOLDER}/{name}"
        for name, found in best.best.items()
    ]
