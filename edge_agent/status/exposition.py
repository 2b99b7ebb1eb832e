"""Metrics as Prometheus reads them: its text format, or OpenMetrics where that is asked for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from edge_agent.model.histogram import Histogram
from edge_agent.status.families import Family


def exposed(families: Sequence[Family], accept: str = "") -> tuple[bytes, str]:
    """Return the page and its media type; ``accept`` is what the asker's header says."""
    from prometheus_client import CollectorRegistry  # noqa: PLC0415 - only an agent that is asked for metrics needs it
    from prometheus_client.exposition import choose_encoder  # noqa: PLC0415 - as above

    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Ready(families))  # type: ignore[arg-type]  # its families are made when they are asked for
    encoder, media_type = choose_encoder(accept)
    return encoder(registry), media_type


class _Ready:
    """A collector of what was collected already."""

    def __init__(self, families: Sequence[Family]) -> None:
        self._families = families

    def describe(self) -> Iterable[object]:
        """Return nothing: the registry need not know names ahead."""
        return ()

    def collect(self) -> Iterator[object]:
        """Yield prometheus-client's own families."""
        from prometheus_client.core import (  # noqa: PLC0415 - as above
            CounterMetricFamily,
            GaugeMetricFamily,
            HistogramMetricFamily,
        )

        plain = {"gauge": GaugeMetricFamily, "counter": CounterMetricFamily}
        for family in self._families:
            if family.shape.kind == "histogram":
                classes = HistogramMetricFamily(family.name, family.shape.help, labels=family.shape.labels)
                for sample in family.samples:
                    assert isinstance(sample.value, Histogram)  # noqa: S101 - its family says so
                    classes.add_metric(sample.labels, _buckets(sample.value), sample.value.total)
                yield classes
                continue
            made = plain[family.shape.kind](family.name, family.shape.help, labels=family.shape.labels)
            for sample in family.samples:
                made.add_metric(sample.labels, sample.value)
            yield made


def _buckets(histogram: Histogram) -> list[tuple[str, float]]:
    """Return the classes as Prometheus counts them: each with all shorter ones."""
    found, counts, sum_ = [], tuple(histogram.counts), 0
    for bound, count in zip((*map(str, histogram.bounds), "+Inf"), counts, strict=True):
        sum_ += count
        found.append((bound, float(sum_)))
    return found
