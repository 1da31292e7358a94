"""The page: pictures translated, compared and painted in the browser.

It asks a function for translations, and so shares whatever queue and limits are behind it.
"""

import html
from typing import Any

import gradio as gr
from starlette.middleware import Middleware

from cyclegan_style.serving.files import own_folder
from cyclegan_style.serving.guard import Guard
from cyclegan_style.serving.painter import Painter
from cyclegan_style.serving.several import several_tab
from cyclegan_style.serving.single import single_tab
from cyclegan_style.serving.stylizing import stylizing_tab
from cyclegan_style.serving.tabs import Models, Translate

TITLE = "cyclegan_style"
INTRODUCTION = (
    "Photographs become paintings, and paintings photographs. Nothing leaves this server."
)
MOST_PIXELS = 40_000_000
"""Of a picture that is taken."""
MOST_BYTES = 32 * 2**20
"""Of a file that is taken."""
AT_ONCE = 4
"""Pictures that are read, asked for and written at the same time."""
SECONDS_KEPT = 3600
"""Of files, uploaded or made."""
STYLE = """
.gradio-container { width: 100%; max-width: 1180px !important; margin: 0 auto !important; }
#heading { padding: .5rem 0 .25rem; }
#heading .html-container { padding: 0; }
#heading h1 { font-size: 1.9rem; font-weight: 700; letter-spacing: -.02em; margin: 0; }
#heading p { margin: .25rem 0 0; opacity: .75; }
.caption .html-container { padding: 0; }
.caption p { margin: .5rem 0 0; font-size: .9rem; opacity: .75; }
.picture img { width: 100%; height: 100%; object-fit: contain; }
.examples {
  max-width: 600px; margin-left: 0 !important;
  border-width: 0 !important; background: none; box-shadow: none;
}
.examples .wrap, .examples .grid-wrap { min-height: 0; padding: 0; }
.examples .grid-container {
  gap: .5rem; padding: 0; grid-template-columns: repeat(4, minmax(0, 1fr)) !important;
}
.status progress {
  appearance: none; width: 100%; height: .5rem; border: 0; border-radius: 1rem; overflow: hidden;
  background: var(--border-color-primary); color: var(--primary-500);
}
.status progress::-webkit-progress-bar { background: var(--border-color-primary); }
.status progress::-webkit-progress-value { background: var(--primary-500); }
.status progress::-moz-progress-bar { background: var(--primary-500); }
.status ul { padding-left: 1.2rem; }
.main.fillable { padding: clamp(.75rem, 3vw, 2rem) !important; }
"""

PASTING = """
<script>
document.addEventListener("paste", (event) => {
  const file = [...event.clipboardData.files].find((each) => each.type.startsWith("image/"));
  const input = [...document.querySelectorAll(".picture input[type=file]")]
    .find((each) => each.closest(".picture").offsetParent);
  if (!file || !input) return;
  const files = new DataTransfer();
  files.items.add(file);
  input.files = files.files;
  input.dispatchEvent(new Event("change", { bubbles: true }));
});
</script>
"""
"""A pasted picture goes into the first input in sight; Gradio itself wants a button for it."""


def build_page(
    models: Models,
    translate: Translate,
    *,
    title: str = TITLE,
    most_pixels: int = MOST_PIXELS,
    device: str = "auto",
) -> gr.Blocks:
    """The page for some models; ``page_options`` says how it is launched or mounted.

    ``translate`` is given a model, a direction and a picture whose pixels are loaded. ``device`` is
    where paintings in a style of one's own are made.
    """
    own_folder()
    page = gr.Blocks(
        title=title, analytics_enabled=False, delete_cache=(SECONDS_KEPT // 6, SECONDS_KEPT)
    )
    with page:
        gr.HTML(f"<h1>{html.escape(title)}</h1><p>{INTRODUCTION}</p>", elem_id="heading")
        with gr.Tab("One picture"):
            single_tab(models, translate, most_pixels, AT_ONCE)
        with gr.Tab("Several"):
            several_tab(models, translate, most_pixels)
        with gr.Tab("Stylize"):
            stylizing_tab(Painter(device), most_pixels)
    # Gradio sets it in launch alone; without it, a mounted page would take any file of the server
    # for an uploaded one.
    page.has_launched = True
    return page


def page_options(most_bytes: int = MOST_BYTES) -> dict[str, Any]:
    """Arguments that ``launch`` and ``gr.mount_gradio_app`` both take, and the page relies on."""
    return {
        "allowed_paths": [],
        "max_file_size": most_bytes,
        "show_error": False,  # what is meant for people is shown; the rest may tell of the server
        "footer_links": [],
        "run_history": False,
        "enable_monitoring": False,
        "ssr_mode": False,
        "mcp_server": False,
        "theme": theme(),
        "css": STYLE,
        "head": PASTING,
        "app_kwargs": {"middleware": [Middleware(Guard)]},
    }


def theme() -> gr.themes.Base:
    """Quiet colours, and the fonts that the browser has."""
    return gr.themes.Soft(
        primary_hue="teal",
        secondary_hue="teal",
        neutral_hue="stone",
        font=["system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif"],
        font_mono=["ui-monospace", "Consolas", "monospace"],
    )
