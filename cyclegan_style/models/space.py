"""A folder that the Hugging Face Hub serves as a page: a Space, with a model in it."""

import shutil
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from cyclegan_style.errors import UserError, printable
from cyclegan_style.models.convert import write_model_folder
from cyclegan_style.models.export import MODEL_FOLDER
from cyclegan_style.models.model_files import load_generators
from cyclegan_style.models.publish import TASKS

PACKAGE = Path(__file__).parents[1]
GRADIO = "6.31.0"
"""The version that the page is written for, which a Space installs by itself."""
TORCH_INDEX = "https://download.pytorch.org/whl/cpu"
"""Of wheels without CUDA, which the free Spaces have no use for."""

CARD = """\
---
title: "{title}"
emoji: 🎨
colorFrom: green
colorTo: gray
sdk: gradio
sdk_version: {gradio}
python_version: "3.12"
app_file: app.py
license: other
pinned: false
---

# {title}

{task} Drop a picture, and compare it with its translation.

`{model}/` holds the model, and `cyclegan_style/` the program, under its own licence (LICENSE). What
the model was trained on and under which terms it may be used is not recorded in its files: whoever
publishes it can say so here, and name its licence above.

Run it locally with `pip install gradio=={gradio} -r requirements.txt && python app.py`.
"""

APP = '''\
"""A page that translates pictures by the model in this folder."""

import asyncio
from pathlib import Path

from PIL import Image

from cyclegan_style import Predictor
from cyclegan_style.serving.page import build_page, page_options

MODEL = Path(__file__).parent / "{model}"
PREDICTORS = {{name: Predictor.load(MODEL, name) for name in {directions}}}


async def translate(model: str, direction: str, picture: Image.Image) -> Image.Image:
    return await asyncio.to_thread(PREDICTORS[direction].translate, picture)


page = build_page({{"{title}": list(PREDICTORS)}}, translate, title="{title}")

if __name__ == "__main__":
    page.launch(**page_options())
'''


def write_space(model: str, folder: Path) -> list[Path]:
    """Write a Space that serves a model, and return what lies in its folder."""
    refuse_filled(folder)
    generators = load_generators(model)
    requirements, licence = of_the_package()
    some = next(iter(generators.values()))
    named = {
        "title": title_of(folder),
        "model": MODEL_FOLDER,
        "gradio": GRADIO,
        "task": TASKS[some.task],
        "directions": repr(tuple(generators)),
    }
    write_model_folder(model, folder / MODEL_FOLDER, generators, {})
    try:
        (folder / "app.py").write_text(APP.format(**named), encoding="utf-8")
        (folder / "README.md").write_text(CARD.format(**named), encoding="utf-8")
        (folder / "requirements.txt").write_text(requirements, encoding="utf-8")
        shutil.copy(licence, folder / "LICENSE")
        shutil.copytree(
            PACKAGE,
            folder / PACKAGE.name,
            ignore=shutil.ignore_patterns("__pycache__"),
        )
    except OSError as error:
        raise UserError(printable(f"{folder}: cannot be written: {error.strerror}")) from None
    return sorted(folder.iterdir())


def refuse_filled(folder: Path) -> None:
    """Raise a UserError for a folder with files that a Space would be mixed with."""
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        raise UserError(printable(f"--space: {folder} is not an empty folder; choose another"))


def title_of(folder: Path) -> str:
    """The folder's name, as far as it can be written into a program and its card."""
    kept = [letter for letter in folder.resolve().name if letter.isalnum() or letter in " -_."]
    return "".join(kept).strip(" .-_") or "cyclegan_style"


def of_the_package() -> tuple[str, Path]:
    """What the program needs installed, as requirements.txt has it, and its licence."""
    try:
        installed = distribution("cyclegan-style")
    except PackageNotFoundError:
        raise UserError(
            "--space: what the program needs is known where it is installed: pip install -e ."
        ) from None
    needed = [line for line in installed.requires or [] if "extra ==" not in line]
    licence = next((file for file in installed.files or [] if file.name == "LICENSE"), None)
    if licence is None:
        raise UserError("--space: the installed program has no LICENSE: install it once more")
    return "\n".join([f"--extra-index-url {TORCH_INDEX}", *needed, ""]), Path(str(licence.locate()))
