"""How a demo ends before its time: mistakes before anything starts, signals at any moment, an absent broker; nothing is left behind."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edge_agent.cli.demo.broker import reach
from edge_agent.cli.demo.play import Play
from edge_agent.cli.demo.process import Process
from edge_agent.cli.demo.scenario import checked
from edge_agent.cli.demo.stage import Stage
from edge_agent.cli.demo.until import Stop, StoppedError
from edge_agent.cli.demo.view import View
from edge_agent.model.errors import ConfigError, EdgeAgentError

ROOT = Path(__file__).parents[2]
LINE = ROOT / "simulators" / "scenarios" / "line.yaml"


def command(*arguments: object) -> list[str]:
    """Return the command that plays a demo."""
    return [sys.executable, "-m", "edge_agent", "demo", "--once", *map(str, arguments)]


def left(folder: Path) -> list[int]:
    """Return the processes whose command line or environment names ``folder``."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and any(os.fsencode(folder) in (entry / name).read_bytes() for name in ("cmdline", "environ")):
                found.append(int(entry.name))
        except OSError:
            continue  # it ended meanwhile, or is another user's
    return [one for one in found if one != os.getpid()]


def command_line(process: int) -> bytes:
    """Return how a process was called, nothing when it has ended."""
    try:
        return (Path("/proc") / str(process) / "cmdline").read_bytes()
    except OSError:
        return b""


def reached(folder: Path, phase: str) -> None:
    """Wait until the demo whose files are in ``folder`` checks, prepares, starts or plays."""

    def now() -> bool:
        if phase == "checking":
            return any(b"simulators.scenario" in command_line(one) for one in left(folder))
        name = {"preparing": "config", "starting": "plc.log", "playing": "clock.json"}[phase]
        found = next(folder.glob(f"*/{name}"), None)
        return found is not None and (phase != "playing" or json.loads(found.read_text(encoding="utf-8"))["started"] is not None)

    deadline = time.monotonic() + 30
    while not now():
        assert time.monotonic() < deadline, f"never reached: {phase}"
        time.sleep(0.01)


