"""The demo's embedded broker: iotcore (rumqttd), bound to this machine only."""

from __future__ import annotations

import importlib.util
import socket
from pathlib import Path

from edge_agent.model.errors import ConfigError, EdgeAgentError

_REACH = 5.0

_CONFIG = """\
id = 0

[router]
id = 0
max_connections = 64
max_outgoing_packet_count = 10000
max_segment_size = 104857600
max_segment_count = 10

[v5.1]
name = "demo"
listen = "127.0.0.1:{port}"
next_connection_delay_ms = 1
    [v5.1.connections]
    connection_timeout_ms = 5000
    max_payload_size = 1048576
    max_inflight_count = 200
    dynamic_filters = true
"""

_PROGRAM = """\
import socket, sys, threading, time
from iotcore.iotcore import IotCoreBroker

def ready(port):
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 0.2).close()
        except OSError:
            time.sleep(0.02)
        else:
            print(f"ready mqtt://127.0.0.1:{port}", flush=True)
            return

threading.Thread(target=ready, args=(int(sys.argv[2]),), daemon=True).start()
IotCoreBroker(config_path=sys.argv[1]).run_forever()
"""


def broker_command(folder: Path, port: int) -> list[str]:
    """Return the Python arguments that run the broker on ``port``; raises ConfigError when it is not installed."""
    if importlib.util.find_spec("iotcore") is None:
        raise ConfigError(
            "the demo's embedded broker is not installed; run `make demo`, or `pip install 'edge-agent[demo]'`, or give --broker host:port"
        )
    config = folder / "broker.toml"
    config.write_text(_CONFIG.format(port=port), encoding="utf-8")
    return ["-c", _PROGRAM, str(config), str(port)]


def reach(broker: str) -> None:
    """Connect to a broker of the user's once, so that a wrong address is told before anything starts.

    Raises ConfigError for what is no ``host:port``, EdgeAgentError when nobody answers there.
    """
    host, _, port = broker.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65_536:
        raise ConfigError(f"--broker '{broker}' is not host:port; write it like 127.0.0.1:1883")
    try:
        socket.create_connection((host.strip("[]"), int(port)), _REACH).close()
    except OSError as error:
        why = "no answer within 5 s" if isinstance(error, TimeoutError) else error.strerror or str(error)
        raise EdgeAgentError(
            f"the broker {broker} cannot be reached: {why}; check host and port after --broker, and that it runs"
        ) from error
