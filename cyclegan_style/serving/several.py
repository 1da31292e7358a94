"""The tab for several pictures, which are translated side by side."""

import asyncio
import html
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from cyclegan_style.errors import UserError
from cyclegan_style.serving.files import UploadedFile, save_archive, save_download, save_preview
from cyclegan_style.serving.tabs import (
    Models,
    Translate,
    model_choice,
    require_choice,
    shown_errors,
)

MOST_FILES = 50
AT_ONCE = 4
"""Of one person's pictures that are in memory."""


@dataclass(frozen=True)
class Done:
    """What became of a file."""

    name: str
    preview: str = ""
    download: str = ""
    error: str = ""


Progress = tuple[list[tuple[str, str]], str, gr.DownloadButton]


def several_tab(models: Models, translate: Translate, most_pixels: int) -> None:
    """Build the inputs and outputs, and say what happens when."""
    with gr.Row(equal_height=False):
        with gr.Column(min_width=300):
            files = gr.File(
                label=f"Pictures, {MOST_FILES} at most",
                file_count="multiple",
                height=220,
                elem_id="files",
            )
            model, direction, _ = model_choice(models)
            with gr.Row():
                start = gr.Button(
                    "Translate all", min_width=80, variant="primary", elem_id="translate-all"
                )
                stop = gr.Button("Stop", min_width=80, elem_id="stop-all")
        with gr.Column(min_width=300):
            status = gr.HTML(elem_id="status", elem_classes="status")
            gallery = gr.Gallery(
                show_label=False,
                columns=3,
                height="auto",
                object_fit="contain",
                interactive=False,
                buttons=["fullscreen"],
                elem_id="translations",
            )
            download = gr.DownloadButton("Download ZIP", interactive=False, elem_id="download-all")

    async def translated(
        payloads: Sequence[Mapping[str, Any]] | None,
        name: str,
        way: str,
    ) -> AsyncIterator[Progress]:
        with shown_errors():
            require_choice(models, name, way)
            if not payloads:
                raise UserError("choose pictures first")
            if len(payloads) > MOST_FILES:
                raise UserError(f"{len(payloads)} files are more than the {MOST_FILES} taken here")
            places = asyncio.Semaphore(AT_ONCE)

            async def one(payload: Mapping[str, Any]) -> Done:
                async with places:
                    return await translated_file(
                        UploadedFile(payload), translate, name, way, most_pixels
                    )

            tasks = [asyncio.create_task(one(payload)) for payload in payloads]
            try:
                waiting = set(tasks)
                while waiting:
                    _, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                    done = [task.result() for task in tasks if task.done()]
                    if waiting:
                        yield progress(done, len(tasks))
                archive = await asyncio.to_thread(archived, done)
                yield *progress(done, len(tasks))[:2], archive
            finally:
                for task in tasks:
                    task.cancel()

    running = start.click(
        translated,
        [files, model, direction],
        [gallery, status, download],
        preprocess=False,
        concurrency_limit=AT_ONCE,
        api_visibility="private",
        show_progress="minimal",
    )
    stop.click(None, cancels=running, api_visibility="private")


async def translated_file(
    file: UploadedFile, translate: Translate, model: str, way: str, most_pixels: int
) -> Done:
    """The translation of one file, or what is wrong with it."""
    name = f"{file.stem}-{way}"
    try:
        picture = await asyncio.to_thread(file.read, most_pixels)
        result = await translate(model, way, picture)
    except UserError as error:
        return Done(file.name, error=str(error))
    preview, download = await asyncio.gather(
        asyncio.to_thread(save_preview, result, name),
        asyncio.to_thread(save_download, result, name),
    )
    return Done(file.name, preview, download)


def progress(done: Sequence[Done], count: int) -> Progress:
    """What there is so far, and how much that is."""
    pictures = [(each.preview, each.name) for each in done if each.preview]
    failures = [f"<li>{html.escape(each.error)}</li>" for each in done if each.error]
    text = (
        f"<label for='bar'>{len(done)} of {count} done</label>"
        f"<progress id='bar' max='{count}' value='{len(done)}'></progress>"
    )
    if failures:
        text += f"<p>{len(failures)} not translated:</p><ul>{''.join(failures)}</ul>"
    return pictures, text, gr.DownloadButton(value=None, interactive=False)


def archived(done: Sequence[Done]) -> gr.DownloadButton:
    """All translations in one file, if there are any."""
    files = [each.download for each in done if each.download]
    path = save_archive(files, "translations") if files else None
    return gr.DownloadButton(value=path, interactive=path is not None)
