"""Write the generated pages of the reference: ``python docs/reference/generate.py``. A test sees that they are current.

What is generated: configuration.md from the JSON Schemas of the configuration, commands.md from the command line, metrics.md from the table of metrics, events.md from the
schemas of the event types. (faults.md is written by ``edge-agent explain --page``.)
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import typer
from typer.testing import CliRunner

from edge_agent.cli import app
from edge_agent.cli.schema import schema
from edge_agent.status.families import FAMILIES

HERE = Path(__file__).resolve().parent
Node = Mapping[str, Any]
WRITTEN = "<!-- Written by docs/reference/generate.py: change the descriptions in the code instead. -->\n"


def configuration() -> str:
    """Return the page of the configuration: one table per kind of object, in the order in which the files nest."""
    lines = [
        "# Configuration", "", WRITTEN,
        ("`agent.yaml`, `devices/*.yaml` and `units/*.yaml`; or one file with everything. Every file begins with `version: 1`. `edge-agent check` finds mistakes, `edge-agent schema "
        "agent|device|unit` prints the schema for editors. Durations and rates carry units (`500ms`, `10s`, `3/s`); `${VAR}`, `${VAR:-default}` and `${file:PATH}` are replaced in values. "
        "**Bold** names must be given."), "",
    ]  # fmt: skip
    unit, device = json.loads(schema("unit")), json.loads(schema("device"))
    agent = json.loads(schema("agent"))
    agent["properties"] = {name: node for name, node in agent["properties"].items() if name not in {"devices", "units"}}
    lines += [*_file("agent.yaml", agent)]
    lines += [
        *_file(
            "devices/*.yaml",
            {"$defs": device["$defs"], "description": "A device; its `driver` says which keys it has."},
            device["oneOf"],
        )
    ]
    lines += [*_file("units/*.yaml", unit)]
    return "\n".join(lines).rstrip() + "\n"


def _file(name: str, root: Node, first: list[Node] | None = None) -> Iterator[str]:
    """One file: its own keys, then each kind of object that they reach, once."""
    yield from (f"## {name}", "", _text(root.get("description", "")), "")
    waiting = [each["$ref"] for each in first or []]
    if "properties" in root:
        yield from _table(root, waiting)
    done: set[str] = set()
    while waiting:
        ref = waiting.pop(0)
        if ref in done:
            continue
        done.add(ref)
        node = root["$defs"][ref.rsplit("/", 1)[1]]
        if "properties" in node:
            yield from (f"### {_title(ref)}", "", _text(node.get("description", "")), "")
            yield from _table(node, waiting)


def _table(node: Node, waiting: list[str]) -> Iterator[str]:
    """The keys of one object; ``waiting`` gets the kinds that they lead to."""
    required = set(node.get("required", ()))
    yield from ("| key | value | default | meaning |", "|---|---|---|---|")
    for name, value in node["properties"].items():
        waiting += _refs(value)
        shown = f"**`{name}`**" if name in required else f"`{name}`"
        default = "" if name in required else _default(value)
        yield f"| {shown} | {_cell(_kind(value))} | {_cell(default)} | {_cell(_meaning(value))} |"
    yield ""


def _refs(value: Any) -> list[str]:
    """Every kind of object that a key may hold."""
    if isinstance(value, dict):
        own = [value["$ref"]] if "$ref" in value else []
        return own + [ref for key, each in value.items() if key != "mapping" for ref in _refs(each)]
    return [ref for each in value for ref in _refs(each)] if isinstance(value, list) else []


def _title(ref: str) -> str:
    """CounterConfig -> Counter; two kinds of one name are told apart by their room."""
    *room, name = ref.rsplit("/", 1)[1].split("__")
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name.removesuffix("Config") or name).capitalize()
    return f"{words} ({room[-1]})" if room else words


def _kind(value: Node) -> str:
    """What a key may hold, in words."""
    if "$ref" in value:
        return _title(value["$ref"])
    for several in ("anyOf", "oneOf", "allOf"):
        if several in value:
            return " or ".join(dict.fromkeys(_kind(each) for each in value[several] if each.get("type") != "null"))
    if "enum" in value:
        return ", ".join(f"`{each}`" for each in value["enum"])
    if "const" in value:
        return f"`{value['const']}`"
    if value.get("type") == "array":
        items = value.get("items") or next(iter(value.get("prefixItems", ())), {})
        return f"list of {_kind(items)}" if items else "list"
    if value.get("type") == "object":
        more = value.get("additionalProperties")
        return f"name: {_kind(more)}" if isinstance(more, dict) and more else "mapping"
    return _scalar(value)


def _scalar(value: Node) -> str:
    pattern = value.get("pattern", "")
    if r"(ms|s|min|h|d)$" in pattern:
        return "duration"
    if r"/\s*(s|min|h)$" in pattern:
        return "rate"
    bounds = [
        f"{sign} {value[key]}" for key, sign in (("minimum", "≥"), ("exclusiveMinimum", ">"), ("maximum", "≤")) if key in value
    ]
    return " ".join(
        [
            {"string": "text", "integer": "whole number", "number": "number", "boolean": "yes or no"}.get(
                value.get("type", ""), "any value"
            ),
            *bounds,
        ]
    )


def _default(value: Node) -> str:
    """What counts when the key is absent."""
    default = value.get("default")
    if default in (None, {}, [], ""):
        return ""
    if isinstance(default, int) and not isinstance(default, bool) and _kind(value).startswith("duration"):
        return f"`{_duration(default)}`"
    if isinstance(default, int) and any("MiB" in str(each) for each in value.get("examples", ())):
        return f"`{default >> 30}GiB`" if default % (1 << 30) == 0 else f"`{default >> 20}MiB`"
    return "" if isinstance(default, dict) else f"`{json.dumps(default).strip(chr(34))}`"


def _duration(ns: int) -> str:
    """Nanoseconds as a person writes them."""
    for unit, size in (("d", 86_400 * 10**9), ("h", 3600 * 10**9), ("min", 60 * 10**9), ("s", 10**9)):
        if ns % size == 0:
            return f"{ns // size}{unit}"
    return f"{ns / 10**6:g}ms"


def _meaning(value: Node) -> str:
    examples = ", ".join(f"`{each}`" for each in value.get("examples", ()) if not isinstance(each, dict | list))
    text = value.get("description", "")
    glue = "" if not text else " E.g. " if text.endswith(".") else "; e.g. "
    return f"{text}{glue or 'e.g. '}{examples}" if examples else text


def _text(text: str) -> str:
    """A docstring as Markdown: one paragraph per paragraph."""
    return "\n\n".join(" ".join(part.split()) for part in text.replace("``", "`").split("\n\n"))


def _cell(text: str) -> str:
    return _text(text).replace("|", "\\|").replace("\n", " ").replace("<", "&lt;")


def commands() -> str:
    """Return the page of the command line: what ``--help`` of every verb prints."""
    lines = [
        "# Commands", "", WRITTEN,
        ("`edge-agent --help` lists the verbs, `edge-agent VERB --help` prints what stands here; `edge-agent --install-completion` teaches the shell. Exit codes: 0 fine, "
        "1 a problem that the text names, 2 wrong usage, 78 the configuration is wrong."), "",
    ]  # fmt: skip
    for path in _verbs((), typer.main.get_command(app)):
        shown = (
            CliRunner()
            .invoke(app, [*path, "--help"], env={"COLUMNS": "112", "TERMINAL_WIDTH": "112"}, prog_name="edge-agent")
            .output
        )
        lines += [f"## edge-agent {' '.join(path)}", "", "```text", shown.strip("\n"), "```", ""]
    return "\n".join(lines).rstrip() + "\n"


def _verbs(path: tuple[str, ...], command: Any) -> Iterator[tuple[str, ...]]:
    """Every verb, those of groups below their group's name."""
    if not hasattr(command, "commands"):
        yield path
        return
    for name, each in command.commands.items():
        yield from _verbs((*path, name), each)


