"""What is told of a counting register besides its samples: losses, restarts of its device, evidence of a reset, and time that passes."""

from __future__ import annotations

from collections.abc import Iterable
from math import isfinite

from edge_agent.events.advance import Sign
from edge_agent.events.restart import restarted
from edge_agent.events.tally import Tally, Watch, change
from edge_agent.model.reading import AgentDown, Boot, DeviceDown, DeviceUp, Gap, Notice, Quality, Reading, Recovered, TagStatus


def heed(watch: Watch, tally: Tally, notices: Iterable[Notice]) -> Tally:
    """Take in what the notices say of this register: losses break the row of samples, boot evidence permits a reset."""
    for notice in notices:
        if isinstance(notice, Boot):
            if notice.device == watch.device:
                tally = _boot(watch, tally, notice)
        elif tally.last is not None:
            tally = _loss(watch, tally, notice)
    return tally


def _loss(watch: Watch, tally: Tally, notice: Notice) -> Tally:
    if isinstance(notice, AgentDown):
        return _break(watch, tally, notice.since, notice.since)
    if isinstance(notice, Recovered):
        return _mend(tally) if notice.device == watch.device and notice.covers(watch.tag) else tally
    if not isinstance(notice, DeviceDown | DeviceUp | Gap | TagStatus) or notice.device != watch.device:
        return tally
    if isinstance(notice, DeviceDown) and notice.last_good is not None:
        return _break(watch, tally, tally.agent + notice.last_good - tally.ts, notice.time)
    if isinstance(notice, Gap):
        return _break(watch, tally, notice.since, notice.until) if not notice.tags or watch.tag in notice.tags else tally
    if isinstance(notice, TagStatus) and (notice.ok or notice.name != watch.tag):
        return tally
    return _break(watch, tally, tally.agent, tally.agent)


def _break(watch: Watch, tally: Tally, seen: int, found: int) -> Tally:
    """Nobody looked since ``seen`` (agent time), which was noticed when it was ``found``.

    The value stood until then; ticks in between proved nothing. A time that lies behind the finding comes from another clock.
    """
    if tally.broken:
        return tally
    until = seen - watch.period
    return change(tally, broken=True, stood=until if tally.agent < until <= found else None)


def _mend(tally: Tally) -> Tally:
    """Every sample of the loss will be seen: nothing hides behind the last one. A register that was bad before it stays in doubt."""
    return change(tally, broken=False, stood=None) if tally.broken and tally.good else tally


def _boot(watch: Watch, tally: Tally, notice: Boot) -> Tally:
    mark, again = restarted(tally.boot, notice)
    if mark != tally.boot:
        tally = change(tally, boot=mark)
    why = "boot_id" if mark.boot_id is not None else "start_time"
    return sign(watch, tally, "device_restart", why, notice.time) if again else tally


def sign(watch: Watch, tally: Tally, what: Sign, why: str, agent: int) -> Tally:
    """Remember evidence of a reset, found at ``agent`` time, for the next sample.

    Evidence that comes just after the reset it speaks of (its tag was sampled later) would have the parts since then counted twice.
    """
    if tally.last is None:
        return tally
    if not tally.broken and tally.reset_at is not None and 0 <= agent - tally.reset_at <= watch.stale_after:
        return tally
    words = tally.why if why in tally.why else (*tally.why, why)
    stronger: Sign = "device_restart" if "device_restart" in (tally.sign, what) else "reset"
    return change(tally, sign=stronger, why=words)


def gauge(watch: Watch, tally: Tally, reading: Reading) -> Tally:
    """Take in a sample of the evidence tag (seconds since reset, boot counter): going down is evidence, going up is not.

    Its rise is remembered in steps of ``stale_after`` only: it rises every second, and each step is a commit.
    """
    value = reading.value
    if reading.quality is Quality.BAD or isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
        return tally
    fell = tally.gauge is not None and value < tally.gauge
    if fell:
        tally = sign(watch, tally, "reset", watch.evidence or "", reading.at.agent)
    if fell or tally.gauge is None or not 0 <= reading.at.agent - tally.gauge_at < watch.stale_after:
        return tally if value == tally.gauge else change(tally, gauge=value, gauge_at=reading.at.agent)
    return tally


def stand(watch: Watch, tally: Tally, now: int) -> Tally:
    """Take a tick at plant time ``now`` as a sign that a subscribed value stood until a while ago: its device answers, and is silent."""
    if tally.last is None or tally.broken or not tally.good or tally.held is not None:
        return tally
    until = now - watch.stale_after - 2 * watch.period
    known = tally.agent if tally.stood is None else max(tally.stood, tally.agent)
    return change(tally, stood=until) if until - known >= watch.stale_after else tally
