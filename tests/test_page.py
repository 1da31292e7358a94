"""The page in a browser, and what its server hands out to nobody."""

import asyncio
import io
import shutil
import socket
import threading
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tiny import enlarge_weights, make_pictures, tiny_config

from cyclegan_style import Predictor
from cyclegan_style.config import to_yaml
from cyclegan_style.data.images import read_image
from cyclegan_style.errors import UserError
from cyclegan_style.models.export import export_model
from cyclegan_style.training.cyclegan import build_generators

httpx = pytest.importorskip("httpx")
uvicorn = pytest.importorskip("uvicorn")

from serving_in_tests import held, listening, service_of  # noqa: E402

from cyclegan_style.serving.files import UploadedFile, own_folder  # noqa: E402
from cyclegan_style.serving.painter import Painter, page_recipe  # noqa: E402

MOST_BYTES = 200_000
MOST_PIXELS = 100_000
API = "/page/gradio_api"


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    generators = build_generators(tiny_config()).eval()
    enlarge_weights(generators)
    export_model(folder, generators, to_yaml(tiny_config()))
    return folder


@pytest.fixture(scope="module")
def predictor(model) -> Predictor:
    return Predictor.load(model, "ab", device="cpu", precision="fp32")


@pytest.fixture(scope="module")
def translated() -> list[Any]:
    """What the page has asked for."""
    return []


@pytest.fixture(scope="module")
def address(predictor, translated) -> Iterator[str]:
    """Where an application with the page is served."""

    async def translate(name: str, direction: str, picture: Image.Image) -> Image.Image:
        translated.append((name, direction, picture.size))
        if direction == "ba":
            raise UserError("the queue is full: try again <later>")
        return await asyncio.to_thread(predictor.translate, picture)

    # Gradio takes seconds to load, which is left to the process that runs these tests.
    fastapi, gr = pytest.importorskip("fastapi"), pytest.importorskip("gradio")
    from cyclegan_style.serving.page import build_page, page_options

    page = build_page({"tiny": ["ab", "ba"]}, translate, most_pixels=MOST_PIXELS, device="cpu")
    app = gr.mount_gradio_app(fastapi.FastAPI(), page, "/page", **page_options(MOST_BYTES))
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    server.should_exit = True
    thread.join()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api")
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("needs chromium")
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield started.new_context(viewport={"width": 390, "height": 844})
        started.close()


@pytest.fixture
def view(browser, address) -> Iterator[Any]:
    """The page on a phone; nothing is loaded from elsewhere, and no script fails."""
    opened = browser.new_page()
    requests: list[str] = []
    complaints: list[str] = []
    opened.on("request", lambda request: requests.append(request.url))
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.goto(f"{address}/page")
    opened.wait_for_selector("#translate")
    yield opened
    opened.close()
    assert not [url for url in requests if not url.startswith((address, "blob:", "data:"))]
    assert not complaints


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> list[Path]:
    folder = make_pictures(tmp_path_factory.mktemp("photos"), 2, height=40, width=56)
    return sorted(folder.iterdir())


def downloaded(view: Any, button: str) -> Path:
    with view.expect_download() as waiting:
        view.click(button)
    return Path(waiting.value.path())


def message(view: Any) -> str:
    """What the page complains about."""
    toast = view.wait_for_selector(".toast-body")
    return str(toast.inner_text())


def test_a_picture_is_translated_compared_and_downloaded(view, photos, predictor):
    view.set_input_files(".picture input[type=file]", photos[0])
    view.wait_for_selector("#slider img")
    view.wait_for_selector("#download:not([disabled])")

    assert view.evaluate("document.documentElement.scrollWidth") == 390
    handle = view.locator("#slider .inner")
    handle.scroll_into_view_if_needed()
    before = handle.bounding_box()
    x, y = before["x"] + before["width"] / 2, before["y"] + before["height"] / 2
    view.mouse.move(x, y)
    view.mouse.down()
    view.mouse.move(x - 60, y, steps=3)
    view.mouse.up()
    assert handle.bounding_box()["x"] == pytest.approx(before["x"] - 60, abs=10)
    result = read_image(downloaded(view, "#download"))
    np.testing.assert_array_equal(result, np.asarray(predictor.translate(photos[0])))


