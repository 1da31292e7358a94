"""What strangers may send: requests after the schema and against it, and damaged pictures."""

import random
from collections import Counter
from contextlib import suppress

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis.checks import CHECKS, load_all_checks
from serving_in_tests import LEAKS, PROBLEM, export_tiny, file_of, listening, noise, service_of

CLIENT = httpx.Client(verify=False, timeout=60)
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "TIFF", "BMP", "PPM", "JPEG2000")
NOT_SAID_BY_SCHEMAS = {"positive_data_acceptance", "ignored_auth"}
"""Which bytes are a picture; and there is no token here."""


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    model = export_tiny(tmp_path_factory.mktemp("models") / "tiny")
    with listening(service_of({"tiny": model}, body_bytes=200_000, pixels=40_000)) as address:
        yield address


def mutated(content: bytes, chance: random.Random) -> bytes:
    """With bytes replaced, cut out, doubled, or the end missing."""
    damaged = bytearray(content)
    for _ in range(chance.choice((1, 2, 8, 32))):
        place = chance.randrange(min(len(damaged), chance.choice((64, 10**6))) or 1)
        match chance.randrange(5):
            case 0:
                damaged[place : place + 1] = bytes([chance.randrange(256)])
            case 1:
                damaged[place : place + 4] = chance.choice(
                    (b"\xff" * 4, b"\0" * 4, b"\x7f\xff\xff\xff")
                )
            case 2:
                del damaged[place : place + chance.randrange(64)]
            case 3:
                damaged[place:place] = damaged[place : place + 64]
            case 4 if chance.random() < 0.2:
                del damaged[place:]
    return bytes(damaged)


def assert_bearable(response: httpx.Response) -> None:
    assert response.status_code < 500 or response.status_code == 503, response.text
    if response.status_code >= 400:
        assert response.headers["content-type"] == PROBLEM
        assert response.json()["detail"]
        assert not any(leak in response.text for leak in LEAKS), response.text


def fuzz_pictures(address: str, count: int, seed: int) -> Counter[int]:
    chance = random.Random(seed)
    whole = [file_of(noise(20, 20), name) for name in FORMATS]
    statuses: Counter[int] = Counter()
    for number in range(count):
        content = mutated(whole[number % len(whole)], chance)
        if number % 3:
            response = CLIENT.post(f"{address}/v1/translate", content=content)
        else:
            response = CLIENT.post(f"{address}/v1/translate", files={"file": ("x.png", content)})
        assert_bearable(response)
        statuses[response.status_code] += 1
    assert CLIENT.get(f"{address}/readyz").status_code == 200
    return statuses


def fuzz_schema(address: str, examples: int, path: str = "") -> Counter[int]:
    """Requests to one path of the schema, or to all."""
    load_all_checks()
    checks = [check for check in CHECKS.get_all() if check.__name__ not in NOT_SAID_BY_SCHEMAS]
    schema = schemathesis.openapi.from_url(f"{address}/openapi.json")
    statuses: Counter[int] = Counter()
    for mode in schemathesis.GenerationMode:
        for found in schema.get_all_operations():
            operation = found.ok()
            if path not in ("", operation.path):
                continue

            @settings(max_examples=examples, suppress_health_check=list(HealthCheck), deadline=None)
            @given(case=operation.as_strategy(generation_mode=mode))
            def ask(case) -> None:
                response = case.call()
                case.validate_response(response, checks=checks)
                statuses[response.status_code] += 1
                assert response.status_code < 500 or response.status_code == 503
                if response.status_code >= 400:
                    assert not any(leak.encode() in response.content for leak in LEAKS)

            with suppress(Unsatisfiable):  # nothing can be asked against some schemas
                ask()
    assert CLIENT.get(f"{address}/readyz").status_code == 200
    return statuses


def test_some_damaged_pictures(address):
    statuses = fuzz_pictures(address, 48, seed=0)
    assert statuses[422] > 5


def test_some_requests_after_the_schema(address):
    assert fuzz_schema(address, 3, "/v1/translate")


@pytest.mark.slow
def test_a_thousand_damaged_pictures(address):
    print(fuzz_pictures(address, 1000, seed=1))


@pytest.mark.slow
def test_many_requests_after_the_schema(address):
    print(fuzz_schema(address, 200))
