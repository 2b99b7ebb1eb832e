"""Errors, named by what the caller does about them.

* EdgeAgentError
  x ConfigError          fix the file; the agent does not start (exit code 78)
    x TakenError         stop the other agent, or name another directory
  x DisconnectedError    the other side is away; reopen with back-off
  x RejectedError        this one record will never be accepted; set it aside
  x StorageError         the buffer cannot keep its promise; reopen, degrade, declare
"""


class EdgeAgentError(Exception):
    """Base of every error the agent raises on purpose."""


class ConfigError(EdgeAgentError):
    """The configuration is wrong; the text is shown to the user as it is, and the exit code is 78."""


class TakenError(ConfigError):
    """Another agent uses the directory of the buffer."""


class DisconnectedError(EdgeAgentError):
    """The connection is gone or never came up; only ``agent/link.py`` reacts, by opening a new one.

    ``slow``: the other side answered and refused for a reason that only a person can change (credentials, access list), so
    that trying again at once is hammering. ``retry_after``: machine seconds until the next try, where the error knows better than
    the ordinary back-off. ``planned``: the end of the connection was our own wish, and no loss. ``fault`` and ``remedy``: where the
    device stands still until a person acts, the name of that state (``cert_changed``) and what mends it: they become a `device.fault`.
    """

    slow = False
    fault = ""
    remedy = ""
    retry_after: float | None = None
    planned = False


class RejectedError(EdgeAgentError):
    """The receiver will never take this record; the queue moves on without it."""


class StorageError(EdgeAgentError):
    """The store could not commit; nothing was accepted."""
