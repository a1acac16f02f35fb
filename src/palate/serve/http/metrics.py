"""Figures for Prometheus: requests, how long they took, choices, what waits; never a name.

    palate_requests_total{route,method,status}     answers, by the route's template
    palate_request_seconds{route}                  from the request's first byte to the answer's last
    palate_choices_total{kind}                     accepted, replayed, refused
    palate_upstream_seconds{what}                  waits for the upstream endpoint, by what was waited for
    palate_jobs_waiting, palate_jobs_failed        users whose persona is to be made anew, or could not be
    palate_personas_behind                         personas of an earlier model
    palate_users, palate_choices_kept              rows

With several workers the first four are summed over all processes by way of files in
``PROMETHEUS_MULTIPROC_DIR``, which ``palate serve`` sets; the others are read from the database when asked.
"""

import os
from collections.abc import Callable, Iterator, Mapping

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest, multiprocess
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

__all__ = ["SHARED", "Metrics"]

SHARED = "PROMETHEUS_MULTIPROC_DIR"
_TIMES = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_GAUGES = {
    "jobs_waiting": "Users whose persona is to be made anew.",
    "jobs_failed": "Of these, tried in vain.",
    "personas_behind": "Personas of an earlier model.",
    "users": "Users of all tenants.",
    "choices_kept": "Choices of all tenants.",
}


class Metrics:
    """The figures of one process, and at :meth:`text` those of all."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "palate_requests", "Answers.", ("route", "method", "status"), registry=self._registry
        )
        self._seconds = Histogram(
            "palate_request_seconds",
            "Seconds to answer.",
            ("route",),
            buckets=_TIMES,
            registry=self._registry,
        )
        self._choices = Counter("palate_choices", "Choices that came in.", ("kind",), registry=self._registry)
        self._upstream = Histogram(
            "palate_upstream_seconds",
            "Seconds of waiting.",
            ("what",),
            buckets=_TIMES,
            registry=self._registry,
        )

    def request(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count an answer."""
        self._requests.labels(route, method, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def choices(self, accepted: int, replayed: int, refused: int) -> None:
        """Count choices that came in."""
        for kind, count in (("accepted", accepted), ("replayed", replayed), ("refused", refused)):
            if count:
                self._choices.labels(kind).inc(count)

    def upstream(self, seconds: float, what: str) -> None:
        """Count a wait for the upstream endpoint: ``first`` (byte) or ``whole`` (answer)."""
        self._upstream.labels(what).observe(seconds)

    def text(self, gauges: Callable[[], Mapping[str, float]]) -> bytes:
        """Return all figures in Prometheus' text format.

        Args:
            gauges: Reads what waits from the database, by the names above without ``palate_``.
        """
        now = CollectorRegistry()
        now.register(_Gauges(gauges()))
        return bytes(generate_latest(self._all())) + bytes(generate_latest(now))

    def requests(self) -> dict[str, float]:
        """Return how many requests were answered: all, refused (4xx), failed (5xx)."""
        told = {"total": 0.0, "refused": 0.0, "failed": 0.0}
        for family in self._all().collect():
            for sample in family.samples:
                if sample.name == "palate_requests_total":
                    told["total"] += sample.value
                    kind = {"4": "refused", "5": "failed"}.get(sample.labels["status"][:1])
                    if kind:
                        told[kind] += sample.value
        return told

    def _all(self) -> CollectorRegistry:
        """Return the counters of this process, or of all where there are several."""
        if not os.environ.get(SHARED):
            return self._registry
        registry = CollectorRegistry()
        multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return registry

    def close(self) -> None:
        """Tell the other processes that this one ends."""
        if os.environ.get(SHARED):
            multiprocess.mark_process_dead(os.getpid())  # type: ignore[no-untyped-call]


class _Gauges(Collector):
    def __init__(self, values: Mapping[str, float]) -> None:
        self._values = values

    def collect(self) -> Iterator[GaugeMetricFamily]:
        for name, told in _GAUGES.items():
            if name in self._values:
                yield GaugeMetricFamily(f"palate_{name}", told, value=self._values[name])
