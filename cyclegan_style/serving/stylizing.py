"""The tab for a painting of one's own, whose style is given to a picture without a model."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

import gradio as gr
from PIL import Image

from cyclegan_style.data.images import Pixels, from_pillow
from cyclegan_style.serving.examples import examples
from cyclegan_style.serving.files import save_pixels, uploaded
from cyclegan_style.serving.painter import Painter, Stage, fitted, page_recipe
from cyclegan_style.serving.tabs import HEIGHT, example_gallery, picture_input, shown_errors

SIZES = (128, 192, 256, 384, 512)
"""Longest sides in pixels that can be chosen."""
USUAL_SIZE = 256
USUAL_STEPS = 100
MOST_STEPS = 300
MOST_STRENGTH = 10.0

Stages = tuple[str, str, gr.DownloadButton]


def stylizing_tab(painter: Painter, most_pixels: int) -> None:
    """Build the inputs and outputs, and say what happens when."""
    with gr.Row(equal_height=False):
        with gr.Column(min_width=300):
            with gr.Row():
                content = picture_input("Picture", 260)
                style = picture_input("Painting", 260)
            photos = example_gallery(examples("ab"), "Pictures and paintings to begin with")
            paintings = example_gallery(examples("ba"))
            with gr.Accordion("How it is painted", open=False):
                size = gr.Radio(list(SIZES), value=USUAL_SIZE, label="Longest side in pixels")
                steps = gr.Slider(20, MOST_STEPS, USUAL_STEPS, step=20, label="Steps")
                strength = gr.Slider(0.1, MOST_STRENGTH, 1.0, step=0.1, label="Strength of style")
                keep = gr.Checkbox(label="Keep the picture's colours")
            with gr.Row():
                start = gr.Button("Paint", min_width=80, variant="primary", elem_id="paint")
                stop = gr.Button("Stop", min_width=80, elem_id="stop")
        with gr.Column(min_width=300):
            result = gr.Image(
                label="The picture in the painting's style",
                type="filepath",
                height=HEIGHT,
                interactive=False,
                buttons=["fullscreen"],
                elem_id="painted",
                elem_classes="picture",
            )
            status = gr.HTML(elem_id="painting-status", elem_classes="status")
            download = gr.DownloadButton(
                "Download PNG", interactive=False, elem_id="download-painting"
            )

    async def painted(
        picture: Mapping[str, Any] | None,
        painting: Mapping[str, Any] | None,
        longest: int,
        count: int,
        weight: float,
        own_colors: bool,
    ) -> AsyncIterator[Stages]:
        with shown_errors():
            recipe = page_recipe(
                within(longest, SIZES[0], SIZES[-1]),
                within(count, 1, MOST_STEPS),
                weight,
                "luminance" if own_colors else "no",
            )
            subject = await asyncio.to_thread(pixels_of_input, picture, most_pixels)
            manner = await asyncio.to_thread(pixels_of_input, painting, most_pixels)
            async for stage in painter.paint(subject, manner, recipe):
                yield await asyncio.to_thread(shown, stage)

    running = start.click(
        painted,
        [content, style, size, steps, strength, keep],
        [result, status, download],
        preprocess=False,
        concurrency_limit=1,
        api_visibility="private",
        show_progress="minimal",
    )
    stop.click(None, cancels=running, api_visibility="private")
    photos.select(chosen_photo, None, content, api_visibility="private")
    paintings.select(chosen_painting, None, style, api_visibility="private")


def within(value: object, least: int, most: int) -> int:
    """A number that the page can have sent."""
    return min(max(int(float(str(value))), least), most)


def pixels_of_input(payload: Mapping[str, Any] | None, most_pixels: int) -> Pixels:
    """A picture no larger than any painting is."""
    return fitted(from_pillow(uploaded(payload).read(most_pixels)), SIZES[-1])


def shown(stage: Stage) -> Stages:
    """The painting as it is, how far it is, and as a file."""
    path = save_pixels(stage.pixels, "painting")
    text = (
        f"<label for='painted-bar'>Step {stage.step} of {stage.steps}</label>"
        f"<progress id='painted-bar' max='{stage.steps}' value='{stage.step}'></progress>"
    )
    return path, text, gr.DownloadButton(value=path, interactive=True)


def chosen_photo(event: gr.SelectData) -> Image.Image:
    """The photograph that was clicked."""
    return examples("ab")[int(event.index)]


def chosen_painting(event: gr.SelectData) -> Image.Image:
    """The painting that was clicked."""
    return examples("ba")[int(event.index)]
