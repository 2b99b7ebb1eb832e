"""``edge-agent test``: mapping tests, with a readable difference for each that fails."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path

from edge_agent.cli.options import DEFAULT_CONFIG
from edge_agent.cli.words import plain
from edge_agent.config.load import load
from edge_agent.model.errors import ConfigError
from edge_agent.replay.line import line_of
from edge_agent.replay.mapped import run
from edge_agent.replay.mapping import scripts
from edge_agent.replay.verdict import Verdict

_LOOK = 0.5
"""Machine seconds between two looks at the files."""


def test(files: Sequence[Path], config: Path | None, *, watch: bool, verbose: bool) -> int:
    """Run tests; return the exit code. Raises ConfigError for a file that is wrong."""
    folder = config or _beside(files)
    if not watch:
        return once(folder, files, verbose=verbose)
    seen: dict[Path, float] = {}
    while True:
        if (now := _touched(folder, files)) != seen:
            seen = now
            try:
                once(folder, files, verbose=verbose)
            except ConfigError as error:
                print(error, file=sys.stderr)
            print(f"-- {time.strftime('%H:%M:%S')}, waiting for a change (Ctrl-C ends) --", flush=True)
        time.sleep(_LOOK)


def once(folder: Path, files: Sequence[Path], *, verbose: bool) -> int:
    """Run all tests once."""
    config = load(folder)
    line = line_of(config)
    verdicts: list[Verdict] = []
    for file in files or _found(folder):
        verdicts += [run(script, line) for script in scripts(file, line, config.agent.time_zone)]
    for verdict in verdicts:
        _tell(verdict, verbose=verbose)
    failed = sum(not verdict.passed for verdict in verdicts)
    print(f"{len(verdicts) - failed} passed" + (f", {failed} failed" if failed else ""))
    return int(failed > 0)


def _tell(verdict: Verdict, *, verbose: bool) -> None:
    script = verdict.script
    if verdict.passed and verbose:
        print(f"ok    {script.file}:{script.line}: {plain(script.test.test)}")
    elif not verdict.passed:
        print(f"FAIL  {script.file}:{script.line}: {plain(script.test.test)}")
        print("\n".join(plain(line) for line in verdict.report))


def _found(folder: Path) -> list[Path]:
    tests = (folder if folder.is_dir() else folder.parent) / "tests"
    files = sorted([*tests.glob("*.yaml"), *tests.glob("*.yml")])
    if not files:
        raise ConfigError(f"there are no tests in {tests}; write one (docs/how-to/test-a-mapping.md), or name a file")
    return files


def _beside(files: Sequence[Path]) -> Path:
    """Return the configuration that the first file stands in: the folder with agent.yaml above it."""
    above = files[0].absolute().parents if files else ()
    return next((folder for folder in above if (folder / "agent.yaml").is_file()), DEFAULT_CONFIG)


def _touched(folder: Path, files: Sequence[Path]) -> dict[Path, float]:
    watched = [*folder.rglob("*.y*ml"), *files] if folder.is_dir() else [folder, *files]
    return {file: file.stat().st_mtime for file in watched if file.is_file()}
