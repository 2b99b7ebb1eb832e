"""Two requests encoded by hand, because a set-up may send a hundred thousand of them: Read and CreateMonitoredItems (pure).

OPC 10000-4, 5.11.2 and 5.13.2, with the RequestHeader of 7.33; OPC 10000-6, 5.2. The guard knows them by `Ready.service`.
"""

from __future__ import annotations

# asyncua re-exports without saying so and takes plain ints for its own number types.
# mypy: disable-error-code="attr-defined,arg-type"
import struct
from collections.abc import Sequence
from typing import Final, NamedTuple

from asyncua import ua
from asyncua.ua.ua_binary import extensionobject_to_binary, nodeid_to_binary

READ: Final = 631
"""Id of the binary encoding of ReadRequest (OPC 10000-6, A.3)."""
CREATE_ITEMS: Final = 751

_EPOCH: Final = 116_444_736_000_000_000
"""1970 in ticks of 100 ns since 1601."""
_ID: Final = struct.Struct("<BBH")
_HEADER: Final = struct.Struct("<qIIiI3x")
_READ_HEAD: Final = struct.Struct("<dII")
_CREATE_HEAD: Final = struct.Struct("<III")
_U32: Final = struct.Struct("<I")
_I32: Final = struct.Struct("<i")
_SAMPLING: Final = struct.Struct("<IId")
_QUEUE: Final = struct.Struct("<I?")
_NO_TEXT: Final = _I32.pack(-1)
_NO_ENCODING: Final = b"\x00\x00" + _NO_TEXT
_NO_OBJECT: Final = b"\x00\x00\x00"


class Ready(NamedTuple):
    """A request whose ``body`` behind the RequestHeader is encoded already; ``service`` is the id of its encoding."""

    service: int
    body: bytes

    def message(self, token: bytes, handle: int, timeout: float, now: int) -> bytes:
        """Return the whole request; ``token`` is the encoded authentication token, ``timeout`` in seconds, ``now`` UTC ns."""
        header = _HEADER.pack(now // 100 + _EPOCH, handle, 0, -1, int(timeout * 1000))
        return _ID.pack(1, 0, self.service) + token + header + self.body


def _text(value: str | None) -> bytes:
    if value is None:
        return _NO_TEXT
    raw = value.encode()
    return _I32.pack(len(raw)) + raw


def _value_id(wanted: ua.ReadValueId) -> bytes:
    """Encode what is asked for; the encoding of its data is always the default one."""
    return nodeid_to_binary(wanted.NodeId) + _U32.pack(wanted.AttributeId) + _text(wanted.IndexRange) + _NO_ENCODING


def read_request(wanted: Sequence[ua.ReadValueId]) -> Ready:
    """Return a Read of values as new as the server has them, with both times."""
    head = _READ_HEAD.pack(0.0, ua.TimestampsToReturn.Both, len(wanted))
    return Ready(READ, head + b"".join([_value_id(one) for one in wanted]))


def _create(wanted: ua.MonitoredItemCreateRequest) -> bytes:
    params = wanted.RequestedParameters
    chosen = _NO_OBJECT if params.Filter is None else extensionobject_to_binary(params.Filter)
    return (
        _value_id(wanted.ItemToMonitor)
        + _SAMPLING.pack(wanted.MonitoringMode, params.ClientHandle, params.SamplingInterval)
        + chosen
        + _QUEUE.pack(params.QueueSize, params.DiscardOldest)
    )


def create_items_request(subscription: int, wanted: Sequence[ua.MonitoredItemCreateRequest]) -> Ready:
    """Return a CreateMonitoredItems whose notifications carry both times."""
    head = _CREATE_HEAD.pack(subscription, ua.TimestampsToReturn.Both, len(wanted))
    return Ready(CREATE_ITEMS, head + b"".join([_create(one) for one in wanted]))