def events() -> str:
    """Return the page of the event types: what each means, and what is in its data."""
    whole = json.loads(schema("events"))
    lines = [
        "# Events", "", WRITTEN,
        ("Every event is a CloudEvent (JSON, structured mode); its type is `<prefix>.NAME.v1`, `edgeagent` by default. `edge-agent schema events` prints the JSON Schemas, `edge-agent schema "
        "asyncapi` the channels of a configuration. Members that a consumer does not know are to be ignored: a minor version only adds. **Bold** members are always there."), "",
    ]  # fmt: skip
    for name, node in whole["$defs"].items():
        if "properties" not in node:
            continue
        lines += [f"## {name}", "", _text(node.get("title", "")) + ("" if str(node.get("title", "")).endswith(".") else "."), ""]
        lines += _members(node)
    return "\n".join(lines).rstrip() + "\n"


def _members(node: Node) -> Iterator[str]:
    required = set(node.get("required", ()))
    yield from ("| member | type | meaning |", "|---|---|---|")
    for name, value in node["properties"].items():
        kinds = value.get("type", "any")
        shown = ", ".join(kinds) if isinstance(kinds, list) else str(kinds)
        shown = (
            ", ".join(f"`{each}`" for each in value["enum"])
            if "enum" in value
            else value["$ref"].rsplit(":", 2)[-2]
            if "$ref" in value
            else shown
        )
        yield f"| {f'**`{name}`**' if name in required else f'`{name}`'} | {_cell(shown)} | {_cell(value.get('description', value.get('format', '')))} |"
    yield ""