def test_the_page_of_a_server_downloads_what_its_api_answers(browser, model, photos):
    service = service_of({"tiny": model}, pixels=MOST_PIXELS, body_bytes=MOST_BYTES)
    view = browser.new_page()
    with listening(service, page=True) as address:
        view.goto(address)
        view.wait_for_selector("#translate")
        assert view.url == f"{address}/page/"
        view.set_input_files(".picture input[type=file]", photos[1])
        view.wait_for_selector("#download:not([disabled])")
        found = read_image(downloaded(view, "#download"))
        answer = httpx.post(f"{address}/v1/translate", content=photos[1].read_bytes())
    # The server has ended although somebody was looking at its page.
    view.close()
    np.testing.assert_array_equal(found, np.asarray(Image.open(io.BytesIO(answer.content))))


def test_a_token_guards_the_page_and_the_queue_is_one(model, photos):
    service = service_of({"tiny": model}, requests=1)
    with listening(service, "secret", page=True) as address:
        for path in ("/", "/page/", f"{API}/info"):
            assert httpx.get(address + path).status_code == 401
        known = httpx.Client(base_url=address, auth=("anybody", "secret"), timeout=60)
        assert known.get("/", follow_redirects=True).url == f"{address}/page/"
        assert "content-security-policy" in known.get("/page/").headers
        assert known.get("/healthz").json() == {"status": "ok"}
        with ThreadPoolExecutor(1) as other, held(service):
            content = photos[0].read_bytes()
            first = other.submit(known.post, "/v1/translate", content=content)
            while not service.batcher.waiting and service.inside == 0:
                pass
            assert known.post("/v1/translate", content=content).status_code == 503
        assert first.result().status_code == 200


def test_what_is_wrong_is_said_on_the_page(view, tmp_path, photos):
    broken = tmp_path / "broken <b>.png"
    broken.write_bytes(photos[0].read_bytes()[:200])
    view.set_input_files(".picture input[type=file]", broken)
    assert "broken <b>.png: damaged" in message(view)


@pytest.mark.slow
def test_a_refusal_of_the_queue_is_said_on_the_page(view, photos):
    view.click("#translate")
    assert "choose a picture first" in message(view)
    view.get_by_text("to a photograph").first.click()
    view.set_input_files(".picture input[type=file]", photos[0])
    # The first message may still be there, and fades when it is closed.
    view.get_by_text("the queue is full: try again <later>").wait_for()


@pytest.mark.slow
def test_a_file_of_too_many_bytes_is_refused(view, tmp_path):
    large = tmp_path / "large.png"
    noise = np.random.default_rng(0).integers(0, 256, (300, 300, 3), dtype=np.uint8)
    Image.fromarray(noise).save(large)
    view.set_input_files(".picture input[type=file]", large)

    assert "size" in message(view)


@pytest.mark.slow
def test_an_example_becomes_the_input(view, translated):
    translated.clear()
    view.locator(".examples:visible button").nth(1).click()
    view.wait_for_selector("#slider img")

    assert translated == [("tiny", "ab", (128, 128))]


PASTE = """text => {
  const bytes = Uint8Array.from(text, (letter) => letter.charCodeAt(0));
  const clipboardData = new DataTransfer();
  clipboardData.items.add(new File([bytes], "pasted.png", { type: "image/png" }));
  document.dispatchEvent(new ClipboardEvent("paste", { clipboardData }));
}"""


@pytest.mark.slow
def test_a_picture_is_pasted_also_over_another(view, photos, translated):
    translated.clear()
    for photo in photos:
        view.evaluate(PASTE, photo.read_bytes().decode("latin-1"))
        view.wait_for_selector("#slider img")
        for _ in range(100):  # the second one's slider is the first one's at first
            if len(translated) == photos.index(photo) + 1:
                break
            view.wait_for_timeout(100)

    assert [size for _, _, size in translated] == [(56, 40), (56, 40)]


def test_several_pictures_are_translated_and_the_bad_one_named(view, photos, tmp_path, predictor):
    wrong = tmp_path / "notes.png"
    wrong.write_text("no picture")
    view.get_by_role("tab", name="Several").click()
    view.set_input_files("#files input[type=file]", [photos[0], wrong, photos[1]])
    view.wait_for_selector("#files:has-text('notes')")
    view.click("#translate-all")
    view.wait_for_selector("#download-all:not([disabled])")

    assert "3 of 3 done" in view.inner_text("#status")
    assert "notes.png: not an image" in view.inner_text("#status")
    with zipfile.ZipFile(downloaded(view, "#download-all")) as archive:
        assert archive.namelist() == ["000-ab.png", "001-ab.png"]
        for photo in photos:
            result = Image.open(io.BytesIO(archive.read(f"{photo.stem}-ab.png")))
            np.testing.assert_array_equal(result, predictor.translate(photo))


