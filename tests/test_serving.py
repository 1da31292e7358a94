"""Pictures over HTTP: what is answered, in which batches, and by which files."""

import asyncio
import base64
import io
import shutil

import httpx
import numpy as np
import pytest
import torch
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families
from serving_in_tests import (
    LEAKS,
    PROBLEM,
    client_of,
    export_tiny,
    file_of,
    held,
    in_a_loop,
    noise,
    pixels_in,
    service_of,
    until,
)

from cyclegan_style import Predictor
from cyclegan_style.errors import UserError
from cyclegan_style.serving.access import TokenGuard
from cyclegan_style.serving.admission import PART_BYTES
from cyclegan_style.serving.loaded_models import named
from cyclegan_style.serving.problems import ProblemError

URL = "/v1/translate"
SCOPE = {
    "type": "http",
    "asgi": {"version": "3.0"},
    "http_version": "1.1",
    "method": "POST",
    "scheme": "http",
    "path": URL,
    "raw_path": URL.encode(),
    "query_string": b"",
    "root_path": "",
    "headers": [],
    "client": ("x", 1),
    "server": ("x", 1),
}
"""Of a translation without parameters, for a client who does as a test says."""


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return export_tiny(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def predictors(model):
    return {way: Predictor.load(model, way, "cpu", "fp32") for way in ("ab", "ba")}


def assert_problem(response: httpx.Response, status: int, says: str = "") -> None:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == PROBLEM
    problem = response.json()
    assert problem["status"] == status
    assert problem["title"]
    assert says in problem["detail"]
    assert not any(leak in response.text for leak in LEAKS)


def batches(service, way: str = "ab") -> dict[str, float]:
    """How many batches of a direction had up to so many pictures; their count and sum."""
    return {
        sample.labels.get("le", sample.name.rpartition("_")[2]): sample.value
        for family in text_string_to_metric_families(service.metrics.text().decode())
        if family.name == "cyclegan_style_batch_size"
        for sample in family.samples
        if sample.labels["direction"] == way
    }


@in_a_loop
async def test_answers_are_what_the_predictor_makes(model, predictors):
    picture = noise(25, 31)
    content = file_of(picture)
    async with client_of(service_of({"tiny": model})) as client:
        for way, predictor in predictors.items():
            expected = np.asarray(predictor.translate(picture))
            raw = await client.post(URL, params={"direction": way}, content=content)
            form = await client.post(
                URL,
                params={"direction": way, "model": "tiny"},
                files={"file": ("../../etc/passwd", content, "text/plain")},
            )
            for response in (raw, form):
                assert response.headers["content-type"] == "image/png"
                assert np.array_equal(pixels_in(response.content), expected)


@in_a_loop
async def test_formats_and_qualities(model):
    async with client_of(service_of({"tiny": model})) as client:
        sizes = {}
        for name, kind, quality in [
            ("jpg", "JPEG", 90),
            ("jpg", "JPEG", 10),
            ("webp", "WEBP", 90),
        ]:
            response = await client.post(
                URL, params={"format": name, "quality": quality}, content=file_of(noise(64, 64))
            )
            assert Image.open(io.BytesIO(response.content)).format == kind
            sizes[name, quality] = len(response.content)
        assert sizes["jpg", 10] < sizes["jpg", 90]


@in_a_loop
async def test_pictures_are_turned_upright_and_their_origin_is_handed_on(model, predictors):
    picture, exif = noise(24, 40), Image.Exif()
    exif[0x0112], exif[0x013B] = 6, "A. Painter"
    content = file_of(picture, exif=exif)
    async with client_of(service_of({"tiny": model})) as client:
        response = await client.post(URL, content=content)
    answer = Image.open(io.BytesIO(response.content))
    assert np.array_equal(
        np.asarray(answer), np.asarray(predictors["ab"].translate(np.rot90(picture, -1)))
    )
    assert answer.getexif()[0x013B] == "A. Painter"
    assert answer.getexif()[0x0112] == 1


@in_a_loop
async def test_pictures_of_one_padded_size_go_together(model, predictors):
    service = service_of({"tiny": model}, batch_size=4, batch_seconds=60.0)
    pictures = [
        noise(*size, seed=i) for i, size in enumerate([(24, 24), (23, 24), (21, 22), (24, 21)])
    ]
    async with client_of(service) as client:
        responses = await asyncio.gather(
            *(client.post(URL, content=file_of(picture)) for picture in pictures)
        )
    for picture, response in zip(pictures, responses, strict=True):
        alone = np.asarray(predictors["ab"].translate(picture)).astype(int)
        assert np.abs(pixels_in(response.content) - alone).max() <= 1
    found = batches(service)
    assert (found["2.0"], found["4.0"], found["sum"]) == (0, 1, 4)


@in_a_loop
async def test_other_sizes_and_directions_go_apart(model, predictors):
    service = service_of({"tiny": model}, batch_size=4, batch_seconds=0.0)
    asked = [((24, 24), "ab"), ((24, 24), "ba"), ((48, 24), "ab"), ((24, 24), "ab")]
    async with client_of(service) as client:
        with held(service):
            requests = [
                asyncio.create_task(
                    client.post(URL, params={"direction": way}, content=file_of(noise(*size)))
                )
                for size, way in asked
            ]
            await until(lambda: service.inside == 4)
        for (size, way), request in zip(asked, requests, strict=True):
            expected = np.asarray(predictors[way].translate(noise(*size))).astype(int)
            assert np.abs(pixels_in((await request).content) - expected).max() <= 1
    assert (batches(service)["sum"], batches(service, "ba")["sum"]) == (3, 1)
    assert batches(service)["count"] >= 2  # two sizes


@in_a_loop
async def test_stripes_within_the_budget(tmp_path, model):
    content = file_of(noise(208, 112))
    striped = Predictor.load(model, "ab", "cpu", "fp32", 1_500_000)
    assert striped.core.whole_bytes(208, 112) > 1_500_000
    async with client_of(service_of({"tiny": model}, memory_budget=1_500_000)) as client:
        response = await client.post(URL, content=content)
    assert np.array_equal(
        pixels_in(response.content), np.asarray(striped.translate(noise(208, 112)))
    )


@in_a_loop
async def test_what_the_memory_does_not_hold_is_refused(model):
    async with client_of(service_of({"tiny": model}, memory_budget=1_500_000)) as client:
        response = await client.post(URL, content=file_of(noise(600, 600)))
    assert_problem(response, 413, "even in stripes")


@in_a_loop
async def test_a_full_queue_sends_away_at_once_without_reading(model):
    service = service_of({"tiny": model}, requests=2)
    read = []

    async def body():
        read.append(1)
        yield file_of(noise())

    async with client_of(service) as client:
        with held(service):
            inside = [asyncio.create_task(client.post(URL, content=file_of(noise()))) for _ in "12"]
            await until(lambda: service.inside == 2)
            refused = await client.post(URL, content=body())
            assert (await client.get("/healthz")).status_code == 200
        assert_problem(refused, 503, "the limit")
        assert refused.headers["retry-after"] == "1"
        assert not read
        assert [(await each).status_code for each in inside] == [200, 200]
        assert (await client.post(URL, content=file_of(noise()))).status_code == 200
    assert service.inside == 0


@in_a_loop
async def test_a_deadline_of_its_own(model):
    service = service_of({"tiny": model}, seconds=0.2)
    async with client_of(service) as client:
        with held(service):
            # The first is handed to the network's thread, the second waits.
            late = await asyncio.gather(
                *(client.post(URL, content=file_of(noise())) for _ in range(2))
            )
        for response in late:
            assert_problem(response, 504, "0.2 seconds")
        assert service.inside == 0
        await asyncio.get_running_loop().run_in_executor(service.network, int)
    assert batches(service).get("sum", 0) <= 1


@in_a_loop
async def test_who_has_gone_is_not_waited_for(model):
    service = service_of({"tiny": model})
    async with client_of(service) as client:
        leave = asyncio.Event()
        parts = [{"type": "http.request", "body": file_of(noise()), "more_body": False}]

        async def receive():
            if parts:
                return parts.pop()
            await leave.wait()
            return {"type": "http.disconnect"}

        async def send(message):
            pass

        with held(service):
            first = asyncio.create_task(client.post(URL, content=file_of(noise())))
            await until(lambda: service.network._work_queue.qsize() == 1)
            gone = asyncio.create_task(client._transport.app(SCOPE, receive, send))
            await until(lambda: service.batcher.waiting == 1)
            leave.set()
            await gone
            assert service.inside == 1
            assert service.batcher.waiting == 0
        assert (await first).status_code == 200
    assert batches(service)["sum"] == 1


@in_a_loop
async def test_pictures_of_a_page_keep_to_the_same_limits(model, predictors):
    service = service_of({"tiny": model}, requests=1, pixels=2000)
    image = Image.fromarray(noise())
    async with client_of(service):
        translation = await service.translate_image("tiny", "ba", image)
        assert translation.tobytes() == predictors["ba"].translate(image).tobytes()
        with pytest.raises(ProblemError, match="more than the limit of 2,000"):
            await service.translate_image("tiny", "ba", image.resize((50, 50)))
        with service.place(), pytest.raises(ProblemError, match="which is the limit"):
            await service.translate_image("tiny", "ba", image)


@in_a_loop
async def test_answers_that_nobody_fetches_keep_their_place_for_a_while(model):
    service = service_of({"tiny": model}, body_seconds=0.3)
    taken, never = [], asyncio.Event()
    parts = [{"type": "http.request", "body": file_of(noise(200, 200)), "more_body": False}]

    async def receive():
        if not parts:
            await never.wait()
        return parts.pop()

    async def send(message):
        taken.append(len(message.get("body", b"")))
        if len(taken) == 2:
            await never.wait()

    async with client_of(service) as client:
        sending = asyncio.create_task(client._transport.app(SCOPE, receive, send))
        await until(lambda: len(taken) == 2)
        assert service.inside == 1
        await sending
    assert service.inside == 0
    assert taken == [0, PART_BYTES]


@in_a_loop
async def test_a_batch_that_fails_is_tried_one_by_one(model, predictors, monkeypatch):
    service = service_of({"tiny": model}, batch_size=2, batch_seconds=60.0)
    async with client_of(service) as client:
        core = service.models.models["tiny"].current.plain["ab"].core
        together = core.network

        def short_of_memory(inputs: torch.Tensor) -> torch.Tensor:
            if len(inputs) > 1:
                raise RuntimeError("CUDA out of memory. Tried to allocate /tmp/secret.py")
            return together(inputs)

        monkeypatch.setattr(core, "network", short_of_memory)
        responses = await asyncio.gather(
            *(client.post(URL, content=file_of(noise(seed=i))) for i in range(2))
        )
    for seed, response in enumerate(responses):
        expected = np.asarray(predictors["ab"].translate(noise(seed=seed)))
        assert np.array_equal(pixels_in(response.content), expected)


@in_a_loop
@pytest.mark.parametrize(
    ("error", "status"),
    [(RuntimeError("CUDA out of memory at /tmp/x.py"), 503), (KeyError("/tmp/x.py"), 500)],
)
async def test_failures_show_nothing_of_the_inside(model, monkeypatch, error, status):
    service = service_of({"tiny": model})

    def fail(inputs):
        raise error

    async with client_of(service) as client:
        core = service.models.models["tiny"].current.plain["ab"].core
        with monkeypatch.context() as patched:
            patched.setattr(core, "network", fail)
            assert_problem(await client.post(URL, content=file_of(noise())), status)
        assert (await client.post(URL, content=file_of(noise()))).status_code == 200


@in_a_loop
async def test_styles_and_strengths(tmp_path):
    folder = export_tiny(tmp_path / "m", generator__styles=3, generator__skip=True)
    picture = noise()
    async with client_of(service_of({"m": folder})) as client:
        for style, strength in [("2", 1.0), ("1:0.3,2:0.7", 1.0), ("3", 0.5), (None, 0.0)]:
            asked = {"strength": strength} | ({"style": style} if style else {})
            response = await client.post(URL, params=asked, content=file_of(picture))
            expected = Predictor.load(
                folder, "ab", "cpu", "fp32", style=style, strength=strength
            ).translate(picture)
            assert np.array_equal(pixels_in(response.content), np.asarray(expected))
        for asked in ({"style": "4"}, {"style": "x"}, {"style": "1:0,2:0"}):
            assert_problem(await client.post(URL, params=asked, content=b""), 422, "style: ")
        for asked in ({"strength": "nan"}, {"strength": -1}, {"strength": "1e300"}):
            assert_problem(await client.post(URL, params=asked, content=b""), 422, "strength")
        described = (await client.get("/v1/models")).json()["models"][0]
        assert [each["styles"] for each in described["directions"]] == [3, 3]


@in_a_loop
async def test_a_model_of_one_direction(tmp_path, model):
    folder = shutil.copytree(model, tmp_path / "one")
    (folder / "generator_ab.safetensors").unlink()
    async with client_of(service_of({"one": folder})) as client:
        response = await client.post(URL, content=file_of(noise()))
        expected = Predictor.load(folder, None, "cpu", "fp32").translate(noise())
        assert np.array_equal(pixels_in(response.content), np.asarray(expected))
        refused = await client.post(URL, params={"direction": "ab"}, content=file_of(noise()))
        assert_problem(refused, 422, "translates ba only")
        refused = await client.post(URL, params={"strength": 2}, content=file_of(noise()))
        assert_problem(refused, 422, "strength: is for models with generator.skip")


@in_a_loop
async def test_not_ready_before_it_is_warm(model):
    service = service_of({"tiny": model})
    async with client_of(service, ready=False) as client:
        assert (await client.get("/healthz")).json() == {"status": "ok"}
        assert_problem(await client.get("/readyz"), 503, "tiny: loading")
        assert_problem(await client.post(URL, content=file_of(noise())), 503, "not loaded")
        await until(lambda: service.models.ready)
        assert (await client.get("/readyz")).json()["models"] == {"tiny": "ready"}


@in_a_loop
async def test_a_model_that_cannot_be_loaded_is_named_and_mended(tmp_path, model, caplog):
    broken = shutil.copytree(model, tmp_path / "broken")
    whole = (broken / "generator_ab.safetensors").read_bytes()
    (broken / "generator_ab.safetensors").write_bytes(whole[:1000])
    service = service_of({"tiny": model, "broken": broken, "absent": tmp_path / "absent"})
    async with client_of(service) as client:
        ready = await client.get("/readyz")
        assert ready.json()["models"] == {"tiny": "ready", "broken": "failed", "absent": "failed"}
        assert not any(leak in ready.text for leak in LEAKS)
        assert "damaged" in caplog.text
        assert (await client.post(URL, content=file_of(noise()))).status_code == 200
        refused = await client.post(URL, params={"model": "broken"}, content=file_of(noise()))
        assert_problem(refused, 503, "broken is not loaded")

        (broken / "generator_ab.safetensors").write_bytes(whole)
        shutil.copytree(model, tmp_path / "absent" / "model")
        await until(lambda: all(m.state == "ready" for m in service.models.models.values()))
        for name in ("broken", "absent"):
            response = await client.post(URL, params={"model": name}, content=file_of(noise()))
            assert response.status_code == 200


@in_a_loop
async def test_refreshed_files_are_taken_up_without_dropping_requests(tmp_path, model):
    folder = shutil.copytree(model, tmp_path / "run" / "model")
    service = service_of({"run": folder.parent}, requests=64)
    old = np.asarray(Predictor.load(folder, "ab", "cpu", "fp32").translate(noise()))
    answers = []
    async with client_of(service) as client:

        async def ask() -> None:
            response = await client.post(URL, content=file_of(noise()))
            assert response.status_code == 200
            answers.append(pixels_in(response.content))

        async def taken_up(state: str, weights: str) -> None:
            served = service.models.models["run"]
            while served.state != state or served.current.plain["ab"].checksum == weights:
                await asyncio.gather(*(ask() for _ in range(3)))

        before = service.models.models["run"].current.plain["ab"].checksum
        await ask()
        export_tiny(folder, seed=1)
        await taken_up("ready", before)
        await ask()
        new = np.asarray(Predictor.load(folder, "ab", "cpu", "fp32").translate(noise()))
        assert np.array_equal(answers[0], old)
        assert np.array_equal(answers[-1], new)
        assert all(np.array_equal(a, old) or np.array_equal(a, new) for a in answers)

        (folder / "generator_ab.safetensors").write_bytes(b"half of a copy")
        await taken_up("stale", before)
        await ask()
        assert np.array_equal(answers[-1], new)
        assert (await client.get("/readyz")).json()["models"] == {"run": "stale"}


def test_names_of_models(tmp_path, model):
    run = tmp_path / "monet run"
    shutil.copytree(model, run / "model")
    file = run / "model" / "generator_ab.safetensors"
    assert named([str(run)]) == {"monet-run": str(run)}
    assert named([str(run / "model"), f"x={run}"]) == {
        "monet-run": str(run / "model"),
        "x": str(run),
    }
    assert named([str(file), "user/name"]) == {"generator_ab": str(file), "name": "user/name"}
    with pytest.raises(UserError, match="two are named monet-run"):
        named([str(run), str(run / "model")])


@in_a_loop
async def test_metrics(model):
    service = service_of({"tiny": model})
    async with client_of(service) as client:
        await client.post(URL, content=file_of(noise()))
        await client.post(URL, content=b"")
        for number in range(3):
            await client.get(f"/unknown/{number}")
        response = await client.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain; version=")
    found = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(response.text)
        for sample in family.samples
    }
    requests = "cyclegan_style_requests_total"
    assert found[requests, URL, "200"] == found[requests, URL, "422"] == 1
    assert found[requests, "other", "404"] == 3
    assert found["cyclegan_style_request_seconds_count", URL] == 2
    assert found["cyclegan_style_batch_size_count", "ab", "tiny"] == 1
    assert found["cyclegan_style_pictures_waiting",] == 0
    assert found["cyclegan_style_translations_inside",] == 0
    assert found["cyclegan_style_memory_bytes",] > 1e6


