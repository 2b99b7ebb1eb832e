"""Security against node-opcua's server: every policy and mode, users, pins by the command, a changed certificate, a server that must know us."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from interop_server import NEEDS, WallClock, free_port, running

from edge_agent.agent.collect import Collector
from edge_agent.agent.link import Link, keep_open
from edge_agent.cli.trust import trust
from edge_agent.config.load import identity_of
from edge_agent.drivers.opcua import keys
from edge_agent.drivers.opcua.certificate import UntrustedError
from edge_agent.drivers.opcua.config import OpcUaConfig
from edge_agent.drivers.opcua.driver import connect
from edge_agent.model.errors import DisconnectedError
from edge_agent.model.reading import Batch, DeviceFault
from edge_agent.ports import Identity

POLICIES = ["Basic256Sha256", "Aes128Sha256RsaOaep", "Aes256Sha256RsaPss"]
pytestmark = [
    pytest.mark.timeout(240),
    *NEEDS,
]
AGENT = """\
version: 1
agent: gw1
site: [acme]
mqtt: {{broker: "mqtt://127.0.0.1", allow_insecure: true}}
buffer: {{path: {root}/buffer}}
"""


class Site:
    """An agent's folders, and the server's, whose certificate is that of ``home``."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("edge_agent.logs.configure", lambda *_: None)
        self.root = root
        self.port = free_port()
        self.config = root / "config"
        (self.config / "devices").mkdir(parents=True)
        (self.config / "agent.yaml").write_text(AGENT.format(root=root), encoding="utf-8")
        self.device()

    def device(self, **more: Any) -> OpcUaConfig:
        """Write the device file and return what is in it."""
        data = {
            "version": 1, "device": "plc", "driver": "opcua", "url": self.url, "namespace": "urn:edge-agent:interop", "sampling": "50ms",
            "publishing": "100ms", "tags": {"count": {"node": "s=Count", "type": "int32"}}, **more,
        }  # fmt: skip
        (self.config / "devices" / "plc.yaml").write_text(json.dumps(data), encoding="utf-8")
        return OpcUaConfig.model_validate(data)

    @property
    def url(self) -> str:
        return f"opc.tcp://127.0.0.1:{self.port}"

    @property
    def identity(self) -> Identity:
        found = identity_of(self.config)
        assert found is not None
        return found

    async def trust(self, following: Path | None = None) -> None:
        """Do what a person does: the command, and a yes."""
        with ThreadPoolExecutor(1) as thread:
            await asyncio.get_running_loop().run_in_executor(
                thread, lambda: trust("plc", self.config, yes=True, following=following)
            )

    def known_to(self, home: str) -> None:
        """Let a server trust the agent's certificate: among the trusted ones, and no longer among those that it refused."""
        shutil.rmtree(self.root / home / "pki" / "rejected", ignore_errors=True)
        folder = self.root / home / "pki" / "trusted" / "certs"
        folder.mkdir(parents=True, exist_ok=True)
        keys.own(self.identity)
        shutil.copy(self.identity.folder / "own" / "certificate.der", folder / "edge-agent.der")

    @contextlib.asynccontextmanager
    async def serving(self, home: str = "first", *user: str) -> AsyncIterator[None]:
        """Run the server whose keys are in a home."""
        (self.root / home).mkdir(exist_ok=True)
        async with running("secure.js", self.root / home, self.port, *user):
            yield

    async def counts(self, config: OpcUaConfig) -> None:
        """Read until the counter counted; the values come by subscription over the secured channel."""
        seen: list[Any] = []
        async with asyncio.timeout(30), connect([config], WallClock(), {}, identity=self.identity) as driver:
            while len(seen) < 3:
                seen += [value for batch in await driver.read() for value in batch.values]
        assert seen == sorted(set(seen))
        assert all(type(value) is int for value in seen)

    async def refused(self, config: OpcUaConfig) -> UntrustedError:
        """Return why no connection comes about until a person acts."""
        with pytest.raises(UntrustedError) as caught:
            async with asyncio.timeout(30), connect([config], WallClock(), {}, identity=self.identity):
                pass
        return caught.value


async def until(true: Callable[[], bool]) -> None:
    """Return when it is so."""
    while not true():  # noqa: ASYNC110 - what arrives has no event here
        await asyncio.sleep(0.05)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    """An agent and a server that never met."""
    return Site(tmp_path, monkeypatch)


async def test_every_policy_and_mode(site: Site) -> None:
    """After the trust command, values come over each policy, signed and encrypted; before it nothing does."""
    site.known_to("first")
    async with site.serving():
        assert (await site.refused(site.device())).fault == "cert_untrusted"
        await site.trust()
        for policy in POLICIES:
            for mode in ("SignAndEncrypt", "Sign"):
                await site.counts(site.device(security={"policy": policy, "mode": mode}))


async def test_a_user_with_a_password(site: Site) -> None:
    """A password goes encrypted by each policy and lets the reader in; a wrong one, or none, is for a person to mend."""
    site.known_to("first")
    async with site.serving("first", "reader", "geheim"):
        await site.trust()
        for policy in POLICIES:
            await site.counts(site.device(username="reader", password="geheim", security={"policy": policy}))
        assert (await site.refused(site.device(username="reader", password="falsch"))).fault == "user_rejected"
        assert (await site.refused(site.device())).fault == "user_rejected"


async def test_a_server_that_does_not_know_the_agent(site: Site) -> None:
    """A server that trusts known clients only refuses the agent with words that say which certificate it has to be given."""
    async with site.serving():
        await site.trust()
        error = await site.refused(site.device())
        assert error.fault == "agent_rejected"
        assert str(site.identity.folder / "own" / "certificate.der") in error.remedy
    site.known_to("first")
    async with site.serving():
        await site.counts(site.device())


async def test_a_changed_certificate_is_a_fault_until_a_person_trusts_it(site: Site) -> None:
    """Another certificate at the same address stops the device and is one device.fault; trusted by the command, it is cleared by the return."""
    site.known_to("first")
    site.known_to("second")
    async with site.serving():
        await site.trust()
        await site.counts(site.device())
    batches: list[Batch] = []

    async def take(batch: Batch) -> None:
        batches.append(batch)

    collector = Collector(["plc"], {"plc": [take]}, WallClock())

    def faults() -> list[tuple[str, bool]]:
        found = [one for batch in batches for one in (*batch.before, *batch.after) if isinstance(one, DeviceFault)]
        return [(one.code, one.ok) for one in found if one.code == "cert_changed"]

    async def lost(error: DisconnectedError) -> None:
        await collector.lost(error)

    async with site.serving("second"):
        assert (await site.refused(site.device())).fault == "cert_changed"
        config, identity = site.device(), site.identity
        link = keep_open(
            Link("plc", "device"),
            lambda: connect([config], WallClock(), {}, identity=identity),
            collector.run,
            lost,
            lambda: iter([0.5] * 60),
        )
        task = asyncio.create_task(link)
        try:
            async with asyncio.timeout(60):
                await until(lambda: faults() == [("cert_changed", False)])
                await asyncio.sleep(1.5)
                assert faults() == [("cert_changed", False)]
                await site.trust()
                await until(lambda: faults() == [("cert_changed", False), ("cert_changed", True)])
                await until(lambda: any(batch.values for batch in batches))
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
    assert all(quality == 0 for batch in batches for quality in batch.quality)
