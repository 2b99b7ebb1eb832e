"""Commands that come from the broker: they can make the agent say something again, never do anything to a PLC."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
import structlog

from edge_agent.agent.build import OUTPUT, Parts
from edge_agent.model.errors import StorageError
from edge_agent.model.outside import from_json
from edge_agent.ports import ArchiveBuffer, Document, Request, Sink

Number = Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)]
"""A number that a record can have."""


class ResendRequest(msgspec.Struct, forbid_unknown_fields=True):
    """The body of ``cmd/resend``: records ``from_seq`` to ``to_seq`` of a stream and epoch."""

    stream: str
    epoch: str
    from_seq: Number
    to_seq: Number


async def requests(parts: Parts, buffer: ArchiveBuffer, sink: Sink) -> None:
    """Answer commands from outside: they can make the agent say something again, never do anything to a PLC."""
    while True:
        request = await sink.request()
        answer = await _answer(parts, buffer, sink, request)
        if request.reply is not None:
            reply = Document(request.reply, msgspec.json.encode(answer), retain=False, correlation=request.correlation)
            await parts.announcer.send(sink, reply)


async def _answer(parts: Parts, buffer: ArchiveBuffer, sink: Sink, request: Request) -> dict[str, Any]:
    log = structlog.get_logger()
    if request.command != "resend":
        await parts.announcer.birth(sink)
        return {"ok": True}
    try:
        wanted = from_json(request.body, ResendRequest)
    except ValueError as error:
        log.warning("request.refused", command=request.command, reason=str(error))
        return {"ok": False, "error": str(error)}
    if wanted.to_seq < wanted.from_seq:
        return {"ok": False, "error": f"from_seq {wanted.from_seq} to to_seq {wanted.to_seq} is no range"}
    try:
        answer = await _resend(buffer, wanted)
    except StorageError as error:  # the buffer has told the log; whoever asked may ask again
        return {"ok": False, "error": str(error)}
    parts.forwarder.start_over()
    log.info("request.resend", stream=wanted.stream, first=wanted.from_seq, last=wanted.to_seq, resent=answer["resent"])
    return {"ok": True, **answer}


async def _resend(buffer: ArchiveBuffer, wanted: ResendRequest) -> dict[str, int]:
    """Have records sent again; say of the others whether they are still to come or gone, for only what is gone is a loss. Raises StorageError."""
    levels = {(level.stream, level.epoch): level for level in await buffer.levels()}
    level = levels.get((wanted.stream, wanted.epoch))
    first, last = max(wanted.from_seq, 1), wanted.to_seq if level is None else min(wanted.to_seq, level.last)
    resent = await buffer.resend(OUTPUT, wanted.stream, wanted.epoch, first, last)
    if level is None:  # an epoch of which nothing is left, or one that never was: nobody can tell them apart
        return {"resent": 0, "waiting": 0, "not_kept": max(0, last - first + 1), "last": 0}
    waiting = max(0, last - max(first - 1, level.delivered))
    not_kept = max(0, min(last, level.first - 1) - first + 1)
    return {"resent": resent, "waiting": waiting, "not_kept": not_kept, "last": level.last}
