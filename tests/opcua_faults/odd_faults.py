"""What the odd server does wrong, as data that a test changes while it runs."""

from __future__ import annotations

from dataclasses import dataclass, field

GOOD = 0
BAD_TIMEOUT = 0x800A0000
BAD_SERVICE_UNSUPPORTED = 0x800B0000
BAD_OUT_OF_MEMORY = 0x80030000
BAD_NOT_SUPPORTED = 0x803D0000
BAD_SHUTDOWN = 0x800C0000
BAD_TOO_MANY_OPERATIONS = 0x80100000
BAD_SECURE_CHANNEL_ID_INVALID = 0x80220000
BAD_SESSION_ID_INVALID = 0x80250000
BAD_SESSION_CLOSED = 0x80260000
BAD_SUBSCRIPTION_ID_INVALID = 0x80280000
BAD_NODE_ID_UNKNOWN = 0x80340000
BAD_ATTRIBUTE_ID_INVALID = 0x80350000
BAD_MONITORED_ITEM_ID_INVALID = 0x80420000
BAD_TOO_MANY_SESSIONS = 0x80560000
BAD_NO_MATCH = 0x806F0000
BAD_TOO_MANY_SUBSCRIPTIONS = 0x80770000
BAD_TOO_MANY_PUBLISH_REQUESTS = 0x80780000
BAD_NO_SUBSCRIPTION = 0x80790000
BAD_MESSAGE_NOT_AVAILABLE = 0x807B0000
BAD_RESPONSE_TOO_LARGE = 0x80B90000
BAD_TOO_MANY_MONITORED_ITEMS = 0x80DB0000

READ_LIMIT, REGISTER_LIMIT, TRANSLATE_LIMIT, MONITOR_LIMIT = 11705, 11711, 11712, 11714
LIMITS = {READ_LIMIT: "Read", REGISTER_LIMIT: "RegisterNodes", TRANSLATE_LIMIT: "Translate", MONITOR_LIMIT: "CreateMonitoredItems"}
"""Nodes of ServerCapabilities.OperationLimits (OPC 10000-5, 6.3.11) and the service that each bounds."""


@dataclass
class Faults:
    """A well-behaved server until something is set. Times are machine seconds.

    ``limits`` are announced by node number (0: no limit; missing: the node does not exist), ``takes`` is what a service really takes at
    once. ``refuse`` answers a service with a ServiceFault, ``delay`` answers everything that late. ``late``: no variable is there yet.
    """

    limits: dict[int, int] = field(default_factory=dict)
    takes: dict[str, int] = field(default_factory=dict)
    refuse: dict[str, int] = field(default_factory=dict)
    delay: float = 0.0
    slow: dict[str, float] = field(default_factory=dict)
    """How long the answer of a service that is done already takes to leave, while everything else goes on."""
    alone: str = ""
    """What comes of a request with operations while another one waits for its answer: it is ``refused``, or the connection is ``cut``."""
    late: bool = False
    missing: frozenset[str] = frozenset()
    """Variables that are not there yet."""
    most_sessions: int = 100
    most_subscriptions: int = 100
    most_items: int = 1_000_000
    most_publish: int = 100
    most_queue: int = 10_000
    message_size: int = 64 * 1024 * 1024
    channel_lifetime: int = 3_600_000
    session_timeout: int = 60_000
    renew: bool = True
    drop: int = 0
    """How many of the next data notifications are counted but not sent."""
    twice: int = 0
    """How many of the next data notifications are sent two times."""
    republish: bool = True
    forget_items: bool = False
    """The subscription goes on with keep-alives, and no item in it says anything."""
    silent: bool = False
    """The subscription says nothing more, not even that it is alive; everything else works."""
    initial: float | None = None
    """Seconds after a transfer at which the values of now are sent once more, as the client has asked; 0 = with what was kept."""
    history: bool = False
    """The server keeps every sample of every variable, and lets anybody read it."""
    history_page: int = 1000
    """How many samples of the history come at once; the rest behind a continuation point."""
    history_lag: int = 0
    """How many of the newest samples its historian has not stored yet."""
    history_delay: float = 0.0
    state: int = 0
    skew: int = 0
    """How far the server's clock is ahead, in ns."""
