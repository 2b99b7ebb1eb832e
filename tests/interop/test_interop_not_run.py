"""`dev.py interop` where what it needs is missing: that is said, and is no success where it should have been there. Needs none of it itself."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def dev(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    """dev.py with nothing on its PATH; what npm and pip install is there and its tests go well."""
    spec = importlib.util.spec_from_file_location("dev_under_test", ROOT / "dev.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(module, "setup", lambda _: None)
    monkeypatch.setattr(module, "run", lambda *_: 0)
    monkeypatch.setattr(module, "by_npm", lambda: None)
    monkeypatch.setattr(module, "pysparkplug", lambda: None)
    monkeypatch.setattr(module.os, "geteuid", lambda: 0)
    return module


def test_no_compiler_and_nobody_who_could_install_one(dev: ModuleType, capfd: pytest.CaptureFixture[str]) -> None:
    """It is said how to get one, and what was tried counts."""
    assert dev.interop([]) == 0
    told = capfd.readouterr().out
    assert "libmodbus or a compiler is not installed (sudo apt-get install libmodbus-dev" in told
    assert "interop: libmodbus NOT RUN (see above)" in told


def test_no_compiler_although_it_could_be_installed(dev: ModuleType, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """The package manager fails: no success, although the rest went well."""
    (tmp_path / "apt-get").write_text("#!/bin/sh\nexit 100\n")
    (tmp_path / "apt-get").chmod(0o755)
    assert dev.interop([]) == dev.NOT_RUN == 77
    told = capfd.readouterr()
    assert "could not run apt-get update -q" in told.out
    assert "interop: libmodbus NOT RUN (see above)" in told.out
    assert "libmodbus could not be installed" in told.err


def test_a_failure_is_not_hidden_by_what_was_not_run(dev: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Tests that failed are the answer, whatever else could not be tried."""
    (tmp_path / "apt-get").write_text("#!/bin/sh\nexit 100\n")
    (tmp_path / "apt-get").chmod(0o755)
    monkeypatch.setattr(dev, "run", lambda *_: 1)
    assert dev.interop([]) == 1


def test_no_npm(dev: ModuleType, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    """What can be tried without it is tried; the rest is named, and that is no success."""
    monkeypatch.undo()
    ran: list[tuple[str, ...]] = []
    for name, answer in {"setup": None, "libmodbus": None, "pysparkplug": None}.items():
        monkeypatch.setattr(dev, name, lambda *_, answer=answer: answer)
    monkeypatch.setattr(dev, "run", lambda *words: ran.append(words) or 0)
    monkeypatch.setattr(dev.shutil, "which", lambda _: None)
    assert dev.interop([]) == dev.NOT_RUN
    assert "node-opcua and Eclipse Tahu NOT RUN" in capfd.readouterr().out
    assert {"tests/interop/test_libmodbus.py", "tests/interop/test_interop_sparkplug.py"} <= set(ran[0])
