"""What Siemens' TIA Portal exports: the OPC UA nodeset of a server interface, PLC tag tables, and texts of alarms and text lists.

The exports differ by version and language of the tool: columns are found by what their headings begin with, and what is not understood is left
out and told, never guessed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree as ET

from edge_agent.cli.sheet import Sheet, sheets, xml
from edge_agent.model.errors import EdgeAgentError

S7 = "http://www.siemens.com/simatic-s7-opcua"
"""Namespace of the standard SIMATIC server interface of an S7-1200 or S7-1500: every variable under its symbolic name."""

TYPES = {
    "BOOL": "bool", "BYTE": "uint8", "USINT": "uint8", "WORD": "uint16", "UINT": "uint16", "DWORD": "uint32", "UDINT": "uint32",
    "LWORD": "uint64", "ULINT": "uint64", "SINT": "int8", "INT": "int16", "DINT": "int32", "LINT": "int64", "TIME": "int32", "LTIME": "int64",
    "REAL": "float32", "LREAL": "float64", "STRING": "string", "WSTRING": "string",
}  # fmt: skip
"""Types of IEC 61131-3 as an S7's server gives them."""

_BUILTIN = {
    "i=1": "bool", "i=2": "int8", "i=3": "uint8", "i=4": "int16", "i=5": "uint16", "i=6": "int32", "i=7": "uint32", "i=8": "int64", "i=9": "uint64",
    "i=10": "float32", "i=11": "float64", "i=12": "string", "i=29": "int32",
}  # fmt: skip
"""Built-in types (OPC 10000-6, 5.1.2); Enumeration is an Int32."""

_SET = "{http://opcfoundation.org/UA/2011/03/UANodeSet.xsd}"
_UP = {"HasComponent", "i=47", "Organizes", "i=35", "HasOrderedComponent", "i=49"}
_PROPERTY = {"HasProperty", "i=46"}
_NAME = re.compile(r"[^A-Za-z0-9_-]+")
_DEEPEST = 32


class Found(NamedTuple):
    """One line for a device file: a tag, or with ``usable`` False a comment about what cannot be one."""

    name: str
    members: dict[str, object]
    comment: str = ""
    usable: bool = True


def nodeset(file: Path) -> list[Found]:
    """Return the variables of an OPC UA nodeset. Raises EdgeAgentError when it is none."""
    try:
        raw = file.read_bytes()
    except OSError as error:
        raise EdgeAgentError(f"{file}: {error.strerror}; check the path") from error
    root = xml(raw, str(file))
    if root.tag != f"{_SET}UANodeSet":
        raise EdgeAgentError(f"{file} is no OPC UA nodeset; in TIA Portal: OPC UA communication, server interface, export")
    book = _Book(root)
    names: set[str] = set()
    return [found for node in root.iter(f"{_SET}UAVariable") if (found := book.variable(node, names)) is not None]


class _Book:
    """The nodes of one nodeset by their ids."""

    def __init__(self, root: ET.Element) -> None:
        self._uris = [(uri.text or "").strip() for uri in root.iterfind(f"{_SET}NamespaceUris/{_SET}Uri")]
        self._aliases = {
            alias.get("Alias", ""): (alias.text or "").strip() for alias in root.iterfind(f"{_SET}Aliases/{_SET}Alias")
        }
        self._nodes = {node.get("NodeId", ""): node for node in root if node.get("NodeId")}
        self._down: dict[str, tuple[str, str]] = {}
        for node in root:
            for kind, forward, target in _references(node):
                if forward and kind in _UP | _PROPERTY:
                    self._down[target] = (node.get("NodeId", ""), kind)

    def variable(self, node: ET.Element, names: set[str]) -> Found | None:
        """Return a variable as a tag; None for what describes another one."""
        own = node.get("NodeId", "")
        address = self._address(own)
        parent, how = self._parent(node)
        if how in _PROPERTY or address is None:
            return None
        name = _unique(_NAME.sub("_", "_".join(self._path(node, parent))).strip("_") or "tag", names)
        mapping = next((each.text for each in node.iter() if each.tag.endswith("}VariableMapping") and each.text), "")
        members: dict[str, object] = {"node": address}
        kind = self._type(node.get("DataType", "i=24"))
        if kind is not None:
            members["type"] = kind
        if int(node.get("ValueRank", "-1")) >= 0:
            return Found(name, members, "an array: add index: 0 for one element", usable=False)
        if kind is None:
            return Found(
                name,
                members,
                f"its type {node.get('DataType')} is none that a tag can have: name a field, or its members",
                usable=False,
            )
        return Found(name, members, mapping)

    def _parent(self, node: ET.Element) -> tuple[str, str]:
        for kind, forward, target in _references(node):
            if not forward and kind in _UP | _PROPERTY:
                return target, kind
        return self._down.get(node.get("NodeId", ""), (node.get("ParentNodeId", ""), "HasComponent"))

    def _path(self, node: ET.Element, parent: str) -> list[str]:
        """Return the names from below the interface's own object down to the node."""
        path = [_browse_name(node)]
        while (above := self._nodes.get(parent)) is not None and len(path) < _DEEPEST:
            path.append(_browse_name(above))
            parent, _ = self._parent(above)
        return path[-2::-1] if len(path) > 1 else path

    def _address(self, node_id: str) -> str | None:
        match = re.fullmatch(r"ns=(\d+);(.+)", node_id, re.DOTALL)
        if match is None or not 0 < int(match[1]) <= len(self._uris):
            return None
        return f"nsu={self._uris[int(match[1]) - 1]};{match[2]}"

    def _type(self, name: str) -> str | None:
        """Return the type of values: by the name that IEC 61131-3 has for it, or by the built-in type it derives from."""
        for _ in range(_DEEPEST):
            if (known := TYPES.get(name.upper())) is not None:
                return known
            name = self._aliases.get(name, name)
            if (known := _BUILTIN.get(name)) is not None:
                return known
            node = self._nodes.get(name)
            if node is None:
                return None
            if (known := TYPES.get(_browse_name(node).upper())) is not None:
                return known
            name = next(
                (target for kind, forward, target in _references(node) if not forward and kind in {"HasSubtype", "i=45"}), ""
            )
        return None


