"""Metrics as OpenTelemetry has them: the families of the one table as points of its data model, made from a snapshot.

Its instruments are not used: they are counted up on the way of the data, and an observable one cannot hold a histogram that exists already. The
SDK's own structs can, and its exporter takes them as it takes those of its instruments.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from edge_agent.model.histogram import Histogram
from edge_agent.status.families import Family, Sample

if TYPE_CHECKING:
    from opentelemetry.sdk.metrics.export import DataT, HistogramDataPoint, MetricsData, NumberDataPoint

_UNITS = {"seconds": "s", "bytes": "By"}
"""Units of names by UCUM; a count has none, for collectors make `_ratio` of the unit 1."""


def snapshot(families: Sequence[Family]) -> list[Family]:
    """Return ``families`` as they are now: nothing in them changes any more, so another thread may read them."""
    return [
        Family(family.name, family.shape, [Sample(one.labels, _copy(one.value)) for one in family.samples]) for family in families
    ]


def metrics_data(families: Sequence[Family], attributes: dict[str, str], since: int, now: int) -> MetricsData:
    """Return them as one export of the resource with ``attributes``; counters began at ``since`` and are read at ``now`` (UTC ns)."""
    from opentelemetry.sdk.metrics.export import Metric, MetricsData, ResourceMetrics, ScopeMetrics  # noqa: PLC0415 - an extra
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415 - as above
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope  # noqa: PLC0415 - as above

    metrics = [
        Metric(family.name, family.shape.help, _unit(family.name), _points(family, since, now))
        for family in families
        if family.samples
    ]
    scope = ScopeMetrics(InstrumentationScope("edge_agent"), metrics, "")
    return MetricsData([ResourceMetrics(Resource(attributes), [scope], "")])


def _points(family: Family, since: int, now: int) -> DataT:
    from opentelemetry.sdk.metrics import export  # noqa: PLC0415 - as above

    whole = export.AggregationTemporality.CUMULATIVE
    if family.shape.kind == "histogram":
        return export.Histogram([_classes(family, one, since, now) for one in family.samples], whole)
    numbers = [_number(family, one, since, now) for one in family.samples]
    return export.Sum(numbers, whole, is_monotonic=True) if family.shape.kind == "counter" else export.Gauge(numbers)


def _number(family: Family, sample: Sample, since: int, now: int) -> NumberDataPoint:
    from opentelemetry.sdk.metrics.export import NumberDataPoint  # noqa: PLC0415 - as above

    assert not isinstance(sample.value, Histogram)  # noqa: S101 - its family says so
    # Always a double: a series whose points change between integer and double is two series to some receivers.
    return NumberDataPoint(_labels(family, sample), since, now, float(sample.value))


def _classes(family: Family, sample: Sample, since: int, now: int) -> HistogramDataPoint:
    from opentelemetry.sdk.metrics.export import HistogramDataPoint  # noqa: PLC0415 - as above

    found = sample.value
    assert isinstance(found, Histogram)  # noqa: S101 - its family says so
    return HistogramDataPoint(
        attributes=_labels(family, sample),
        start_time_unix_nano=since,
        time_unix_nano=now,
        count=sum(found.counts),
        sum=found.total,
        bucket_counts=found.counts,
        explicit_bounds=found.bounds,
        min=None,  # type: ignore[arg-type]  # optional in the protocol; nobody has kept them
        max=None,  # type: ignore[arg-type]  # as above
    )


def _labels(family: Family, sample: Sample) -> dict[str, str]:
    return dict(zip(family.shape.labels, sample.labels, strict=True))


def _unit(name: str) -> str:
    return _UNITS.get(name.removesuffix("_total").rpartition("_")[2], "")


def _copy(value: float | Histogram) -> float | Histogram:
    if not isinstance(value, Histogram):
        return value
    copy = Histogram(value.bounds)
    copy.counts, copy.total = list(value.counts), value.total
    return copy
