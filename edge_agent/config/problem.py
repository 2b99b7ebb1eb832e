"""One problem of the configuration, and how it reads: file, line, column, the line itself, cause and remedy."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Problem:
    """Something a user has to mend. ``line`` and ``column`` count from 1."""

    file: Path
    line: int
    column: int
    message: str
    remedy: str = ""
    excerpt: str = ""

    def __str__(self) -> str:
        """Return the problem in up to four lines, the way compilers do it."""
        text = f"{self.file}:{self.line}:{self.column}: {self.message}"
        if self.excerpt.strip():
            gutter = f"{self.line:>5} | "
            caret = (
                " " * (len(gutter) - 2)
                + "| "
                + "".join("\t" if char == "\t" else " " for char in self.excerpt[: self.column - 1])
                + "^"
            )
            text += f"\n{gutter}{self.excerpt.rstrip()}\n{caret}"
        if self.remedy:
            text += f"\n      -> {self.remedy}"
        return text

    def as_dict(self) -> dict[str, object]:
        """Return the problem for ``check --json``."""
        return {"file": str(self.file), "line": self.line, "column": self.column, "message": self.message, "remedy": self.remedy}
