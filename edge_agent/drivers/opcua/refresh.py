"""ConditionRefresh: asking a server to say again which conditions it has (OPC 10000-9, 5.5.7). The one Method that the guard lets out."""

from __future__ import annotations

# asyncua re-exports without saying so and takes plain ints for its own number types.
# mypy: disable-error-code="attr-defined,arg-type"
from typing import Final

from asyncua import ua
from asyncua.ua.ua_binary import struct_from_binary
from asyncua.ua.uaerrors import UaStatusCodeError

from edge_agent.drivers.opcua.guard import REFRESH
from edge_agent.drivers.opcua.session import Session, status_text
from edge_agent.model.errors import DisconnectedError

BUSY: Final = status_text(ua.StatusCodes.BadRefreshInProgress)
_LOST: Final = frozenset({
    ua.StatusCodes.BadSessionClosed, ua.StatusCodes.BadSessionIdInvalid, ua.StatusCodes.BadSecureChannelClosed,
    ua.StatusCodes.BadSecureChannelIdInvalid, ua.StatusCodes.BadConnectionClosed, ua.StatusCodes.BadShutdown,
})  # fmt: skip


async def condition_refresh(session: Session, subscription: int) -> str | None:
    """Call ConditionRefresh; None when the server does it, else why it does not. Raises DisconnectedError when the session is gone.

    A server that does not answer this call may answer everything else: what is silent as a whole is found by the publish loop.
    """
    argument = ua.Variant(subscription, ua.VariantType.UInt32)
    method = ua.CallMethodRequest(ObjectId=REFRESH[0], MethodId=REFRESH[1], InputArguments=[argument])
    request = ua.CallRequest()
    request.Parameters.MethodsToCall = [method]
    try:
        body = await session.request(request, "refresh conditions")
        async with session.bounded("refresh conditions"):
            response = struct_from_binary(ua.CallResponse, ua.utils.Buffer(body))
            response.ResponseHeader.ServiceResult.check()
    except DisconnectedError as error:
        if isinstance(error.__cause__, UaStatusCodeError) and error.__cause__.code not in _LOST:
            return status_text(error.__cause__.code)
        if isinstance(error.__context__, TimeoutError):
            return str(error)
        raise
    results = response.Results or []
    if len(results) != 1:
        return f"{len(results)} results for one call"
    code = int(results[0].StatusCode.value)
    return status_text(code) if code >> 31 else None
