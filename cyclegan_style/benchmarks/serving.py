"""A server under load: whether it answers everybody, correctly, steadily, and how fast."""

import asyncio
import io
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import psutil
import torch
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from cyclegan_style.applying.predictor import Predictor
from cyclegan_style.benchmarks.timing import device_name, seconds_of
from cyclegan_style.config import Config, GeneratorConfig, to_yaml
from cyclegan_style.data.images import Pixels, resize, to_pillow
from cyclegan_style.errors import UserError
from cyclegan_style.models.export import export_model
from cyclegan_style.networks import build_generator
from cyclegan_style.serving.pictures import encoded

PICTURES = 16
"""Different ones, which clients send in turn."""
ROUNDING = 1
"""Levels of 0 to 255 by which batches of different sizes may differ on a GPU."""


@dataclass(frozen=True)
class LoadFigures:
    """What clients saw who asked again as soon as they were answered."""

    baseline_seconds: float
    """Of a picture by the predictor's ``translate_batch``, without a server."""
    seconds: float
    """Of a picture by the server, as many at once as there were clients."""
    ratio: float
    """The baseline's seconds over the server's: its share of the predictor's throughput."""
    requests: int
    wrong: int
    """Answers that were no translation, or not the predictor's."""
    largest_difference: int
    """From the predictor's translations, in levels of 0 to 255."""
    p50_seconds: float
    p99_seconds: float
    first_gigabytes: float
    """Most resident memory of the server in the first half, warmed up."""
    last_gigabytes: float
    """The same of the second half."""
    device: str


@dataclass
class Answers:
    """What came back: of each different answer one, and how often and when."""

    seconds: list[float] = field(default_factory=list)
    bodies: dict[tuple[int, bytes], int] = field(default_factory=dict)
    """How often a picture's number was answered by these bytes."""
    failures: int = 0

    def add(self, number: int, status: int, body: bytes, seconds: float) -> None:
        """Keep an answer to a picture."""
        self.seconds.append(seconds)
        if status == 200:
            self.bodies[number, body] = self.bodies.get((number, body), 0) + 1
        else:
            self.failures += 1

    def wrong(self, expected: Sequence[NDArray[np.int_]]) -> tuple[int, int]:
        """How many answers are not what was expected, and the largest difference of the others."""
        wrong, largest = self.failures, 0
        for (number, body), count in self.bodies.items():
            found = np.asarray(Image.open(io.BytesIO(body)).convert("RGB")).astype(int)
            if found.shape != expected[number].shape:
                wrong += count
                continue
            difference = int(np.abs(found - expected[number]).max())
            largest = max(largest, difference)
            wrong += count if difference > ROUNDING else 0
        return wrong, largest


def measure_serving(
    size: int, generator: GeneratorConfig, clients: int, seconds: float
) -> LoadFigures:
    """Load a server of a network of random weights with clients that never wait."""
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "model"
        torch.manual_seed(0)
        networks = {"ab": build_generator(generator)}
        export_model(model, networks, to_yaml(Config(generator=generator)))
        predictor = Predictor.load(model)
        pictures = smooth_pictures(size)
        images = [to_pillow(each) for each in pictures]
        expected = [np.asarray(each).astype(int) for each in predictor.translate_batch(images)]
        before = seconds_of(lambda: predictor.translate_batch(images))
        with running_server(model, clients) as (address, process):
            files = [encoded(each, ".png", 95, {}) for each in pictures]
            started = time.perf_counter()
            answers, halves = asyncio.run(load(address, process, files, clients, seconds))
            took = time.perf_counter() - started
        after = seconds_of(lambda: predictor.translate_batch(images))
    baseline = (before + after) / 2 / PICTURES
    wrong, largest = answers.wrong(expected)
    each = took / len(answers.seconds)
    return LoadFigures(
        baseline_seconds=baseline,
        seconds=each,
        ratio=baseline / each,
        requests=len(answers.seconds),
        wrong=wrong,
        largest_difference=largest,
        p50_seconds=float(np.quantile(answers.seconds, 0.5)),
        p99_seconds=float(np.quantile(answers.seconds, 0.99)),
        first_gigabytes=halves[0],
        last_gigabytes=halves[1],
        device=device_name(),
    )


def smooth_pictures(size: int) -> list[Pixels]:
    """Different ones, of random colours."""
    chance = np.random.default_rng(0)
    coarse = chance.integers(0, 256, (PICTURES, 8, 8, 3), dtype=np.uint8)
    return [resize(each, (size, size)) for each in coarse]


@contextmanager
def running_server(model: Path, clients: int) -> Iterator[tuple[str, psutil.Process]]:
    """A server of the model in a process of its own, with room for all clients, and its address."""
    command = [sys.executable, "-m", "cyclegan_style", "serve", "--model", str(model)]
    room = ["--port", "0", "--queue", str(2 * clients), "--timeout", "600"]
    with subprocess.Popen(command + room, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield address_told_by(process), psutil.Process(process.pid)
        finally:
            process.terminate()
            process.communicate()


def address_told_by(process: subprocess.Popen[str]) -> str:
    """Where the server listens, which it says once it is ready."""
    assert process.stderr is not None
    lines = []
    for line in process.stderr:
        lines.append(line)
        if line.startswith("serving "):
            return line.split()[-1]
    raise UserError(f"the server did not start: {''.join(lines).strip()}")


async def load(
    address: str, process: psutil.Process, files: Sequence[bytes], clients: int, seconds: float
) -> tuple[Answers, tuple[float, float]]:
    """Let the clients ask for so long; their answers, and the server's memory in both halves."""
    answers, memory = Answers(), ([0], [0])
    started = time.perf_counter()

    async def measure_memory() -> None:
        with tqdm(total=round(seconds), desc="loading the server", unit="s") as bar:
            while (passed := time.perf_counter() - started) < seconds:
                memory[passed > seconds / 2].append(process.memory_info().rss)
                bar.update(round(passed) - bar.n)
                await asyncio.sleep(0.5)

    asking = [ask(address, files, first, started + seconds, answers) for first in range(clients)]
    await asyncio.gather(measure_memory(), *asking)
    return answers, (max(memory[0]) / 1e9, max(memory[1]) / 1e9)


async def ask(
    address: str, files: Sequence[bytes], first: int, until: float, answers: Answers
) -> None:
    """One client: a connection on which a picture is sent as soon as the last is answered."""
    url = urlsplit(address)
    reader, writer = await asyncio.open_connection(url.hostname, url.port)
    number = first
    while time.perf_counter() < until:
        number = (number + 1) % len(files)
        asked = time.perf_counter()
        writer.write(request(url.netloc, files[number]))
        status, body = await answer(reader)
        answers.add(number, status, body, time.perf_counter() - asked)
    writer.close()


def request(host: str, content: bytes) -> bytes:
    """What asks for the translation of a picture file."""
    head = (
        f"POST /v1/translate HTTP/1.1\r\nHost: {host}\r\nContent-Type: image/png\r\n"
        f"Content-Length: {len(content)}\r\n\r\n"
    )
    return head.encode() + content


async def answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """Status and body of the next answer, whose length its head tells."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
    length = int(head.partition("content-length:")[2].split()[0])
    return int(head.split()[1]), await reader.readexactly(length)
