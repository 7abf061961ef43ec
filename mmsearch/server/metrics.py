"""Prometheus metrics, in a registry of the application's own: two applications in one process do not share counts."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_MS = (0.001, 0.002, 0.004, 0.008, 0.015, 0.03, 0.06, 0.125, 0.25, 0.5, 1, 2, 4, 8, 30)
_BATCH = (1, 2, 4, 8, 16, 24, 32, 48, 64)

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """All that is counted. Names begin with ``mmsearch_``; times are seconds."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self._known: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}
        self.requests = Counter("mmsearch_requests_total", "Requests answered.", ["route", "method", "status"], registry=registry)
        self.latency = Histogram("mmsearch_request_seconds", "Time to answer.", ["route"], buckets=_MS, registry=registry)
        self.running = Gauge("mmsearch_requests_running", "Requests in hand now.", registry=registry)
        self.batch = Histogram("mmsearch_batch_queries", "Queries answered by one call.", buckets=_BATCH, registry=registry)
        self.batch_seconds = Histogram("mmsearch_batch_seconds", "Time of one such call.", buckets=_MS, registry=registry)
        self.waiting = Histogram("mmsearch_queue_seconds", "Time that a query waited for its call.", buckets=_MS, registry=registry)
        self.queue = Gauge("mmsearch_queue_queries", "Queries that wait now.", registry=registry)
        self.refused = Counter("mmsearch_refused_total", "Queries refused for a full queue.", registry=registry)
        self.left = Counter("mmsearch_cancelled_total", "Queries whose caller went away first.", registry=registry)
        self.thumbnails = Counter("mmsearch_thumbnails_total", "Thumbnails by where they came from.", ["source"], registry=registry)
        self.items = Gauge("mmsearch_items", "Items in the collection.", ["kind"], registry=registry)
        self.updated = Gauge(
            "mmsearch_updated_timestamp_seconds", "When the collection was last changed (Unix time).", registry=registry
        )
        self.written = Counter("mmsearch_items_written_total", "Items changed by requests.", ["what"], registry=registry)
        self.switched = Counter("mmsearch_switches_total", "Switches to another collection.", registry=registry)

    def answered(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count one request."""
        key = route, method, status
        counters = self._known.get(key)
        if counters is None:  # labels() costs more than all the counting; routes, methods and statuses are few
            counters = self._known[key] = self.requests.labels(route, method, str(status)), self.latency.labels(route)
        counters[0].inc()
        counters[1].observe(seconds)

    def text(self) -> bytes:
        """All metrics as Prometheus reads them."""
        return generate_latest(self.registry)
