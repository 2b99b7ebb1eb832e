"""The first wall: the code itself. Looks at every file of edge_agent for a call that could write to a device; ``python only_reads.py`` prints them.

Which files may know a protocol's library, which of its names they may use, and where the two exceptions of OPC UA stand (the acknowledgement
and ConditionRefresh) is written down here: something new is an offence until somebody has looked at it and added it.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]

PYMODBUS = {
    "edge_agent/drivers/modbus/tcp.py": {"AsyncModbusTcpClient"},
    "edge_agent/drivers/modbus/library.py": {
        "ModbusBaseClient", "ConnectionException", "ModbusIOException", "FramerType", "ExceptionResponse", "ModbusPDU",
    },
    "edge_agent/drivers/modbus/serialport.py": {"AsyncModbusSerialClient"},
}  # fmt: skip
"""Who may import pymodbus, and what of it."""

ASYNCUA = "edge_agent/drivers/opcua/"

REQUESTS = {
    "WriteRequest": {"edge_agent/drivers/opcua/guard.py", "edge_agent/drivers/opcua/session.py"},
    "WriteValue": {"edge_agent/drivers/opcua/session.py"},
    "CallRequest": {"edge_agent/drivers/opcua/guard.py", "edge_agent/drivers/opcua/refresh.py"},
    "CallMethodRequest": {"edge_agent/drivers/opcua/guard.py", "edge_agent/drivers/opcua/refresh.py"},
}
"""The requests of OPC UA that change something, and where they may be named; no others may be named at all."""

_CHANGING_REQUEST = re.compile(
    r"(Write|Call|CallMethod|AddNodes|AddReferences|DeleteNodes|DeleteReferences|HistoryUpdate|RegisterServer2?)(Request|Value|Parameters)"
)
_WRITING_CALL = re.compile(
    r"(a?write_(coil|register|value|values|attribute|params|file|data)\w*|mask_write\w*|read_?write_?(multiple_)?registers\w*|diag_\w+|set_value|set_attribute|set_attr\w*"
    r"|set_writable|set_read_only|set_data_value|call_method\w*|add_(object|variable|folder|method|property|reference|data_type|event_type)\w*"
    r"|delete_(nodes|references)|history_update\w*|register_server\w*)"
)
_CLIENT = (
    {"read_coils", "read_discrete_inputs", "read_holding_registers", "read_input_registers", "register", "close", "ctx"}
    | {
        "read_device_information"  # function 43/14, which says who a device is; `guard` lets it pass only where a device's `identity` asks for it
    }
)
"""What is used of pymodbus's client."""
_WRITERS = {"edge_agent/drivers/opcua/guard.py"}
"""Files of drivers that put bytes on a transport themselves, behind their own check."""


class Offence(NamedTuple):
    """What could write, and where."""

    file: str
    line: int
    what: str


def offences(file: str, source: str) -> Iterator[Offence]:
    """Yield what in a file, named from the root of the project, could write to a device."""
    for node in ast.walk(ast.parse(source)):
        for what in (*_imports(file, node), *_names(file, node)):
            yield Offence(file, getattr(node, "lineno", 0), what)


def _imports(file: str, node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Import):
        for alias in node.names:
            top = alias.name.partition(".")[0]
            if top == "pymodbus" or (top == "asyncua" and not file.startswith(ASYNCUA)):
                yield f"import {alias.name}"
            if top in {"ctypes", "importlib"} and file.startswith("edge_agent/drivers/"):
                yield f"import {alias.name}"
    if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module is not None:
        top = node.module.partition(".")[0]
        for alias in node.names:
            if (top == "pymodbus" and alias.name not in PYMODBUS.get(file, set())) or (
                top == "asyncua" and (not file.startswith(ASYNCUA) or "server" in node.module)
            ):
                yield f"from {node.module} import {alias.name}"
            if _CHANGING_REQUEST.fullmatch(alias.name):
                yield f"from {node.module} import {alias.name}"


def _names(file: str, node: ast.AST) -> Iterator[str]:
    name = node.attr if isinstance(node, ast.Attribute) else node.value if isinstance(node, ast.Constant) else None
    if not isinstance(name, str):
        return
    if _WRITING_CALL.fullmatch(name):
        yield name
    if _CHANGING_REQUEST.fullmatch(name) and file not in REQUESTS.get(name, set()):
        yield name
    if not isinstance(node, ast.Attribute) or not file.startswith("edge_agent/drivers/"):
        return
    of = node.value.attr if isinstance(node.value, ast.Attribute) else node.value.id if isinstance(node.value, ast.Name) else ""
    if file in PYMODBUS and of in {"_client", "client"} and name not in _CLIENT:
        yield f"{of}.{name}"
    if (
        file not in _WRITERS
        and name in {"write", "writelines", "send", "sendall", "sendto"}
        and ("transport" in of or "sock" in of)
    ):
        yield f"{of}.{name}"


def found() -> list[Offence]:
    """Return every offence in edge_agent."""
    files = sorted((ROOT / "edge_agent").rglob("*.py"))
    return [each for path in files for each in offences(path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8"))]


if __name__ == "__main__":
    every = found()
    for each in every:
        print(f"{each.file}:{each.line}: {each.what} could write to a device; if it cannot, say so in {Path(__file__).name}")
    print(f"only reads: {len(every)} offences")
    sys.exit(1 if every else 0)