def _references(node: ET.Element) -> Iterator[tuple[str, bool, str]]:
    for each in node.iterfind(f"{_SET}References/{_SET}Reference"):
        yield each.get("ReferenceType", ""), each.get("IsForward", "true").lower() != "false", (each.text or "").strip()


def _browse_name(node: ET.Element) -> str:
    return re.sub(r"^\d+:", "", node.get("BrowseName", "")).strip('"')


def _unique(name: str, names: set[str]) -> str:
    name = name if re.match(r"[A-Za-z0-9]", name) else f"t{name}"
    free, number = name, 1
    while free in names:
        number += 1
        free = f"{name}_{number}"
    names.add(free)
    return free


# -- tables ---------------------------------------------------------------------------------------------------------


def tag_table(file: Path) -> list[Found]:
    """Return the tags of a PLC tag table (.xlsx, or saved as CSV) as variables of the SIMATIC server interface. Raises EdgeAgentError."""
    sheet, head, columns = _chosen(file, {"name": ("name",), "type": ("data type", "datentyp", "type de donn", "tipo de datos", "tipo di dati")}, {
        "comment": ("comment", "kommentar", "commentaire", "comentario", "commento"),
        "open": ("hmi accessible", "accessible from hmi", "erreichbar aus hmi"),
        "address": ("logical address", "logische adresse", "adresse"),
    })  # fmt: skip
    names: set[str] = set()
    found = []
    for row in _below(sheet, head, columns):
        if not row["name"]:
            continue
        kind = TYPES.get(row["type"].strip('"').upper().partition("[")[0])
        members: dict[str, object] = {"node": f'nsu={S7};s="{row["name"]}"', **({"type": kind} if kind else {})}
        comment = " ".join(filter(None, (row.get("address", ""), row.get("comment", ""))))
        closed = row.get("open", "").lower() in {"false", "0", "falsch", "nein", "no"}
        why = "not accessible from HMI/OPC UA" if closed else "" if kind else f"type {row['type']} is none that a tag can have"
        name = _unique(_NAME.sub("_", row["name"]).strip("_") or "tag", names)
        found.append(Found(name, members, f"{why}; {comment}".strip("; "), usable=not why))
    return found


class Text(NamedTuple):
    """One text of a code, in one language; ``kind`` is the alarm's class."""

    code: str
    text: str
    language: str = ""
    kind: str = ""


def texts(file: Path) -> list[Text]:
    """Return the texts of an alarm export or of a text list, one a language. Raises EdgeAgentError."""
    code = ("id", "value", "wert", "number", "nummer", "alarm number", "meldungsnummer", "code", "valor", "valeur")
    words = ("alarm text", "text", "meldetext", "event text", "texte", "texto", "testo")
    sheet, head, columns = _chosen(
        file, {"code": code, "text": words}, {"class": ("class", "klasse", "alarm class", "meldeklasse")}
    )
    places = {at: heading for at, heading in enumerate(head) if any(heading.lower().startswith(word) for word in words)}
    found: dict[tuple[str, str], Text] = {}
    for row in _below(sheet, head, columns | {f"text {at}": at for at in places}):
        if not re.fullmatch(r"-?\d+(\.0+)?", row["code"]):
            continue  # a heading inside, or a range of values, which is no code
        for at, heading in places.items():
            language = (re.search(r"\[([A-Za-z]{2}(?:-[A-Za-z0-9]+)*)\]", heading) or ["", ""])[1]
            number = row["code"].partition(".")[0]
            if (text := row[f"text {at}"].strip()) and text != "<No value>":
                found.setdefault((number, language), Text(number, " ".join(text.split()), language, row.get("class", "")))
    return list(found.values())


def _chosen(
    file: Path, needed: Mapping[str, Sequence[str]], more: Mapping[str, Sequence[str]]
) -> tuple[Sheet, list[str], dict[str, int]]:
    """Return the first sheet with a heading for everything that is needed, its heading row, and which column is what."""
    for sheet in sheets(file):
        for _, cells in sheet.rows[:10]:
            columns = {key: at for key, words in {**needed, **more}.items() if (at := _heading(cells, words)) is not None}
            if needed.keys() <= columns.keys():
                return sheet, cells, columns
    wanted = " and ".join(repr(words[0]) for words in needed.values())
    raise EdgeAgentError(f"{file}: no table in it has columns {wanted}; export it from TIA Portal as it is, with its headings")


def _heading(cells: Sequence[str], words: Sequence[str]) -> int | None:
    lower = [cell.lower().strip() for cell in cells]
    exact = next((lower.index(word) for word in words if word in lower), None)
    return (
        exact
        if exact is not None
        else next((at for at, cell in enumerate(lower) for word in words if len(word) > 3 and cell.startswith(word)), None)
    )


def _below(sheet: Sheet, head: Sequence[str], columns: Mapping[str, int]) -> Iterator[dict[str, str]]:
    below = False
    for _, cells in sheet.rows:
        if below:
            yield {key: cells[at] if at < len(cells) else "" for key, at in columns.items()}
        below = below or cells == head