@pytest.fixture
def aside(tmp_path: Path) -> Iterator[Path]:
    """A folder for a run's temporary files, which names its processes too."""
    folder = tmp_path / "aside"
    folder.mkdir()
    yield folder
    for process in left(folder):
        os.kill(process, signal.SIGKILL)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("period: 0.5\n", "period: 0\n", ":75: bottles.period: must be longer than 0 s"),
        ('A: {start: "14:00"', 'A: {start: "13:00"', ":11: shifts.A: overlaps shift M"),
        ("broker_stops: [[800, 830]]", "broker_stops: [[800, 8300]]", "faults.broker_stops[0]: ends at t=8300, after the scenario's length"),
        ("length: 1110", "length: [1110", "while parsing a flow sequence"),
    ],
)  # fmt: skip
def test_a_scenario_is_checked_before_anything_is_made(tmp_path: Path, old: str, new: str, words: str) -> None:
    """Exit code 78, the place and the cause; no folder, no process, no traceback."""
    scenario, keep = tmp_path / "s.yaml", tmp_path / "kept"
    text = LINE.read_text(encoding="utf-8")
    assert old in text
    scenario.write_text(text.replace(old, new, 1), encoding="utf-8")
    done = subprocess.run(
        command("--scenario", scenario, "--keep", keep), cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (78, "")
    assert done.stderr.startswith(f"{scenario}:")
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert not keep.exists()


@pytest.mark.parametrize("arguments", [("--json", "/nowhere/x.json"), ("--keep", "/proc/x"), ("--scenario", "/nowhere.yaml")])
def test_files_that_cannot_be_had_are_told_first(arguments: tuple[str, str]) -> None:
    """A report that could not be written would be found missing only after the run."""
    done = subprocess.run(command(*arguments), cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (78, "")
    assert done.stderr.startswith(arguments[1])
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("phase", "number"),
    [
        ("checking", signal.SIGINT),
        ("preparing", signal.SIGTERM),
        ("starting", signal.SIGINT),
        ("starting", signal.SIGHUP),
        ("playing", signal.SIGHUP),
    ],
)
def test_a_signal_ends_everything_in_order(aside: Path, phase: str, number: signal.Signals) -> None:
    """While it checks, while it starts and while it plays: one line, exit code 130, no table, no process and no file left."""
    demo = subprocess.Popen(
        command("--speed", 10), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ | {"TMPDIR": str(aside)}
    )  # fmt: skip
    reached(aside, phase)
    demo.send_signal(number)
    printed, errors = demo.communicate(timeout=30)
    assert (demo.returncode, errors) == (130, "")
    assert printed.splitlines()[-1] == "stopped"
    assert "truth" not in printed
    assert left(aside) == []
    assert list(aside.iterdir()) == []


def test_ctrl_c_reaches_the_demo_alone(aside: Path) -> None:
    """A terminal signals its whole foreground group: the demo's processes are not in it, whatever they are importing."""
    demo = subprocess.Popen(
        command("--speed", 10, "--keep", aside / "kept"),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    reached(aside, "starting")
    while not (others := [one for one in left(aside) if b"simulators." in command_line(one)]):
        assert demo.poll() is None
    assert [one for one in others if os.getsid(one) == demo.pid] == []
    os.killpg(demo.pid, signal.SIGINT)
    printed, _ = demo.communicate(timeout=30)
    assert demo.returncode == 130
    assert printed.splitlines() == ["stopped", f"logs, buffer and ledgers: {aside / 'kept'}"]
    assert left(aside) == []
    assert not [file for file in (aside / "kept").glob("*.log") if "Traceback" in file.read_text(encoding="utf-8")]


@pytest.mark.parametrize("broker", ["nowhere", "host:", ":1883", "host:0", "host:65536", "host:mqtt"])
def test_a_broker_that_is_no_address_is_a_mistake(broker: str) -> None:
    """The form is told, before anybody is called."""
    with pytest.raises(ConfigError, match="write it like 127"):
        reach(broker)


def test_a_broker_that_is_not_there_is_told_at_once() -> None:
    """The cause and where to look, instead of a minute of waiting for values."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        with pytest.raises(
            EdgeAgentError, match=rf"127\.0\.0\.1:{port} cannot be reached: Connection refused; check host and port"
        ):
            reach(f"127.0.0.1:{port}")


def stage(tmp_path: Path, broker: str | None = None) -> Stage:
    """Return a stage on which nothing runs."""
    script = {
        "version": 1,
        "meter": {"unit_id": 1, "wh_per_unit": 10, "modulus": 10**8}, "heater": {"unit_id": 2}, "time_zone": "UTC", "shifts": {},
        "counters": {"total": {"modulus": 2**31}, "scrap": {"modulus": 2**16}}, "power": {"default": 1, "off": 0, "states": {}},
        "bottles": {"period": 0.5, "reject_every": 25}, "machine": {}, "length": 10, "epoch": "2026-10-25T04:50:00Z",
    }  # fmt: skip
    return Stage(ROOT, tmp_path, LINE, script, 10.0, faults=False, broker=broker)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("2026-01-01 [warning  ] link.down    kind=mqtt link=broker reason='refused: not authorised'", "refused: not authorised"),
        ("2026-01-01 [warning  ] link.down    kind=mqtt link=broker reason=refused", "refused"),
        ('2026-01-01 [warning  ] link.down    kind=mqtt link=broker reason="it\'s gone" tries=3', "it's gone"),
        ("2026-01-01 [info     ] link.up      kind=mqtt link=broker", None),
        ("2026-01-01 [warning  ] link.down    kind=device link=plc1 reason=refused", None),
    ],
)
def test_the_agents_log_says_why_it_has_no_broker(tmp_path: Path, line: str, reason: str | None) -> None:
    """The last word on the broker's link counts, and only that link's."""
    on = stage(tmp_path, "127.0.0.1:1883")
    assert on.broker_trouble() is None
    on.processes["agent"] = Process("agent", [], tmp_path, {})
    on.processes["agent"].log.write_text(f"2026-01-01 [warning  ] link.down kind=mqtt link=broker reason=old\n{line}\n")
    assert on.broker_trouble() == (reason if "kind=mqtt" in line else "old")


async def test_the_view_shows_a_dead_agent_and_a_dead_broker_at_once(tmp_path: Path) -> None:
    """The stage knows its processes; the last will takes ten seconds."""
    on = stage(tmp_path)
    play = Play(on, asyncio.Event())
    view = View(on, play, once=False, began=0.0)
    play.progress = {"connected": True, "agent": "online"}
    for name in ("broker", "agent"):
        on.processes[name] = Process(name, ["-c", "import time; time.sleep(60)"], tmp_path, dict(os.environ))
        await on.processes[name].start()

    def cells() -> tuple[str, str]:
        table = view._delivery(play.progress)
        return next(iter(table.columns[0].cells)), next(iter(table.columns[1].cells))

    try:
        assert cells() == ("up", "online")
        await on.processes["agent"].end(signal.SIGKILL)
        assert cells() == ("up", "killed")
        await on.processes["agent"].start()
        await on.processes["broker"].end(signal.SIGKILL)
        assert cells() == ("down", "runs, not heard")
    finally:
        await on.close()


async def test_keys_wait_for_the_first_values(tmp_path: Path) -> None:
    """SIGUSR1 would end a link that is not up yet, and a killed agent has no baseline."""
    on = stage(tmp_path)
    play = Play(on, asyncio.Event())
    on.processes["plc_link"] = link = Process("plc_link", ["-c", "import time; time.sleep(60)"], tmp_path, dict(os.environ))
    await link.start()
    try:
        for key in "pbk":
            play.key(key)
        assert await link.wait(0.3) is None
        on.started = 1
        play.key("p")
        assert await link.wait(5) == -signal.SIGUSR1
    finally:
        await on.close()


async def test_the_agent_is_not_ended_before_everything_has_come(tmp_path: Path) -> None:
    """Killed, and a broker that died right behind it: what that took along is asked for again, and only an agent that runs can answer."""
    stop = asyncio.Event()
    play = Play(stage(tmp_path), stop)
    play.progress = {"connected": False, "lost": 0}
    waiting = asyncio.create_task(play._whole())
    for progress in ({"connected": True, "lost": 2}, {"connected": True, "lost": 0}):
        await asyncio.sleep(0.15)
        assert not waiting.done()
        play.progress = progress
    assert await asyncio.wait_for(waiting, 5)
    play.progress = {"connected": True, "lost": 2}
    stop.set()
    assert await play._whole() is False


async def test_a_signal_cancels_what_is_under_way_and_waits_for_it() -> None:
    """Whatever was started has ended when the end is told, and a failure on the way is not told instead."""
    stop, ended = Stop(), asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()
            raise RuntimeError("on the way")

    asyncio.get_running_loop().call_later(0.05, stop.signalled.set)
    with pytest.raises(StoppedError):
        await stop.unless(work())
    assert ended.is_set()


def test_a_ctrl_c_while_the_check_is_started_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The signal comes when the program runs and nobody knows it yet: it is ended all the same, and the signal is not forgotten."""
    started: list[subprocess.Popen[str]] = []

    class Started(subprocess.Popen[str]):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            started.append(self)
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(subprocess, "Popen", Started)
    with pytest.raises(KeyboardInterrupt):
        checked(ROOT, ROOT / "simulators" / "scenarios" / "line.yaml")
    (process,) = started
    assert process.returncode == -signal.SIGKILL