def metrics() -> str:
    """Return the page of the metrics: one row per family."""
    lines = [
        "# Metrics", "", WRITTEN,
        ("What `GET /metrics` of the agent says (Prometheus' text format, or OpenMetrics where that is asked for), and `edge-agent metrics` prints. "
        "How to read and alert on them: [monitoring](../how-to/monitoring.md)."), "",
        ("Labels name things of the configuration or words of closed lists; no tag, order or value is ever a label. A family without a row now is left out "
        "(a device that is not polled has no polls)."), "",
        "| name | kind | labels | meaning |", "|---|---|---|---|",
    ]  # fmt: skip
    lines += [
        f"| `{name}` | {shape.kind} | {', '.join(f'`{label}`' for label in shape.labels)} | {_cell(shape.help)} |"
        for name, shape in FAMILIES.items()
    ]
    return "\n".join(lines) + "\n"


def status() -> str:
    """Return the page of the retained status: one table per kind of object."""
    root = json.loads(schema("status"))
    lines = [
        "# The retained status of an agent", "", WRITTEN,
        ("Every agent keeps a retained message on `<root>/<site>/_agent/<id>/status` (`edge-agent schema asyncapi` prints the topic of a configuration): JSON, at most 32 KiB, said again "
        "every 10 s and at once when something changes. When the connection dies, the broker says the last will there. `edge-agent schema status` prints the JSON Schema. "
        "Members that a consumer does not know are to be ignored."), "",
        ("Where not everything fits, the words of errors are left out first (the codes stay), then devices that are in order (`left_out` counts them). "
        "What reads it: [monitoring](../how-to/monitoring.md)."), "",
    ]  # fmt: skip
    for name in ("AgentStatus", "DeviceStatus", "FaultStatus", "BufferStatus", "ClockStatus", "LastWill"):
        node = root["$defs"][name]
        lines += [f"## {_title(f'/{name}')}", "", _text(node["description"]), "", *_rows(node)]
    return "\n".join(lines).rstrip() + "\n"


def _rows(node: Node) -> Iterator[str]:
    required = set(node.get("required", ()))
    yield from ("| member | value | meaning |", "|---|---|---|")
    for name, value in node["properties"].items():
        shown = f"**`{name}`**" if name in required else f"`{name}`"
        yield f"| {shown} | {_cell(_kind(value))} | {_cell(_meaning(value))} |"
    yield ""


PAGES: dict[str, Callable[[], str]] = {
    "configuration.md": configuration,
    "commands.md": commands,
    "events.md": events,
    "metrics.md": metrics,
    "status.md": status,
}

if __name__ == "__main__":
    for page, text in PAGES.items():
        (HERE / page).write_text(text(), encoding="utf-8")
