"""A broker that remembers: ``python -m simulators.broker --port P --ledger FILE [--fault NAME[:ARG]] [--control SOCKET]``.

MQTT 5.0 and 3.1.1, QoS 0 and 1, for an agent and some subscribers. Every PUBLISH is in the ledger, synced, before its PUBACK is sent and before
a subscriber sees it (`broker_ledger`); so a kill loses nothing that was acknowledged. Retained messages come back from the ledger;
sessions do not survive the process. What it does wrong on request stands in `broker_faults`.

Requests on the control socket: ``fault NAME[:ARG]``, ``clear [NAME]``, ``faults``, ``drop`` (reset all connections), ``stats``. SIGUSR1
switches the faults of the command line off and on.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from simulators import mqtt_wire as wire
from simulators.broker_faults import Faults, matches, parse
from simulators.broker_ledger import BrokerLedger, payload_of
from simulators.broker_link import Link
from simulators.broker_session import Session
from simulators.command import port, ready, refusals, until_signal, words
from simulators.control import control
from simulators.ledger import read_ledger
from simulators.listening import stop_listening
from simulators.mqtt_wire import V5, Message, Subscription

_FOR_EVER = 0xFFFF_FFFF


class Broker:
    """Sessions, retained messages and routing."""

    def __init__(self, ledger: BrokerLedger, faults: Faults, retained: dict[str, Message] | None = None) -> None:
        self.ledger, self.faults = ledger, faults
        self.port = 0
        self._host = ""
        self._sessions: dict[str, Session] = {}
        self._retained = dict(retained or {})
        self._links: dict[Link, asyncio.Task[Any] | None] = {}
        self._made = 0
        self._server: asyncio.Server | None = None
        self._turning = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()

    async def listen(self, host: str, port: int) -> None:
        """Accept connections; ``port`` becomes the real one."""
        self._host, self.port = host, port
        self.ledger.write("start")
        await self._turn()
        self.faults.changed = self._turn_soon

    def _turn_soon(self) -> None:
        task = asyncio.ensure_future(self._turn())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _turn(self) -> None:
        """Listen, or refuse, as the fault says."""
        async with self._turning:
            refusing = self.faults.is_on("refuse")
            if self._server is None and (not refusing or self.port == 0):
                self._server = await asyncio.start_server(self._accept, self._host, self.port, limit=2**20)
                self.port = self._server.sockets[0].getsockname()[1]
            if self._server is not None and refusing:
                await stop_listening(self._server)
                self._server = None
                self.drop()

    async def close(self) -> None:
        """End all connections and wait for their ends."""
        self.faults.changed = lambda: None
        if self._server is not None:
            await stop_listening(self._server)
        self.drop()
        await asyncio.gather(*(task for task in self._links.values() if task), *self._tasks, return_exceptions=True)
        for session in self._sessions.values():
            session.stop_timers()

    def drop(self) -> None:
        """Reset all connections."""
        for link in self._links:
            link.reset()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._made += 1
        link = Link(self, self._made, reader, writer)
        self._links[link] = asyncio.current_task()
        try:
            await link.serve()
        finally:
            del self._links[link]

    # -- sessions --------------------------------------------------------------------------------------------------

    def joined(self, link: Link, said: wire.Connect) -> tuple[Session, bool]:
        """Give a connection its session; one that holds it already is told that it was taken over (3.1.4)."""
        old = self._sessions.get(link.client)
        if old is not None and isinstance(old.outlet, Link):
            holder, old.outlet = old.outlet, None
            holder.say_goodbye(0x8E)
            self._will_of(old, holder.will, ended=said.clean)
            holder.will = None
        present = old is not None and not said.clean
        if old is not None:
            old.stop_timers()
        session = old if old is not None and present else Session(link.client)
        self._sessions[link.client] = session
        session.will = None
        kept = 0 if said.clean else _FOR_EVER
        session.expiry = (wire.value(said.properties, wire.SESSION_EXPIRY) or 0) if said.version == V5 else kept
        self.ledger.write("connect", client=link.client, link=link.number, code=0, version=said.version, present=present)
        return session, present

    def left(self, link: Link, why: str) -> None:
        """Take note that a connection has ended: its will, and how long its session stays."""
        self.ledger.write("disconnect", client=link.client, link=link.number, why=why)
        session = link.session
        if session is None or session.outlet is not link:
            return
        session.outlet = None
        self._will_of(session, link.will, ended=session.expiry == 0)
        self._after(session, "expiry", session.expiry, lambda: self._forget(session))

    def _will_of(self, session: Session, will: Message | None, *, ended: bool) -> None:
        """Publish a will after its delay or with the end of the session, whichever comes first (3.1.3.2.2)."""
        session.will = will
        if will is not None:
            delay = 0 if ended else will.value(wire.WILL_DELAY) or 0
            self._after(session, "will", min(delay, session.expiry), lambda: self._publish_will(session))

    def _after(self, session: Session, name: str, seconds: int, act: Callable[[], None]) -> None:
        if seconds == 0:
            act()
        elif seconds != _FOR_EVER:
            session.timers[name] = asyncio.get_running_loop().call_later(seconds, act)

    def _publish_will(self, session: Session) -> None:
        will, session.will = session.will, None
        if will is not None:
            kept = [pair for pair in will.properties if pair[0] != wire.WILL_DELAY]
            about = {"client": session.client, "link": 0, "mid": 0, "dup": False, "code": 0, "will": True}
            self.publish(will.with_(properties=kept), session.client, lambda: None, about)

    def _forget(self, session: Session) -> None:
        self._publish_will(session)
        if self._sessions.get(session.client) is session:
            del self._sessions[session.client]
        session.stop_timers()

    # -- messages --------------------------------------------------------------------------------------------------

    def publish(self, message: Message, sender: str, answer: Callable[[], None], about: dict[str, Any]) -> None:
        """Write a message to the ledger; when it is on the disk route it, unless it is refused, and then answer."""

        def durable() -> None:
            if about["code"] < 0x80:
                self._route(message, sender)
            answer()

        self.ledger.publish(message, durable, **about)

    def _route(self, message: Message, sender: str) -> None:
        if message.retain:
            if message.payload:
                self._retained[message.topic] = message
            else:
                self._retained.pop(message.topic, None)
        for session in self._sessions.values():
            session.offer(message, sender)

    def send_retained(self, session: Session, wanted: Subscription) -> None:
        """Send a new subscription what is retained for it."""
        for topic, message in self._retained.items():
            if matches(wanted.filter, topic):
                session.offer_retained(message, wanted)

    # -- the control socket ----------------------------------------------------------------------------------------

    async def answer(self, line: str) -> str:
        """Do a control request."""
        word, _, rest = line.partition(" ")
        match word:
            case "fault":
                self.faults.begin(rest)
            case "clear":
                self.faults.end(rest or None)
            case "faults":
                return " ".join(str(fault) for fault in self.faults.on.values())
            case "drop":
                self.drop()
            case "stats":
                counts = {"published": self.ledger.published, "syncs": self.ledger.syncs}
                return json.dumps({**counts, "connections": self._made, "open": len(self._links)})
            case _:
                raise ValueError(f"no request {word!r}; there are fault, clear, faults, drop, stats")
        await self._turn()
        return ""


def retained_of(ledger: Path) -> dict[str, Message]:
    """Return the messages that a ledger says are retained."""
    kept: dict[str, Message] = {}
    for entry in read_ledger(ledger) if ledger.exists() else []:
        if entry["what"] == "publish" and entry["retain"] and entry["code"] < 0x80:
            user = [(wire.USER, pair) for pair in entry["user"]]
            kept[entry["topic"]] = Message(entry["topic"], payload_of(entry), entry["qos"], retain=True, properties=user)
    return {topic: message for topic, message in kept.items() if message.payload}


async def serve(options: argparse.Namespace) -> None:
    """Run the broker until cancelled."""
    retained = retained_of(options.ledger)
    ledger = BrokerLedger(options.ledger)
    broker = Broker(ledger, Faults(*options.fault), retained)

    def toggle() -> None:
        if broker.faults.on:
            broker.faults.end()
        else:
            for text in options.fault:
                broker.faults.begin(text)

    await broker.listen(options.host, options.port)
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, toggle)
    try:
        async with control(options.control, broker.answer):
            ready(f"mqtt://{options.host}:{broker.port}")
            await asyncio.Event().wait()
    finally:
        await broker.close()
        await ledger.close()


def _fault(text: str) -> str:
    parse(text)  # a mistake is told before the run, not in it
    return text


def main() -> None:
    """Run the broker from the command line."""
    parser = argparse.ArgumentParser(prog="python -m simulators.broker", description="A broker that remembers and errs on request.")
    parser.add_argument("--port", type=port, required=True, help="0 takes a free one; the ready line names it")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--ledger", type=Path, required=True, metavar="FILE")
    parser.add_argument(
        "--fault", type=words(_fault), action="append", default=[], metavar="NAME[:ARG]", help="see simulators/broker_faults.py"
    )
    parser.add_argument("--control", type=Path, metavar="SOCKET", help="UNIX socket for requests while it runs")
    options = parser.parse_args()
    with contextlib.suppress(KeyboardInterrupt), refusals(parser, options):
        asyncio.run(until_signal(serve(options)))


if __name__ == "__main__":
    main()
