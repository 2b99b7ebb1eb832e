"""Bugs that this program must never have, each put in on purpose: a place, what stands there, what a mistake would make of it, who notices.

``right`` stands in the file exactly once; ``noticed_by`` are the arguments of pytest whose tests must fail by an assertion with the bug,
and pass without it. They are fast: a bug that only a long test notices is noticed too late.
"""

from __future__ import annotations

from typing import NamedTuple


class Bug(NamedTuple):
    """One mistake. ``source`` is relative to the root of the project."""

    name: str
    source: str
    right: str
    wrong: str
    noticed_by: tuple[str, ...]


_SCRIPT = "tests/property/test_whole_path.py::test_a_fault_of_each_kind_loses_and_doubles_nothing"
_FORWARD = "tests/agent/test_agent_forward.py"
_COLLECT = "tests/agent/test_agent_collect.py"
_UNIT = "tests/agent/test_agent_unit.py"
_EFFECTS = "tests/agent/test_agent_effects.py"
_MISBEHAVING = "tests/modbus_faults/test_misbehaving.py::test_each_misdeed_of_a_class"
_FUZZ = "tests/modbus_faults/test_frame_fuzz.py::test_20000_frames_of_a_framing"
_COUNTER = "tests/events/test_matrix_counters.py"

BUGS = (
    # -- counting ----------------------------------------------------------------------------------------------------
    Bug(
        "baseline 0 after a restart",
        "edge_agent/agent/unit.py",
        "self._state, dropped = self._fold.start(states)",
        "self._state, dropped = self._fold.start({})",
        (f"{_SCRIPT}[killed while parts are made]",),
    ),
    Bug(
        "the first sample counts from zero",
        "edge_agent/events/tally.py",
        'Advance(0)), (Move(None, raw, 0, tally.total, at.best, at.best, "baseline"),)',
        'Advance(raw)), (Move(None, raw, raw, tally.total + raw, at.best, at.best, "baseline"),)',
        (f"{_SCRIPT}[nothing goes wrong]",),
    ),
    Bug(
        "a signed register is not taken as its bits",
        "edge_agent/events/tally.py",
        "return raw & _DINT_MASK if self.signed and raw >= -(1 << 31) else raw",
        "return raw",
        (_COUNTER,),
    ),
    Bug(
        "a PackML counter wraps like an unsigned one",
        "edge_agent/events/advance.py",
        '"packml": 1 << 31',
        '"packml": 1 << 32',
        (_COUNTER,),
    ),
    Bug(
        "a reset is tried before a rollover",
        "edge_agent/events/advance.py",
        "    rolled = _rollover(last, value, moved, register)\n    if rolled is not None:",
        "    rolled = None\n    if rolled is not None:",
        (_COUNTER,),
    ),
    Bug(
        "what was not seen is counted as if it had been",
        "edge_agent/events/tally.py",
        "recovered=tally.broken,",
        "recovered=False,",
        (f"{_SCRIPT}[PLC away while the order changes]",),
    ),
    Bug(
        "maintenance counts on the order",
        "edge_agent/events/context.py",
        "if (reading := moment.readings.get(ref)) is not None and reading.quality is not Quality.BAD",
        "if (reading := moment.readings.get(ref)) is not None and reading.quality is not Quality.BAD and _name_of(reading.value)",
        ("tests/events/test_context_order.py",),
    ),
    Bug(
        "the order changes before its last parts are counted",
        "edge_agent/events/rule.py",
        "    COUNT = 1\n    CONTEXT = 2\n",
        "    COUNT = 2\n    CONTEXT = 1\n",
        (f"{_SCRIPT}[orders change in sight]",),
    ),
    # -- from the fold to the disk -------------------------------------------------------------------------------------
    Bug(
        "the state is not in the transaction of its events",
        "edge_agent/agent/unit.py",
        "                return await self._buffer.append(entries, checkpoint)\n",
        "                await self._buffer.append(entries, None)\n                return await self._buffer.append([], checkpoint)\n",
        (f"{_SCRIPT}[killed after a commit]",),
    ),
    Bug(
        "a record is acknowledged to the PLC before the commit",
        "edge_agent/agent/unit.py",
        "        custody = Custody.DURABLE\n        if entries or",
        "        custody = Custody.DURABLE\n"
        "        for effect in turn.effects if self.effect else ():\n            await self.effect(effect)\n        if entries or",
        (f"{_SCRIPT}[killed before a record is committed]", _EFFECTS),
    ),
    Bug(
        "a record that is only in memory is acknowledged to the PLC",
        "edge_agent/agent/unit.py",
        "if custody is Custody.DURABLE and self.effect is not None:",
        "if self.effect is not None:",
        (_EFFECTS,),
    ),
    Bug(
        "a batch is released before its commit",
        "edge_agent/agent/unit.py",
        "                await self._commit(turn, final=any(tick.final for tick in ticks))\n                self._release(turn.settled)\n",
        "                self._release(turn.settled)\n                await self._commit(turn, final=any(tick.final for tick in ticks))\n",
        (f"{_UNIT}::test_a_batch_is_not_released_before_its_commit",),
    ),
    Bug(
        "a batch is accepted by the driver before every unit has committed",
        "edge_agent/agent/collect.py",
        "                    await self._deliver(reading.result())\n                    reading = None\n",
        "                    delivery = asyncio.ensure_future(self._deliver(reading.result()))\n"
        "                    await asyncio.sleep(0)\n                    reading = None\n",
        (f"{_COLLECT}::test_a_batch_is_accepted_when_every_reader_has_committed",),
    ),
    Bug(
        "the agent's own absence is not told",
        "edge_agent/agent/unit.py",
        "        if last_seen is not None:\n",
        "        if last_seen is not None and not states:\n",
        (f"{_SCRIPT}[killed while parts are made]",),
    ),
    Bug(
        "a lost device is told at every try",
        "edge_agent/agent/collect.py",
        "first_time, device.error = device.up is not False, str(error)",
        "first_time, device.error = True, str(error)",
        (f"{_COLLECT}::test_a_loss_is_told_once_and_not_at_every_try",),
    ),
    # -- the disk ------------------------------------------------------------------------------------------------------
    Bug(
        "a commit is not synced",
        "edge_agent/buffer/schema.py",
        'SYNCHRONOUS = "FULL"',
        'SYNCHRONOUS = "NORMAL"',
        ("tests/buffer/test_buffer_power.py::test_a_failure_that_passes_is_not_noticed[fsync_of_the_log_fails_once]",),
    ),
    Bug(
        "a number is given twice in one transaction",
        "edge_agent/buffer/numbering.py",
        "known = streams.get(entry.stream) or numbers.streams.get(entry.stream)",
        "known = numbers.streams.get(entry.stream)",
        ("tests/contract/test_buffer_contract.py::test_numbers_are_contiguous_per_stream",),
    ),
    Bug(
        "numbers begin again at a restart",
        "edge_agent/buffer/streams.py",
        "heads[name] = StreamHead(identity, head)",
        "heads[name] = StreamHead(identity, 0)",
        ("tests/buffer/test_buffer_files.py::test_what_was_kept_is_there_after_a_restart",),
    ),
    # -- from the disk to the broker -----------------------------------------------------------------------------------
    Bug(
        "a record is settled before its PUBACK",
        "edge_agent/agent/flight.py",
        "] = (record, time.monotonic())\n",
        "] = (record, time.monotonic())\n        self.done.append(record.key)\n",
        (
            f"{_SCRIPT}[broker lost before a record arrived]",
            f"{_FORWARD}::test_a_lost_sink_is_followed_by_the_unacknowledged_in_order",
        ),
    ),
    Bug(
        "a refused record counts as delivered",
        "edge_agent/agent/flight.py",
        "self.rejected.append((record.key, str(error)))",
        "self.done.append(record.key)",
        (f"{_FORWARD}::test_a_rejected_record_does_not_block",),
    ),
    Bug(
        "one more than the window is in flight",
        "edge_agent/agent/forward.py",
        "await self._fill_if_readable(flight, sink.window)",
        "await self._fill_if_readable(flight, sink.window + 1)",
        (f"{_FORWARD}::test_the_window_is_filled_and_never_exceeded",),
    ),
    Bug(
        "a PUBACK that refuses is a delivery",
        "edge_agent/publish/reasons.py",
        "    if code < 0x80:\n",
        "    if code <= 0x80:\n",
        ("tests/publish/test_publish_reasons.py",),
    ),
    # -- what comes over the wire --------------------------------------------------------------------------------------
    Bug(
        "a Modbus answer to another request is believed",
        "edge_agent/drivers/modbus/frames.py",
        '    _same("transaction", transaction, request.transaction)\n',
        "",
        ("tests/modbus/test_modbus_frames.py", f"{_MISBEHAVING}[tcp-F52]"),
    ),
    Bug(
        "a Modbus answer with another number of registers is believed",
        "edge_agent/drivers/modbus/frames.py",
        '_same("byte count", data[_HEADER.size], request.size)',
        "pass",
        ("tests/modbus/test_modbus_frames.py", f"{_MISBEHAVING}[tcp-F52]"),
    ),
    Bug(
        "a Modbus answer of another unit is believed",
        "edge_agent/drivers/modbus/frames.py",
        '    _same("unit", unit, request.unit)\n',
        "",
        ("tests/modbus/test_modbus_frames.py", f"{_FUZZ}[tcp]"),
    ),
    Bug(
        "a Modbus connection is kept after a timeout",
        "edge_agent/drivers/modbus/acquire.py",
        "        if not clean:\n            await self._connection.drop()\n",
        "",
        (f"{_MISBEHAVING}[tcp-F50]",),
    ),
    Bug(
        "a Modbus poll that brought nothing is not declared",
        "edge_agent/drivers/modbus/device.py",
        "        self.lost(reason, watches, 1, now)\n",
        "",
        (f"{_MISBEHAVING}[tcp-F52]", f"{_MISBEHAVING}[rtu-tcp-F52]", f"{_MISBEHAVING}[ascii-line-F52]"),
    ),
    Bug(
        "Modbus polls that were missed right after the start are not declared",
        "edge_agent/drivers/modbus/job.py",
        "    first = {device.name: now for device in devices} | dict(started)\n",
        "    first = {device.name: now for device in devices}\n",
        ("tests/modbus/test_modbus_losses.py",),
    ),
    Bug(
        "what a Modbus block lost before its device went down is not declared",
        "edge_agent/drivers/modbus/device.py",
        "older = [] if good is None else self._losses.before(good, len(self.watches))",
        "older: list[Notice] = []",
        ("tests/modbus/test_modbus_losses.py",),
    ),
    Bug(
        "who a Modbus device is is not asked again after a reconnect",
        "edge_agent/drivers/modbus/acquire.py",
        "        if self._connection.closes != closes:\n            self._doubt()\n",
        "        if closes < 0:\n            self._doubt()\n",
        ("tests/modbus_faults/test_modbus_replaced.py::test_another_device_is_not_believed[tcp]",),
    ),
    Bug(
        "who a Modbus device is is not asked again after a silence",
        "edge_agent/drivers/modbus/device.py",
        "        if self.identity is not None:\n            self.identity.doubt()\n",
        "",
        ("tests/modbus_faults/test_modbus_replaced.py::test_another_device_is_not_believed[tcp]",),
    ),
    Bug(
        "a line without numbers is not drained",
        "edge_agent/drivers/modbus/careful.py",
        "await wire.drain(steps.quiet, LIMIT)",
        "await wire.drain(0.0, LIMIT)",
        ("tests/modbus/test_modbus_transports.py::test_a_line_that_is_never_silent_is_said_in_words",),
    ),
    Bug(
        "a Modbus answer with a wrong CRC is believed",
        "edge_agent/drivers/modbus/serialframes.py",
        "if crc(data[:-2]) != data[-2:]:",
        "if not data:",
        (f"{_FUZZ}[rtu]",),
    ),
    Bug(
        "a Modbus ASCII answer with a wrong LRC is believed",
        "edge_agent/drivers/modbus/serialframes.py",
        "if lrc(body[:-1]) != body[-1]:",
        "if not body:",
        (f"{_FUZZ}[ascii]",),
    ),
    Bug(
        "NaN is a value",
        "edge_agent/drivers/modbus/convert.py",
        "return then(raw) if math.isfinite(raw) else",
        "return then(raw) if not math.isinf(raw) else",
        ("tests/modbus/test_modbus_decode.py::test_sentinels_are_bad_before_scaling",),
    ),
)