@in_a_loop
async def test_the_schema_stands_alone(model):
    async with client_of(service_of({"tiny": model})) as client:
        schema = (await client.get("/openapi.json")).json()
        assert_problem(await client.get("/docs"), 404)
    assert list(schema["paths"]) == [URL, "/v1/models", "/healthz", "/readyz", "/metrics"]
    post = schema["paths"][URL]["post"]
    assert "multipart/form-data" in post["requestBody"]["content"]
    assert "image/png" in post["responses"]["200"]["content"]
    assert post["responses"]["413"]["content"][PROBLEM]["example"]["status"] == 413
    models = schema["paths"]["/v1/models"]["get"]["responses"]["200"]["content"]
    assert models["application/json"]["example"]["models"]


def basic(password: str) -> str:
    return "Basic " + base64.b64encode(f"anybody:{password}".encode()).decode()


@in_a_loop
async def test_the_token_guards_all_but_the_probes(model):
    async with client_of(service_of({"tiny": model}), "tür:secret") as client:

        async def status(path: str, authorization: str | None = None) -> int:
            headers = {} if authorization is None else {"Authorization": authorization.encode()}
            return (await client.get(path, headers=headers)).status_code

        for path in ("/healthz", "/readyz"):
            assert await status(path) == 200
        for path in ("/", "/v1/models", "/metrics", "/openapi.json", "/unknown", "/healthz/"):
            refused = await client.get(path)
            assert_problem(refused, 401, "token")
            assert "Basic" in refused.headers["www-authenticate"]
        for wrong in ("", "Bearer", "Bearer x", "Basic %%", basic("x"), "tür:secret", "Bearer é"):
            assert await status("/v1/models", wrong) == 401
        for right in ("Bearer tür:secret", "bearer  tür:secret ", basic("tür:secret")):
            assert await status("/v1/models", right) == 200


@in_a_loop
async def test_the_token_guards_sockets_too():
    passed, sent = [], []

    async def app(scope, receive, send):
        passed.append(scope)

    async def send(message):
        sent.append(message["type"])

    guard = TokenGuard(app, "secret")
    for headers in ([], [(b"authorization", b"Bearer secret")]):
        scope = {"type": "websocket", "path": "/healthy", "headers": headers}
        await guard(scope, lambda: None, send)
    assert len(passed) == 1
    assert sent == ["websocket.close"]
