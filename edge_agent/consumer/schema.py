"""Brings a database to the newest schema: the numbered files of ``migrations``, each once, each in a transaction of its own."""

from __future__ import annotations

import re
from importlib.resources import files

from edge_agent.consumer.database import Database
from edge_agent.model.errors import ConfigError

_NUMBERED = re.compile(r"^(\d{4})_\w+\.sql$")


def migrate(database: Database) -> int:
    """Run what is missing and return the version. Raises ConfigError for a database of a newer edge-agent, StorageError."""
    database.write("CREATE TABLE IF NOT EXISTS schema_version (version INTEGER PRIMARY KEY)")
    done = {version for (version,) in database.read("SELECT version FROM schema_version")}
    known = migrations()
    if done - known.keys():
        raise ConfigError(f"the database has schema {max(done)}, and this edge-agent knows {max(known)}; use the newer edge-agent")
    for version, sql in sorted(known.items()):
        if version in done:
            continue
        with database.transaction():
            for statement in statements(sql):
                database.write(statement)
            database.write("INSERT INTO schema_version (version) VALUES (?)", (version,))
    return max(known)


def migrations() -> dict[int, str]:
    """Return the text of each numbered file."""
    found = {}
    for entry in files("edge_agent.consumer").joinpath("migrations").iterdir():
        if match := _NUMBERED.match(entry.name):
            found[int(match[1])] = entry.read_text(encoding="utf-8")
    return found


def statements(sql: str) -> list[str]:
    """Return the single statements of a file: each ends with a semicolon at the end of a line; comments are left out."""
    bare = "\n".join(line for line in sql.splitlines() if not line.lstrip().startswith("--"))
    return [one.strip() for one in re.split(r";\s*$", bare, flags=re.MULTILINE) if one.strip()]