def test_files_of_the_server_are_handed_to_nobody(address, model):
    for file in (Path("/etc/passwd"), model / "config.yaml", Path(__file__)):
        for path in (f"{API}/file={file}", f"{API}/file/{file}", f"{API}/file=//{file}"):
            assert httpx.get(address + path).status_code in (403, 404), path


def test_the_server_fetches_nothing_for_others(address):
    assert httpx.get(f"{address}{API}/file=http://127.0.0.1:9/x").status_code == 403
    assert httpx.get(f"{address}{API}/proxy=http://127.0.0.1:9/x").status_code == 403
    named = {"path": "http://127.0.0.1:9/x.png", "meta": {"_type": "gradio.FileData"}}
    joined = httpx.post(f"{address}{API}/queue/join", json=request_of(named))
    assert joined.status_code == 403


def test_a_request_longer_than_any_of_the_page_is_refused(address):
    joined = httpx.post(f"{address}{API}/queue/join", content=b"x" * 1_000_001)

    assert joined.status_code == 413


def request_of(file: dict[str, Any]) -> dict[str, Any]:
    """Press the button for a file."""
    return {"data": [file, "tiny", "ab"], "fn_index": translating(), "session_hash": "somebody"}


def translating() -> int:
    """The number that Gradio has given the button: that of its function in the page."""
    gr = pytest.importorskip("gradio")
    pages = (each for each in gr.Blocks.get_instances() if each.title == "cyclegan_style")
    page = next(pages)  # all have the same
    return next(n for n, fn in page.fns.items() if fn.name == "translated")


def test_a_file_of_the_server_is_not_taken_for_an_uploaded_one(address, photos, translated):
    translated.clear()
    named = {"path": str(photos[0]), "meta": {"_type": "gradio.FileData"}}
    httpx.post(f"{address}{API}/queue/join", json=request_of(named)).raise_for_status()
    with httpx.stream("GET", f"{address}{API}/queue/data?session_hash=somebody") as answer:
        told = next(line for line in answer.iter_lines() if "process_completed" in line)

    assert '"success":false' in told.replace(" ", "")
    assert not translated
    with pytest.raises(UserError, match="upload"):
        UploadedFile(named)


def test_files_of_the_page_are_for_its_process_alone(address):
    assert own_folder().stat().st_mode & 0o077 == 0


def test_files_fill_no_more_than_their_room(address, photos, monkeypatch):
    def upload() -> int:
        content = photos[0].read_bytes()
        return httpx.post(f"{address}{API}/upload", files={"files": content}).status_code

    assert upload() == 200
    monkeypatch.setattr("cyclegan_style.serving.files.MOST_KEPT_BYTES", 1)
    assert upload() == 507
    monkeypatch.undo()
    monkeypatch.setattr("cyclegan_style.serving.files.MOST_KEPT_FILES", 1)
    assert upload() == 507
    monkeypatch.undo()
    assert upload() == 200


def test_a_picture_of_too_many_pixels_is_refused():
    path = own_folder() / "wide.png"
    Image.new("L", (1000, 101)).save(path)

    with pytest.raises(UserError, match="1000 × 101 pixels are more than the 100,000"):
        UploadedFile({"path": str(path), "orig_name": "wide.png"}).read(MOST_PIXELS)


def test_a_painting_grows_and_ends_when_nobody_waits(photos):
    content, style = map(read_image, photos)
    painter = Painter("cpu")

    async def stages(most: int) -> list[Any]:
        seen = []
        painting = painter.paint(content, style, page_recipe(48, 6, 1.0, "no"))
        async for stage in painting:
            seen.append(stage)
            if len(seen) == most:
                break
        await painting.aclose()
        return seen

    async def first_stopped_then_all() -> tuple[list[Any], list[Any]]:
        return await stages(1), await stages(99)

    with ThreadPoolExecutor() as another:  # in this one, the browser's loop is running
        stopped, whole = another.submit(asyncio.run, first_stopped_then_all()).result()

    assert [stage.step for stage in stopped] == [1]
    assert [stage.step for stage in whole] == [1, 5, 6]
    assert whole[-1].pixels.shape == (34, 48, 3)
