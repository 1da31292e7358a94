"""What the tabs of the page share."""

import html
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import gradio as gr
from gradio.events import Dependency
from PIL import Image

from cyclegan_style.errors import UserError

Translate = Callable[[str, str, Image.Image], Awaitable[Image.Image]]
"""A model, a direction and a picture → its translation; a UserError is shown as it is."""
Models = Mapping[str, Sequence[str]]
"""Names of models, each with its directions."""

DIRECTION_LABELS = {"ab": "A → B: to a painting", "ba": "B → A: to a photograph"}
HEIGHT = 420
"""In pixels, of a picture on the page."""


@contextmanager
def shown_errors() -> Iterator[None]:
    """A UserError becomes a message on the page."""
    try:
        yield
    except UserError as error:
        raise gr.Error(html.escape(str(error)), print_exception=False) from None


def model_choice(models: Models) -> tuple[gr.Dropdown, gr.Radio, Dependency]:
    """Inputs for a model, hidden where there is one alone, and its direction; when they change."""
    first = next(iter(models))
    model = gr.Dropdown(
        list(models), value=first, label="Model", visible=len(models) > 1, filterable=False
    )
    direction = gr.Radio(
        direction_choices(models[first]),
        value=models[first][0],
        label="Direction",
    )
    switched = model.input(
        lambda name, chosen: direction_of(models, name, chosen),
        [model, direction],
        direction,
        preprocess=False,  # the direction can be one that the model lacks: that is mended here
        api_visibility="private",
        show_progress="hidden",
    )
    return model, direction, switched


def direction_of(models: Models, model: str, chosen: str) -> gr.Radio:
    """The directions of another model, the same one as before where it has it."""
    directions = models[model]
    value = chosen if chosen in directions else directions[0]
    return gr.Radio(direction_choices(directions), value=value)


def direction_choices(directions: Sequence[str]) -> list[tuple[str, str | int | float]]:
    """What is shown of each direction."""
    return [(DIRECTION_LABELS[name], name) for name in directions]


def require_choice(models: Models, model: str, direction: str) -> None:
    """Raise a UserError for what no one can have chosen on the page."""
    if direction not in models.get(model, ()):
        raise UserError("choose a model and a direction that it has")


def picture_input(label: str, height: int = HEIGHT) -> gr.Image:
    """Where a picture is dropped, pasted or taken."""
    return gr.Image(
        label=label,
        type="filepath",
        format="png",
        image_mode=None,
        height=height,
        sources=["upload", "clipboard"],
        buttons=["fullscreen"],
        placeholder="Drop a picture, paste it, or tap to choose one",
        elem_classes="picture",
    )


def example_gallery(pictures: Sequence[Image.Image], caption: str = "") -> gr.Gallery:
    """Pictures of which one can be clicked."""
    if caption:
        gr.HTML(f"<p>{caption}</p>", elem_classes="caption")
    return gr.Gallery(
        [*pictures],
        show_label=False,
        format="png",
        columns=len(pictures),
        rows=1,
        height="auto",
        object_fit="cover",
        allow_preview=False,
        interactive=False,
        buttons=[],
        elem_classes="examples",
    )
