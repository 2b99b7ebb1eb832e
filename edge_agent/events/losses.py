"""What is told of a counting register besides its samples: losses, restarts of its device, evidence of a reset, and time that passes."""

from __future__ import annotations

from collections.abc import Iterable
from math import isfinite

from edge_agent.events.advance import Sign
from edge_agent.events.restart import restarted
from edge_agent.events.tally import Tally, Watch, change
from edge_agent.model.reading import AgentDown, Boot, DeviceDown, DeviceUp, Gap, Notice, Quality, Reading, TagStatus


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
    back: int | None
    if isinstance(notice, AgentDown):
        back = tally.agent - notice.since
    elif isinstance(notice, DeviceDown | DeviceUp | Gap | TagStatus) and notice.device == watch.device:
        if isinstance(notice, Gap) and notice.tags and watch.tag not in notice.tags:
            return tally
        if isinstance(notice, TagStatus) and (notice.ok or notice.name != watch.tag):
            return tally
        if isinstance(notice, DeviceDown):
            back = None if notice.last_good is None else tally.ts - notice.last_good
        else:
            back = tally.agent - notice.since if isinstance(notice, Gap) else None
    else:
        return tally
    if back is not None and back > 0:  # it was taken for standing while nobody saw it
        tally = change(tally, ts=tally.ts - back, agent=tally.agent - back)
    return tally if tally.broken else change(tally, broken=True)


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
    """Take a tick at plant time ``now`` as proof that a subscribed value still stood ``stale_after`` ago: its device answers."""
    if tally.last is None or tally.broken or not tally.good or tally.held is not None:
        return tally
    ahead = now - watch.stale_after - tally.agent
    return change(tally, ts=tally.ts + ahead, agent=tally.agent + ahead) if ahead >= watch.stale_after else tally
