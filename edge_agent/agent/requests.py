"""Commands that come from the broker: they can make the agent say something again, never do anything to a PLC."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
import structlog

from edge_agent.agent.build import OUTPUT, Parts
from edge_agent.model.errors import StorageError
from edge_agent.model.outside import from_json
from edge_agent.ports import Document, Request, Sink

Number = Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)]
"""A number that a record can have."""


class ResendRequest(msgspec.Struct, forbid_unknown_fields=True):
    """The body of ``cmd/resend``: records ``from_seq`` to ``to_seq`` of a stream and epoch."""

    stream: str
    epoch: str
    from_seq: Number
    to_seq: Number


async def requests(parts: Parts, sink: Sink) -> None:
    """Answer commands from outside: they can make the agent say something again, never do anything to a PLC."""
    while True:
        request = await sink.request()
        answer = await _answer(parts, sink, request)
        if request.reply is not None:
            reply = Document(request.reply, msgspec.json.encode(answer), retain=False, correlation=request.correlation)
            await parts.announcer.send(sink, reply)


async def _answer(parts: Parts, sink: Sink, request: Request) -> dict[str, Any]:
    log = structlog.get_logger()
    if request.command != "resend":
        await parts.announcer.birth(sink)
        return {"ok": True}
    try:
        wanted = from_json(request.body, ResendRequest)
    except ValueError as error:
        log.warning("request.refused", command=request.command, reason=str(error))
        return {"ok": False, "error": str(error)}
    try:
        resent = await parts.buffer.resend(OUTPUT, wanted.stream, wanted.epoch, wanted.from_seq, wanted.to_seq)
    except StorageError as error:  # the buffer has told the log; whoever asked may ask again
        return {"ok": False, "error": str(error)}
    parts.forwarder.start_over()
    log.info("request.resend", stream=wanted.stream, first=wanted.from_seq, last=wanted.to_seq, resent=resent)
    expired = wanted.to_seq - wanted.from_seq + 1 - resent
    return {"ok": True, "resent": resent, "not_kept": max(expired, 0)}
