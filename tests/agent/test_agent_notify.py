"""Telling systemd: real datagrams to a real socket, silence without one."""

from __future__ import annotations

import os
import socket

import pytest

from edge_agent.agent.notify import notify, watchdog_seconds


@pytest.fixture
def systemd(tmp_path, monkeypatch):
    """A UNIX datagram socket as systemd opens it."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(str(tmp_path / "notify"))
        server.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        yield server


def test_lines_arrive_in_one_datagram(systemd):
    """READY and STATUS come together, a line each, as sd_notify(3) asks."""
    notify("READY=1", "STATUS=3/3 devices")
    assert systemd.recv(1024) == b"READY=1\nSTATUS=3/3 devices"


def test_an_abstract_socket_is_reached(monkeypatch):
    """An address that begins with @ lies in the abstract namespace."""
    name = f"edge-agent-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(f"\0{name}")
        server.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", f"@{name}")
        notify("WATCHDOG=1")
        assert server.recv(1024) == b"WATCHDOG=1"


def test_without_systemd_nothing_happens(monkeypatch):
    """Started by hand there is no socket, and that is no error."""
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    monkeypatch.setattr(socket, "socket", lambda *_: pytest.fail("a socket was opened"))
    notify("READY=1")


def test_a_supervisor_that_went_away_is_not_our_fault(systemd, tmp_path):
    """A socket that nobody reads any more is dropped datagrams, not an error."""
    systemd.close()
    notify("WATCHDOG=1")
    (tmp_path / "notify").unlink()
    notify("WATCHDOG=1")


@pytest.mark.parametrize(
    ("usec", "pid", "seconds"),
    [
        pytest.param("30000000", None, 15.0, id="half of what systemd allows"),
        pytest.param("30000000", "mine", 15.0, id="meant for this process"),
        pytest.param("30000000", "1", None, id="meant for another process"),
        pytest.param(None, None, None, id="not watched"),
        pytest.param("soon", None, None, id="not a number"),
    ],
)
def test_how_often_systemd_wants_a_sign_of_life(monkeypatch, usec, pid, seconds):
    """Half of WATCHDOG_USEC, when it is meant for this process."""
    for name, value in (("WATCHDOG_USEC", usec), ("WATCHDOG_PID", str(os.getpid()) if pid == "mine" else pid)):
        monkeypatch.delenv(name, raising=False)
        if value is not None:
            monkeypatch.setenv(name, value)
    assert watchdog_seconds() == seconds
