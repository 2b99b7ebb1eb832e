"""What a look at a device found: facts to show, and where it is not as the configuration says."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

Grade = Literal["error", "warning", "note"]
"""``error``: data is missing or wrong until somebody acts; ``warning``: it works, and less well than configured; ``note``: worth knowing."""


class Finding(msgspec.Struct, frozen=True):
    """One thing that is not as the configuration says. ``code`` is for programs, ``tag`` is the tag's name where it is of one."""

    grade: Grade
    code: str
    text: str
    tag: str | None = None
    remedy: str = ""


class Inspection(msgspec.Struct):
    """What is known of one device so far: a look that is broken off leaves what it had found.

    ``facts`` are JSON-able. ``answered`` says whether the device did.
    """

    device: str
    endpoint: str
    answered: bool = False
    facts: dict[str, Any] = msgspec.field(default_factory=dict)
    findings: list[Finding] = msgspec.field(default_factory=list)

    def say(self, grade: Grade, code: str, text: str, *, tag: str | None = None, remedy: str = "") -> None:
        """Add a finding."""
        self.findings.append(Finding(grade, code, text, tag, remedy))

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong (warnings are allowed)."""
        return not any(finding.grade == "error" for finding in self.findings)
