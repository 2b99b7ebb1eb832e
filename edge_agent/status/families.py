"""The metrics that an agent has: names, kinds, labels and what they mean, in one table that the page, the exporter and the documents share.

Names follow Prometheus' practice: base units, ``_total`` on what only grows. Labels name things of the configuration (devices, units, brokers, certificates) or
words of a closed list (reasons, codes, event types): their number is bounded by the configuration, never by what is collected. No tag, no order, no value is a
label.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

import msgspec

from edge_agent.model.histogram import Histogram

Kind = Literal["gauge", "counter", "histogram"]


class Shape(msgspec.Struct, frozen=True):
    """What a family is: ``help`` is one sentence, ``labels`` in the order of `Sample.labels`."""

    kind: Kind
    help: str
    labels: tuple[str, ...] = ()


class Sample(msgspec.Struct, frozen=True):
    """One row of a family now: the values of its labels, and a number or the classes of a histogram."""

    labels: tuple[str, ...]
    value: float | Histogram


class Family(msgspec.Struct, frozen=True):
    """A family with its rows."""

    name: str
    shape: Shape
    samples: Sequence[Sample]


FAMILIES: Final[dict[str, Shape]] = {
    # -- the agent ---------------------------------------------------------------------------------------------------
    "edge_agent_info": Shape(
        "gauge", "Always 1; says which agent, version and configuration this is.", ("agent", "version", "cfg")
    ),
    "edge_agent_health": Shape("gauge", "0 ok, 1 degraded, 2 critical, as `edge-agent status` says it."),
    "edge_agent_faults": Shape(
        "gauge", "Faults that are raised now, by code (docs/reference/faults.md) and level.", ("code", "level")
    ),
    "edge_agent_loop_lag_seconds": Shape("gauge", "The latest that the agent's event loop was in the last minute."),
    "edge_agent_clock_synced": Shape("gauge", "1 while the kernel says that the gateway's clock is synchronised."),
    "edge_agent_clock_offset_seconds": Shape("gauge", "What the kernel still has to correct of the gateway's clock."),
    "edge_agent_clock_error_seconds": Shape("gauge", "The greatest error of the gateway's clock that the kernel expects."),
    "edge_agent_certificate_expiry_timestamp_seconds": Shape(
        "gauge", "When a certificate that the agent uses or trusts ends, in Unix time.", ("certificate",)
    ),
    "process_resident_memory_bytes": Shape("gauge", "Resident memory of the agent."),
    "process_cpu_seconds_total": Shape("counter", "Processor time of the agent, user and system."),
    "process_open_fds": Shape("gauge", "Open files and sockets of the agent."),
    "process_start_time_seconds": Shape("gauge", "When the agent was started, in Unix time."),
    # -- devices -----------------------------------------------------------------------------------------------------
    "edge_agent_device_up": Shape("gauge", "1 while the device answers.", ("device", "driver")),
    "edge_agent_device_fault": Shape(
        "gauge", "1 while the device has the fault of this code (docs/reference/faults.md).", ("device", "code")
    ),
    "edge_agent_device_last_good_timestamp_seconds": Shape(
        "gauge", "When the newest good sample of the device was taken, in Unix time of the plant clock.", ("device",)
    ),
    "edge_agent_device_connects_total": Shape("counter", "Connections made to the device; all but the first are reconnects.", ("device",)),
    "edge_agent_device_tags": Shape("gauge", "Tags that are configured.", ("device",)),
    "edge_agent_device_tags_bad": Shape("gauge", "Tags whose newest sample is bad.", ("device",)),
    "edge_agent_device_batches_total": Shape("counter", "Answers and notifications taken in.", ("device",)),
    "edge_agent_device_samples_total": Shape("counter", "Samples taken in: those that changed, where the driver compares.", ("device",)),
    "edge_agent_device_request_duration_seconds": Shape("histogram", "From a request to its answer, for polled devices.", ("device",)),
    "edge_agent_device_polls_total": Shape("counter", "Polls that were answered.", ("device",)),
    "edge_agent_device_polls_late_total": Shape("counter", "Polls begun later than half a period after they were due.", ("device",)),
    "edge_agent_device_polls_missed_total": Shape("counter", "Polls left out, because an earlier one still ran or the device rests.", ("device",)),
    "edge_agent_device_polls_discarded_total": Shape("counter", "Polls whose answer failed or was not believed.", ("device",)),
    "edge_agent_device_poll_lateness_seconds_total": Shape("counter", "Sum of the delays with which polls began (plant time).", ("device",)),
    "edge_agent_device_gaps_total": Shape("counter", "Gaps that were declared of the device, by reason.", ("device", "reason")),
    "edge_agent_device_clock_offset_seconds": Shape("gauge", "The device's clock minus the gateway's, when last measured.", ("device",)),
    # -- events and delivery -----------------------------------------------------------------------------------------
    "edge_agent_unit_quarantined": Shape("gauge", "1 while a work unit is set aside after a failure of a rule.", ("unit",)),
    "edge_agent_events_total": Shape("counter", "Events and telemetry messages made, by type.", ("type",)),
    "edge_agent_broker_up": Shape("gauge", "1 while the connection to a broker stands.", ("output",)),
    "edge_agent_broker_connects_total": Shape("counter", "Connections made to a broker.", ("output",)),
    "edge_agent_records_acknowledged_total": Shape("counter", "Records that the broker has confirmed."),
    "edge_agent_records_rejected_total": Shape("counter", "Records that the broker will never take; they are dead letters."),
    "edge_agent_acknowledge_duration_seconds": Shape("histogram", "From handing a record to the broker to its confirmation."),
    # -- the buffer --------------------------------------------------------------------------------------------------
    "edge_agent_buffer_healthy": Shape("gauge", "1 while the store can be written."),
    "edge_agent_buffer_records": Shape("gauge", "Records that wait for delivery, by kind (event, telemetry).", ("kind",)),
    "edge_agent_buffer_oldest_age_seconds": Shape("gauge", "Age of the oldest record that waits, 0 when none does."),
    "edge_agent_buffer_bytes": Shape("gauge", "Bytes of the store on disk."),
    "edge_agent_buffer_dead_letters": Shape("gauge", "Records that cannot be delivered."),
    "edge_agent_buffer_dropped_total": Shape("counter", "Undelivered records dropped for want of room; each loss is declared."),
    "edge_agent_buffer_commits_total": Shape("counter", "Transactions of the store."),
    "edge_agent_buffer_sync_duration_seconds": Shape("histogram", "How long a commit took to reach the disk (fsync)."),
    "edge_agent_disk_free_bytes": Shape("gauge", "Room left on the file system of the buffer, for this user."),
    "edge_agent_disk_size_bytes": Shape("gauge", "Size of the file system of the buffer."),
}  # fmt: skip
