"""Failpoints: what can be asked for, what is refused, and that nothing is there without the variable."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import apsw
import pytest

from edge_agent.buffer import failpoint
from edge_agent.buffer.failpoint import VARIABLE, Failpoint, parse
from edge_agent.model.errors import ConfigError


def test_faults_are_asked_for_in_words():
    """Several at once, from which call on, how often, while a file exists, how long."""
    assert parse("after_commit:17; fsync_eio:from=5,times=1;fsync_sleep=200ms:while=/tmp/x") == [
        Failpoint("after_commit", 17),
        Failpoint("fsync_eio", 5, 1),
        Failpoint("fsync_sleep", flag=Path("/tmp/x"), pause=0.2),
    ]


@pytest.mark.parametrize("text", ["meteor", "fsync_eio:sometimes=3", "fsync_eio:from=soon", "fsync_sleep=200"])
def test_what_is_not_understood_is_a_mistake_of_the_configuration(text):
    """A failpoint that would do nothing does not pass for one that was survived."""
    with pytest.raises(ConfigError, match=VARIABLE):
        parse(text)


def test_a_failpoint_is_due_at_its_calls_only(tmp_path):
    """From the second call, twice, and not while its file is missing."""
    assert [fault.due() for fault in [Failpoint("fsync_eio", 2, 2)] for _ in range(5)] == [False, True, True, False, False]
    flagged = Failpoint("fsync_eio", flag=tmp_path / "flag")
    assert not flagged.due()
    (tmp_path / "flag").touch()
    assert flagged.due()


def test_without_the_variable_nothing_is_installed():
    """The system's VFS stays the default one, and a place that is passed costs one look."""
    before = apsw.vfs_names()
    failpoint.install({})
    failpoint.reach("after_commit")
    assert apsw.vfs_names() == before


PROGRAM = """
import sys
from pathlib import Path
from edge_agent.buffer import failpoint
from edge_agent.buffer.config import BufferConfig
from edge_agent.buffer.numbering import Group
from edge_agent.buffer.outbox import Outbox
from edge_agent.model.stream import Entry
failpoint.install()
outbox = Outbox(BufferConfig(path=Path(sys.argv[1]), min_free=0), 0.0, prefix="edgeagent")
for now in range(1, 4):
    outbox.add(Group((Entry("a", "E", "x", now, now, b"{}"),), ()))
    outbox.work(float(now))
    print(outbox.stats().healthy, flush=True)
"""


@pytest.mark.parametrize(
    ("value", "said", "code"),
    [
        ("", ["True"] * 3, 0),
        ("after_commit:2", ["True"], -9),
        ("write_full", ["False"] * 3, 0),
        ("open_fail:times=1", ["True"] * 3, 0),
        ("fsync_sleep=1ms", ["True"] * 3, 0),
    ],
)
def test_a_process_fails_as_it_was_asked_to(tmp_path, value, said, code):
    """Killed after its second commit, on a full disk from the beginning, unable to open once: loudly, and not without being asked."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path)],
        env={VARIABLE: value},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    lines = done.stdout.splitlines()
    assert ([line for line in lines if line in {"True", "False"}], done.returncode) == (said, code), done.stderr
    assert ("failpoints.active" in done.stdout) == bool(value)
