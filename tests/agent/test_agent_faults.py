"""A device that stands still until a person acts: said once, with what mends it, in the journal, the status and the log; and cleared."""

from __future__ import annotations

import pytest

from edge_agent.agent.collect import Collector
from edge_agent.agent.faults import DeviceFaults, TagFaults
from edge_agent.agent.link import Link, keep_open
from edge_agent.model.errors import DisconnectedError
from edge_agent.model.reading import Batch, DeviceDown, DeviceFault, DeviceUp, Settled, TagStatus


class StoppedError(DisconnectedError):
    """What a driver raises when only a person can help."""

    slow = True

    def __init__(self, code: str) -> None:
        super().__init__(f"it is {code}; do this")
        self.fault, self.remedy = code, "do this"


class Clock:
    speed = 1.0

    def now(self) -> int:
        return 5

    async def sleep_until(self, time: int) -> None:
        raise NotImplementedError


class Plant:
    """A collector of one device, and what its reader got."""

    def __init__(self) -> None:
        self.batches: list[Batch] = []
        self.collector = Collector(["plc"], {"plc": [self.deliver]}, Clock())
        self.state = self.collector.devices["plc"]

    async def deliver(self, batch: Batch) -> None:
        self.batches.append(batch)

    @property
    def faults(self) -> list[tuple[str, bool]]:
        """Code and ok of all fault notices so far."""
        return [(one.code, one.ok) for batch in self.batches for one in batch.after if isinstance(one, DeviceFault)]


async def test_a_stopped_device_is_a_fault_once_and_cleared_by_its_return() -> None:
    """The first refusal says down and fault; further tries and mere losses say nothing; the next connect clears it."""
    plant = Plant()
    for error in (
        StoppedError("cert_changed"),
        StoppedError("cert_changed"),
        DisconnectedError("away"),
        StoppedError("cert_changed"),
    ):
        await plant.collector.lost(error)
    assert plant.faults == [("cert_changed", False)]
    assert [type(one) for one in plant.batches[0].before] == [DeviceDown]
    fault = plant.batches[0].after[0]
    assert isinstance(fault, DeviceFault)
    assert (fault.text, fault.remedy) == ("it is cert_changed", "do this")
    assert (plant.state.fault, plant.state.up) == ("cert_changed", False)
    await plant.collector._deliver([Batch("plc", 6, before=(DeviceUp("plc", 6),))])
    assert plant.faults == [("cert_changed", False), ("cert_changed", True)]
    assert (plant.state.fault, plant.state.up) == ("", True)


async def test_another_reason_replaces_the_fault() -> None:
    """A device that was away first and is refused then, and refused for another reason after that: one fault stands at a time."""
    plant = Plant()
    for error in (DisconnectedError("away"), StoppedError("cert_untrusted"), StoppedError("user_rejected")):
        await plant.collector.lost(error)
    assert plant.faults == [("cert_untrusted", False), ("cert_untrusted", True), ("user_rejected", False)]


async def test_what_a_working_device_needs_stands_in_its_state() -> None:
    """A certificate that expires soon is a warning of the status until it is in order."""
    plant = Plant()
    notice = DeviceFault("plc", 1, "cert_expires", False, "expires", "renew it")
    await plant.collector._deliver([Batch("plc", 1, after=(notice,))])
    assert plant.state.faults == {"cert_expires": "expires; renew it"}
    await plant.collector._deliver([Batch("plc", 2, after=(DeviceFault("plc", 2, "cert_expires", True),))])
    assert plant.state.faults == {}


def test_a_fault_is_an_event_once() -> None:
    """The same text again is no news, another one is; clearing tells what it was; what was never raised is not cleared."""
    faults = DeviceFaults()

    def said(ok: bool, text: str = "") -> str | None:
        event = faults.event(DeviceFault("plc", 7, "cert_expires", ok, text, "renew it", 400))
        if event is None:
            return None
        assert (event.type, event.time, event.data["device"], event.data["remedy"]) == ("device.fault", 7, "plc", "renew it")
        return f"{event.data['action']} {event.data['text']} {event.data['severity']}"

    assert said(True) is None
    assert said(False, "60 days") == "raised 60 days 400"
    assert said(False, "60 days") is None
    assert said(False, "30 days") == "raised 30 days 400"
    assert said(True) == "cleared 30 days 400"
    assert said(True) is None


async def test_a_device_that_waits_for_a_person_is_tried_slowly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Such an error waits 30 machine seconds, whatever the back-off of devices says."""
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 3:
            raise KeyError("enough")

    def refuse() -> None:
        raise StoppedError("cert_changed")

    async def lost(error: DisconnectedError) -> None:
        return None

    monkeypatch.setattr("edge_agent.agent.link.asyncio.sleep", sleep)
    with pytest.raises(KeyError):
        await keep_open(Link("plc", "device"), refuse, lost, lost, lambda: iter([0.1] * 9))  # type: ignore[arg-type]
    assert waits == [30.0, 30.0, 30.0]


def test_a_fault_of_a_tag_ends_with_a_connection_that_does_not_complain_of_it() -> None:
    """Complained of again it is no news, for another reason it is; a new connection takes back what it has not complained of when all was looked at."""
    faults = TagFaults()

    def complain(name: str, why: str = "", code: str = "tag_lost") -> str | None:
        event = faults.event(TagStatus("plc", 7, name, not why, why, code))
        return event and f"{event.data['action']} {event.data['text']}"

    def settled() -> list[tuple[str, str, str]]:
        events = faults.settled(Settled("plc", 8))
        assert all(event.data["action"] == "cleared" and event.time == 8 for event in events)
        return [(event.data["tag"], event.data["code"], event.data["text"]) for event in events]

    assert complain("a") is None, "what was never raised is not cleared"
    faults.up("plc")
    assert [complain("a", "gone"), complain("b", "gone"), complain("b", "int16", "type_changed")] == [
        "raised gone", "raised gone", "raised int16",
    ]  # fmt: skip
    assert settled() == [], "all of it is of this connection"
    faults.up("plc")
    assert [complain("a", "gone"), complain("b", "denied")] == [None, "raised denied"]
    assert settled() == [("b", "type_changed", "int16")]
    assert settled() == []
    assert complain("a") == "cleared gone"
    faults.up("other")
    faults.up("plc")
    assert settled() == [("b", "tag_lost", "denied")]
