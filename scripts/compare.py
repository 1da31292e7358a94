"""Compare ways to change a picture's style on the demo; writes docs/comparison.md and its strip.

The model is one of the demo's, from photographs (A) to paintings (B).
"""

import argparse
import sys
from pathlib import Path

from cyclegan_style.benchmarks.methods import compare_methods
from cyclegan_style.errors import UserError
from cyclegan_style.stylizing.recipe import Recipe


def main(arguments: list[str]) -> int:
    """Compare and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="runs/demo", help="run or model folder (runs/demo)")
    parser.add_argument("--output", type=Path, default=Path("docs"), help="folder (docs)")
    parser.add_argument("--pictures", type=int, help="of each direction; all unless given")
    parser.add_argument("--steps", type=int, help="of stylize; the recipe's own unless given")
    parser.add_argument("--seed", type=int, default=0, help="chooses the one style (0)")
    options = parser.parse_args(arguments)
    recipe = Recipe() if options.steps is None else Recipe(steps=options.steps)
    if not Path(options.model).exists():
        print(f"error: {options.model}: no model; accelerate launch train.py", file=sys.stderr)
        return 2
    try:
        compare_methods(options.model, options.output, recipe, options.pictures, options.seed)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
