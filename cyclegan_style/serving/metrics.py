"""What a server has done, in the format of Prometheus."""

import time

import psutil
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cyclegan_style.serving.problems import CLIENT_GONE

MEASURED_PATHS = frozenset({"/v1/translate", "/v1/models", "/healthz", "/readyz", "/metrics"})
"""Others count together: clients may ask for as many as they like."""
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
SIZES = (1, 2, 4, 8, 16, 32, 64)


class Metrics:
    """Of one server; nothing of the process's global registry."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "cyclegan_style_requests",
            "Requests answered.",
            ["path", "status"],
            registry=self.registry,
        )
        self.seconds = Histogram(
            "cyclegan_style_request_seconds",
            "Seconds from a request's headers to its answer's end.",
            ["path"],
            buckets=SECONDS,
            registry=self.registry,
        )
        self.batch_sizes = Histogram(
            "cyclegan_style_batch_size",
            "Pictures that went through a network together.",
            ["model", "direction"],
            buckets=SIZES,
            registry=self.registry,
        )
        self.requests_inside = Gauge(
            "cyclegan_style_translations_inside",
            "Translations that are read, wait or are computed.",
            registry=self.registry,
        )
        self.pictures_waiting = Gauge(
            "cyclegan_style_pictures_waiting",
            "Decoded pictures that wait for the network.",
            registry=self.registry,
        )
        memory = Gauge(
            "cyclegan_style_memory_bytes", "Memory that the process has.", registry=self.registry
        )
        memory.set_function(lambda: psutil.Process().memory_info().rss)

    def text(self) -> bytes:
        """All of it."""
        return generate_latest(self.registry)


class MeasuredRequests:
    """Counts and times every request, refused ones too."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app = app
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and note how it ends."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        path = scope["path"] if scope["path"] in MEASURED_PATHS else "other"
        began = time.perf_counter()
        status = CLIENT_GONE

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, noted)
        except Exception:
            status = 500
            raise
        finally:
            self.metrics.requests.labels(path, str(status)).inc()
            self.metrics.seconds.labels(path).observe(time.perf_counter() - began)
