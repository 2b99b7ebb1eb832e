"""What many alike gateways share: ``include:`` names folders whose files count as if they stood here, ``variables:`` what differs.

An included folder has ``devices/``, ``units/`` and, for what is common to all agents, an ``agent.yaml``, which may leave out what the including
one says. Where both say something, the including file holds.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from edge_agent.config.source import Path_, Source, read

OWN: Final = ("agent", "include", "variables")
"""Keys that an included file cannot have: they are what makes gateways differ."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def read_main(file: Path) -> tuple[Source, list[Path], Mapping[str, str]]:
    """Return ``agent.yaml`` with what its included folders say beneath it, those folders, and the variables. Everything wrong is among its problems."""
    main = read(file)
    variables = _variables(main)
    if variables:
        main = read(file, variables)  # with the values in place
        _variables(main)
    folders = _folders(main)
    for folder in folders:
        shared = folder / "agent.yaml"
        if shared.exists():
            _put_beneath(main, read(shared, variables))
    return main, folders, variables


def _variables(main: Source) -> dict[str, str]:
    """Return the variables that the file declares, after noting what is wrong with them."""
    found = main.data.get("variables") if isinstance(main.data, dict) else None
    if found is None:
        return {}
    if not isinstance(found, dict):
        main.problem(
            main.place(("variables",)),
            "variables must be a table of names and values",
            "write variables: {line: line3, plc: 10.0.3.5}",
        )
        return {}
    out = {}
    for name, value in found.items():
        if not _NAME.fullmatch(str(name)):
            main.problem(
                main.keys.get(("variables", name), (1, 1)),
                f"'{name}' is no name of a variable",
                "use letters, digits and _, beginning with a letter",
            )
        elif isinstance(value, bool) or not isinstance(value, str | int | float):
            main.problem(main.place(("variables", name)), f"the variable {name} has no plain value", "give it a text or a number")
        else:
            out[str(name)] = str(value)
    return out


def _folders(main: Source) -> list[Path]:
    """Return the folders that the file includes, after noting what is wrong with them."""
    found = main.data.get("include") if isinstance(main.data, dict) else None
    wanted = found if isinstance(found, list) else [] if found is None else [found]
    out: list[Path] = []
    for index, one in enumerate(wanted):
        place = main.place(("include", index) if isinstance(found, list) else ("include",))
        if not isinstance(one, str) or not one:
            main.problem(place, "include takes folders", "write include: ../common, or a list of folders")
            continue
        folder = Path(os.path.normpath(main.file.parent / one))
        if folder.is_dir():
            out.append(folder)
        elif folder.exists():
            main.problem(place, f"{one} is a file", "name the folder that has devices/, units/ or an agent.yaml in it")
        else:
            main.problem(
                place, f"the folder {one} does not exist", f"it is looked for from {main.file.parent} on; make it, or mend the path"
            )
    return out


def _put_beneath(main: Source, shared: Source) -> None:
    """Take over what ``shared`` says and ``main`` does not; its problems and places stay its own."""
    if shared.data is not None and not isinstance(shared.data, dict):
        shared.problem((1, 1), "the file must be a table of keys and values", "start with `version: 1`")
    elif isinstance(shared.data, dict):
        for key in OWN:
            if key in shared.data:
                shared.problem(
                    shared.keys[key,], f"an included file has no '{key}'", f"write {key} into the agent.yaml that includes it"
                )
                del shared.data[key]
        if isinstance(main.data, dict):
            taken = set(_merge(main.data, shared.data, ()))
            shared.keys = {path: place for path, place in shared.keys.items() if _below(path, taken)}
            shared.values = {path: place for path, place in shared.values.items() if _below(path, taken)}
    main.lists.append(shared)


def _merge(into: dict[Any, Any], given: dict[Any, Any], path: Path_) -> Iterator[Path_]:
    """Add to ``into`` what only ``given`` has; yields the path of each thing that was added."""
    for key, value in given.items():
        if key not in into:
            into[key] = value
            yield (*path, key)
        elif isinstance(into[key], dict) and isinstance(value, dict):
            yield from _merge(into[key], value, (*path, key))


def _below(path: Path_, taken: set[Path_]) -> bool:
    return any(path[:end] in taken for end in range(1, len(path) + 1))
