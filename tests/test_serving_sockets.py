"""Servers on real sockets: bodies that are cut off, clients that leave, a process that ends."""

import json
import os
import socket
import subprocess
import sys
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from urllib.parse import urlsplit

import httpx
import numpy as np
import pytest
from serving_in_tests import (
    PROBLEM,
    export_tiny,
    file_of,
    held,
    listening,
    noise,
    pixels_in,
    service_of,
)

from cyclegan_style import Predictor
from cyclegan_style.commands.main import main

MOST = 200_000
CLIENT = httpx.Client(verify=False, timeout=60)  # without certificates, which take long to load


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return export_tiny(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def service(model):
    return service_of({"tiny": model}, body_bytes=MOST, body_seconds=0.4, pixels=10_000)


@pytest.fixture(scope="module")
def address(service):
    with listening(service) as address:
        yield address


@contextmanager
def connected(address: str):
    parts = urlsplit(address)
    with socket.create_connection((parts.hostname, parts.port), timeout=60) as connection:
        yield connection


def answer_on(connection: socket.socket) -> tuple[int, bytes]:
    """Status and body of an answer after which the connection ends."""
    received = b""
    while part := connection.recv(65536):
        received += part
    head, _, body = received.partition(b"\r\n\r\n")
    return int(head.split()[1]), body


def until(condition) -> None:
    while not condition():
        time.sleep(0.002)


def test_a_body_is_counted_before_it_is_kept(address):
    sent = 0

    def endless():
        nonlocal sent
        while sent < 100 * MOST:
            sent += 10_000
            yield b"x" * 10_000

    for content in (endless(), b"x" * (MOST + 1)):
        response = CLIENT.post(f"{address}/v1/translate", content=content)
        assert (response.status_code, response.headers["content-type"]) == (413, PROBLEM)
        assert f"{MOST:,} bytes" in response.json()["detail"]
    assert sent < 100 * MOST


def test_a_form_is_counted_too(address):
    form = {"file": ("a.png", b"x" * 10 * MOST)}
    request = CLIENT.build_request("POST", f"{address}/v1/translate", files=form)
    del request.headers["Content-Length"]
    request.headers["Transfer-Encoding"] = "chunked"
    assert CLIENT.send(request).status_code == 413


def test_a_body_that_does_not_come(address, service):
    with connected(address) as connection:
        connection.sendall(
            b"POST /v1/translate HTTP/1.1\r\nHost: x\r\nContent-Length: 900\r\n\r\nab"
        )
        status, body = answer_on(connection)
    assert status == 408
    assert json.loads(body)["status"] == 408
    until(lambda: service.inside == 0)


def test_pixels_are_counted_by_the_header(address):
    # A header of 100,000 × 100,000, and nothing behind it that could be decoded.
    claimed = bytearray(file_of(noise(4, 4)))
    claimed[16:24] = (100_000).to_bytes(4, "big") * 2
    claimed[29:33] = zlib.crc32(claimed[12:29]).to_bytes(4, "big")
    for content in (bytes(claimed), b"P6 100000 100000 255\n", file_of(noise(101, 100))):
        response = CLIENT.post(f"{address}/v1/translate", content=content)
        assert response.status_code == 413
        assert "more than the limit of 10,000" in response.json()["detail"]
    line = CLIENT.post(f"{address}/v1/translate", content=file_of(noise(10_000, 1)))
    assert line.status_code == 413  # its borders alone are large
    assert CLIENT.get(f"{address}/healthz").status_code == 200


def test_a_side_that_the_format_does_not_hold(model):
    with listening(service_of({"tiny": model}, pixels=200_000)) as address:
        content = file_of(noise(16_400, 8))
        asked = [
            CLIENT.post(f"{address}/v1/translate?format={f}", content=content)
            for f in ("webp", "png")
        ]
    assert [each.status_code for each in asked] == [422, 200]
    assert "take png" in asked[0].json()["detail"]


@pytest.mark.parametrize(
    ("content", "kind", "status", "says"),
    [
        (b"", "image/png", 422, "empty"),
        (b"no picture", "image/png", 422, "not an image"),
        (file_of(noise(90, 90))[:-3000], "image/png", 422, "cannot be read"),
        (file_of(noise()), "text/html", 415, "image/jpeg"),
        (file_of(noise()), "application/x-www-form-urlencoded", 415, "image/jpeg"),
        (b"--x\r\n", "multipart/form-data", 400, "boundary"),
        (b"no form", "multipart/form-data; boundary=x", 400, "form cannot be read"),
        (b"--x--\r\n", "multipart/form-data; boundary=x", 422, "no such file"),
        (
            b'--x\r\nContent-Disposition: form-data; name="file"\r\n\r\ntext\r\n--x--\r\n',
            "multipart/form-data; boundary=x",
            422,
            "no such file",
        ),
        (
            b'--x\r\nContent-Disposition: form-data; name="\xff"\r\n\r\ntext\r\n--x--\r\n',
            "multipart/form-data; boundary=x; charset=punycode",
            400,
            "form cannot be read",
        ),
    ],
)  # fmt: skip
def test_bodies_that_are_no_pictures(address, content, kind, status, says):
    response = CLIENT.post(
        f"{address}/v1/translate", content=content, headers={"Content-Type": kind}
    )
    assert (response.status_code, response.headers["content-type"]) == (status, PROBLEM)
    assert says in response.json()["detail"]


@pytest.mark.parametrize(
    ("method", "target", "status"),
    [
        ("POST", "/v1/translate?direction=up", 422),
        ("POST", "/v1/translate?directon=ab", 422),
        ("POST", "/v1/translate?quality=0", 422),
        ("POST", "/v1/translate?format=exe", 422),
        ("POST", "/v1/translate?model=../../etc/passwd", 404),
        ("POST", "/v1/translate?model=%2Fetc%2Fpasswd%00", 404),
        ("GET", "/v1/translate", 405),
        ("DELETE", "/v1/models", 405),
        ("POST", "/healthz", 405),
        ("GET", "/v1/../../etc/passwd", 404),
        ("GET", "/v1/models/", 404),
        ("GET", "/", 404),
        ("OPTIONS", "*", 404),
    ],
)
def test_refusals_are_problems(address, method, target, status):
    with connected(address) as connection:
        head = f"{method} {target} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close"
        connection.sendall(f"{head}\r\n\r\n".encode())
        found, body = answer_on(connection)
    problem = json.loads(body)
    assert (found, problem["status"], problem["type"]) == (status, status, "about:blank")
    assert problem["detail"]
    assert b"passwd" not in body


def test_who_leaves_is_dropped(address, service):
    content = file_of(noise())
    head = f"POST /v1/translate HTTP/1.1\r\nHost: x\r\nContent-Length: {len(content)}\r\n\r\n"
    with held(service):
        for _ in range(5):
            with connected(address) as connection:
                connection.sendall(head.encode() + content)
                until(lambda: service.inside == 1)
            until(lambda: service.inside == 0)
        assert service.batcher.waiting <= 1
    assert CLIENT.post(f"{address}/v1/translate", content=content).status_code == 200


def test_a_crowd_is_answered_or_sent_away(model):
    service = service_of({"tiny": model}, workers=2, requests=4, batch_size=4)
    predictor = Predictor.load(model, "ab", "cpu", "fp32")
    with listening(service) as address, ThreadPoolExecutor(16) as crowd:
        sizes = [(24, 24), (31, 28)]

        def ask(number: int) -> int:
            size = sizes[number % 2]
            response = CLIENT.post(f"{address}/v1/translate", content=file_of(noise(*size)))
            if response.status_code == 200:
                expected = np.asarray(predictor.translate(noise(*size))).astype(int)
                assert np.abs(pixels_in(response.content) - expected).max() <= 1
            return response.status_code

        statuses = list(crowd.map(ask, range(64)))
        probes = [CLIENT.get(f"{address}/readyz").status_code for _ in range(3)]
    assert set(statuses) <= {200, 503}
    assert statuses.count(200) >= 4
    assert probes == [200] * 3
    assert service.inside == 0


def test_sigterm_finishes_what_has_begun_and_refuses_the_rest(model):
    command = [sys.executable, "-m", "cyclegan_style", "serve", "--model", f"m={model}"]
    command += ["--port", "0", "--device", "cpu", "--precision", "fp32", "--json"]
    environment = os.environ | {"CYCLEGAN_STYLE_TOKEN": "secret"}
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    with process:
        line = process.stderr.readline()
        assert line.startswith("serving m at http://127.0.0.1:"), line
        address = line.split()[-1]
        known = {"auth": ("", "secret")}
        assert CLIENT.get(f"{address}/v1/models").status_code == 401
        content = file_of(noise())
        head = f"POST /v1/translate HTTP/1.1\r\nHost: x\r\nContent-Length: {len(content)}\r\n"
        with connected(address) as connection:
            connection.sendall(f"{head}Authorization: Bearer secret\r\n\r\n".encode() + content[:9])
            inside = "cyclegan_style_translations_inside 1.0"
            until(lambda: inside in CLIENT.get(f"{address}/metrics", **known).text)
            process.terminate()
            with pytest.raises(httpx.TransportError):  # refused, or reset while it waits
                while True:
                    CLIENT.get(f"{address}/healthz", headers={"Connection": "close"})
            connection.sendall(content[9:])
            status, answer = answer_on(connection)
        assert status == 200
        expected = Predictor.load(model, "ab", "cpu", "fp32").translate(noise())
        assert np.array_equal(pixels_in(answer), np.asarray(expected))
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0
    assert json.loads(out) == {"translated": 1}
    assert err == "1 translated\n"


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--host", "0.0.0.0"], "can be reached by others"),
        (["--host", "example.org"], "can be reached by others"),
        (["--token", ""], "--token: empty"),
        (["--queue", "2", "--batch-size", "4"], "--queue must be at least --batch-size"),
        (["--timeout", "0"], "--timeout must be more than 0"),
        (["--max-body", "much"], "--max-body: 'much' is not a size"),
        (["--port", "70000"], "--port must be 0 to 65535"),
        (["--host", "192.0.2.1", "--public"], "cannot be listened at"),
    ],
)
def test_what_cannot_be_served_is_refused_in_one_line(model, capsys, options, complaint):
    assert main(["serve", "--model", str(model), "--port", "0", "--device", "cpu", *options]) == 2
    error = capsys.readouterr().err
    assert complaint in error
    assert error.count("\n") == 1


def test_nothing_to_serve_is_refused_in_one_line(tmp_path, model, capsys):
    (tmp_path / "run").mkdir()
    options = ["--port", "0", "--device", "cpu", "--precision", "fp32"]
    assert main(["serve", "--model", str(tmp_path / "run"), *options]) == 2
    assert "error: --model: none could be loaded: run: " in capsys.readouterr().err
