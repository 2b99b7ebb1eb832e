"""What a process that runs for months asks for before it imports the rest: libraries without what they would load for nobody.

Every module that is loaded stays in memory for as long as the process lives, used or not.
"""

from __future__ import annotations

import importlib
import os
import sys

_CONSOLE = "rich"


def prepare() -> None:
    """Have pydantic look for no plugins, and structlog begin without the console's formatting; called before either is imported.

    structlog imports rich where it finds it, for tracebacks in a terminal, which `logs` never prints so. pydantic reads the metadata of every
    installed package for plugins, and an agent's configuration has none.
    """
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    if "structlog" in sys.modules or _CONSOLE in sys.modules:
        return
    sys.modules[_CONSOLE] = None  # type: ignore[assignment]  # "not installed", as the import system has it
    try:
        importlib.import_module("structlog")
    finally:
        del sys.modules[_CONSOLE]
