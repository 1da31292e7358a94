"""The tab for one picture: before, after, and the file to take away."""

import asyncio
from collections.abc import Mapping
from typing import Any

import gradio as gr
from PIL import Image

from cyclegan_style.serving.examples import examples
from cyclegan_style.serving.files import UploadedFile, save_download, save_preview, uploaded
from cyclegan_style.serving.tabs import (
    HEIGHT,
    Models,
    Translate,
    example_gallery,
    model_choice,
    picture_input,
    require_choice,
    shown_errors,
)

Shown = tuple[tuple[str, str] | None, gr.DownloadButton]


def single_tab(models: Models, translate: Translate, most_pixels: int, at_once: int) -> None:
    """Build the inputs and outputs, and say what happens when."""
    with gr.Row(equal_height=False):
        with gr.Column(min_width=300):
            picture = picture_input("Picture")
            model, direction, switched = model_choice(models)
            start = gr.Button("Translate", variant="primary", elem_id="translate")
        with gr.Column(min_width=300):
            slider = gr.ImageSlider(
                label="Before and after",
                type="filepath",
                max_height=HEIGHT,
                interactive=False,
                buttons=["fullscreen"],
                elem_id="slider",
            )
            download = gr.DownloadButton("Download PNG", interactive=False, elem_id="download")
    gallery = example_gallery(examples(direction.value), "Or begin with one of these")

    async def translated(payload: Mapping[str, Any] | None, name: str, way: str) -> Shown:
        with shown_errors():
            require_choice(models, name, way)
            file = uploaded(payload)
            original = await asyncio.to_thread(file.read, most_pixels)
            result = await translate(name, way, original)
            return await asyncio.to_thread(shown, file, original, result, way)

    async def translated_if_any(payload: Mapping[str, Any] | None, name: str, way: str) -> Shown:
        return await translated(payload, name, way) if payload else cleared()

    usual: dict[str, Any] = {
        "inputs": [picture, model, direction],
        "outputs": [slider, download],
        "preprocess": False,  # files are read here, with messages that people understand
        "concurrency_limit": at_once,
        "concurrency_id": "translate",
        "api_visibility": "private",
        "show_progress_on": slider,
    }
    start.click(translated, **usual)
    gr.on([picture.upload, direction.input], translated_if_any, **usual)
    switched.then(translated_if_any, **usual)
    picture.clear(cleared, outputs=[slider, download], api_visibility="private")
    gallery.select(chosen_example, direction, picture, api_visibility="private").success(
        translated, **usual
    )
    direction.change(
        lambda way: gr.Gallery(examples(way)),
        direction,
        gallery,
        preprocess=False,  # of a model just left, it can be one that the new one lacks
        api_visibility="private",
        show_progress="hidden",
    )


def shown(file: UploadedFile, original: Image.Image, result: Image.Image, way: str) -> Shown:
    """Both pictures for the slider, and the result as a file."""
    name = f"{file.stem}-{way}"
    pair = save_preview(original, file.stem), save_preview(result, name)
    return pair, gr.DownloadButton(value=save_download(result, name), interactive=True)


def cleared() -> Shown:
    """No pictures, and nothing to download."""
    return None, gr.DownloadButton(value=None, interactive=False)


def chosen_example(direction: str, event: gr.SelectData) -> Image.Image:
    """The picture that was clicked."""
    pictures = examples(direction)
    return pictures[int(event.index) % len(pictures)]
