"""The connection part of a device's file, who shares a connection, and TLS."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trustme
from modbus_line import Line, over_pty, over_tcp, unit
from modbus_plc import Plc, ScaledClock, device, serving
from pydantic import ValidationError

from edge_agent.drivers import catalog
from edge_agent.drivers.modbus.config import ModbusConfig
from edge_agent.drivers.modbus.connection import cautions, clashes, endpoint, link
from edge_agent.drivers.modbus.dial import Dial
from edge_agent.drivers.modbus.driver import connect
from edge_agent.model.errors import DisconnectedError
from simulators.listening import stop_listening

TAG = {"register": "holding", "address": 0}


def config(name: str = "d", **more: object) -> ModbusConfig:
    """Return a device with one tag."""
    return ModbusConfig.model_validate({"version": 1, "device": name, "driver": "modbus", "tags": {"t": TAG}, **more})


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({}, "where the device is, is missing; write host: 192.168.0.10"),
        ({"host": "a", "serial": "/dev/ttyS0"}, "both host and serial are given"),
        ({"serial": "/dev/ttyS0", "port": 502}, "port is for a device on the network"),
        ({"serial": "/dev/ttyS0", "tls": {"ca": "system"}}, "tls is for a device on the network"),
        ({"serial": "/dev/ttyS0", "source_address": "10.0.0.1"}, "source_address is for a device on the network"),
        ({"serial": "/dev/ttyS0", "framing": "tcp"}, "a serial port speaks rtu or ascii"),
        ({"serial": "/dev/ttyS0", "connection": "own"}, "one line for all units on it"),
        ({"serial": "/dev/ttyS0", "data_bits": 7}, "RTU needs all 8 bits"),
        ({"serial": "socket://10.0.0.5:4001"}, "write host and framing: rtu"),
        ({"serial": "/dev/ttyS0", "unit_id": 0}, "0 speaks to all units at once"),
        ({"host": "a", "framing": "ascii", "unit_id": 0}, "0 speaks to all units at once"),
        ({"host": "a", "framing": "rtu", "quirks": "tid_zero"}, "rtu has none; leave out quirks"),
        ({"host": "a", "framing": "rtu", "tls": {"ca": "system"}}, "tls is for framing: tcp"),
        ({"host": "a", "tls": {}}, "who signed the device's certificate is missing"),
        ({"host": "a", "tls": {"ca": "ca.pem", "cert": "c.pem"}}, "cert and key belong together"),
        ({"host": "a", "tls": {"ca": "ca.pem", "insecure": True}}, "leave out insecure"),
        ({"host": "a", "source_address": "eth0"}, "eth0 is no IP address"),
        ({"host": "a", "parity": "mark"}, "even"),
        ({"host": "a", "timeout": "9ms"}, "the shortest interval is 10ms"),
    ],
)
def test_mistakes_about_the_way_are_explained(more: dict[str, object], words: str) -> None:
    """Each says what is wrong and what to write."""
    with pytest.raises(ValidationError) as caught:
        config(**more)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("more", "line"),
    [
        ({}, (19_200, 8, "even", 1)),
        ({"parity": "none"}, (19_200, 8, "none", 2)),
        ({"parity": "none", "stop_bits": 1, "baud": 9600}, (9600, 8, "none", 1)),
        ({"framing": "ascii"}, (19_200, 7, "even", 1)),
        ({"framing": "ascii", "data_bits": 8}, (19_200, 8, "even", 1)),
    ],
)
def test_the_defaults_of_a_line_are_the_standards(more: dict[str, object], line: tuple[object, ...]) -> None:
    """V1.02, 2.5.1 and 2.5.2: 19200 baud, even parity; two stop bits without parity; ASCII in seven bits."""
    assert config(serial="/dev/ttyUSB0", **more).line == line


@pytest.mark.parametrize(
    ("more", "name"),
    [
        ({"host": "GW"}, "modbus-tcp://gw:502"),
        ({"host": "gw", "framing": "rtu", "port": 4001}, "modbus-rtu-tcp://gw:4001"),
        ({"host": "gw", "tls": {"insecure": True}}, "modbus-tls://gw:802"),
        ({"serial": "/dev/ttyUSB0"}, "modbus-rtu:/dev/ttyUSB0"),
        ({"serial": "/dev/ttyUSB0", "framing": "ascii"}, "modbus-ascii:/dev/ttyUSB0"),
    ],
)
def test_an_endpoint_has_a_name_for_logs(more: dict[str, object], name: str) -> None:
    """How it is spoken to, and where."""
    assert endpoint(config(**more)) == catalog.endpoint(config(**more)) == name


def test_who_shares_a_connection() -> None:
    """All units of one host and port, or one serial port; never a device that wants its own, nor one that comes from elsewhere."""

    def links(*devices: dict[str, object]) -> int:
        return len({link(config(name=f"d{n}", unit_id=n + 1, **each), f"d{n}") for n, each in enumerate(devices)})

    assert links({"host": "GW"}, {"host": "gw"}, {"host": "gw", "port": 502}) == 1
    assert links({"serial": "/dev/ttyS0"}, {"serial": "/dev/ttyS0", "baud": 19_200}) == 1
    assert links({"host": "gw"}, {"host": "gw", "connection": "own"}, {"host": "gw", "connection": "own"}) == 3
    assert links({"host": "gw"}, {"host": "gw", "source_address": "10.0.0.2"}) == 2


@pytest.mark.parametrize(
    ("one", "other", "words"),
    [
        (
            {"serial": "/dev/ttyS0"},
            {"serial": "/dev/ttyS0", "baud": 9600},
            "other baud, data_bits, parity and stop_bits; give both the same",
        ),
        ({"serial": "/dev/ttyS0"}, {"serial": "/dev/ttyS0", "framing": "ascii"}, "other framing"),
        ({"host": "gw"}, {"host": "GW", "framing": "rtu"}, "other framing"),
        ({"host": "gw"}, {"host": "gw", "quirks": "tid_zero"}, "other quirks"),
        ({"host": "gw", "port": 802}, {"host": "gw", "tls": {"ca": "system"}}, "other tls"),
    ],
)
def test_devices_that_disagree_about_their_way_are_told(one: dict[str, object], other: dict[str, object], words: str) -> None:
    """Two files that describe one line differently: one of them is wrong."""
    found = clashes([(0, "a", config(**one)), (1, "b", config(**other))])
    assert [number for number, _ in found] == [1]
    assert words in found[0][1]
    assert not clashes([(0, "a", config(**one)), (1, "b", config(**one))])


def test_a_clash_is_told_at_the_file(tmp_path: Path) -> None:
    """`check` names file, line and remedy."""
    from edge_agent.config.load import load
    from edge_agent.model.errors import ConfigError

    (tmp_path / "devices").mkdir()
    for name, baud in (("one", 19_200), ("two", 9600)):
        text = f"version: 1\ndevice: {name}\ndriver: modbus\nserial: /dev/ttyUSB0\nbaud: {baud}\ntags:\n  t: {{register: holding, address: 0}}\n"
        (tmp_path / "devices" / f"{name}.yaml").write_text(text)
    (tmp_path / "edge-agent.yaml").write_text("version: 1\n")
    with pytest.raises(ConfigError, match=r"two\.yaml[^\n]*: /dev/ttyUSB0 is also the way to one, with other baud"):
        load(tmp_path)


def test_insecure_is_never_silent() -> None:
    """Believing any certificate is a caution wherever cautions are told; everything else is none."""
    (told,) = catalog.cautions(config(host="a", tls={"insecure": True}))
    assert told.startswith("device d: anybody may pose as it (tls.insecure")
    assert "; write tls: {ca: FILE}" in told
    assert not cautions(config(host="a", tls={"ca": "system"}), "d")


async def test_units_of_one_gateway_share_one_connection_and_one_queue() -> None:
    """Three units, one connection, never two requests at once; a device with its own has a second one."""
    async with serving(Plc()) as plc:
        shared = [device(plc.port, name=f"d{n}", unit=n) for n in (1, 2, 3)]
        async with connect(shared, ScaledClock(), {}), connect([device(plc.port, unit=4, connection="own")], ScaledClock(), {}):
            await asyncio.sleep(0.1)
    assert plc.connections == 2
    assert {asked.unit for asked in plc.asked} == {1, 2, 3, 4}


WRITES = {
    "write_coil": (0, True),
    "write_register": (0, 7),
    "write_registers": (0, [7]),
    "mask_write_register": (),
    "report_device_id": (),
}


@pytest.mark.parametrize("name", WRITES)
@pytest.mark.parametrize(("framing", "over"), [("rtu", over_pty), ("rtu", over_tcp), ("ascii", over_pty)])
async def test_nothing_but_reads_reaches_a_line(framing: str, over: object, name: str) -> None:
    """In every framing each of the guard's two layers alone blocks what writes; not one byte of it arrives."""
    async with over(Line(framing)) as line:
        for layer in (None, "trace_pdu", "trace_packet"):
            dial = Dial([unit(line)], ScaledClock().now)
            wire = await dial.open(lambda: None)
            client = wire._wire._client
            if layer is not None:
                setattr(client.ctx, layer, lambda sending, data: data)
            with pytest.raises(PermissionError, match="is blocked"):
                await getattr(client, name)(*WRITES[name])
            await wire.close()
            await dial.close()
    assert not line.received


class Authority:
    """A CA, a server context for 127.0.0.1, and files for the agent."""

    def __init__(self, folder: Path) -> None:
        self.ca = trustme.CA()
        self.ca.cert_pem.write_to_path(folder / "ca.pem")
        own = self.ca.issue_cert("agent@plant.example")
        own.private_key_pem.write_to_path(folder / "agent.key")
        own.cert_chain_pems[0].write_to_path(folder / "agent.pem")
        trustme.CA().cert_pem.write_to_path(folder / "other.pem")
        self.folder = folder

    def server(self, name: str = "127.0.0.1", *, wants_certificate: bool = True) -> ssl.SSLContext:
        """Return the context of a device with a certificate for ``name``."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.ca.issue_cert(name).configure_cert(context)
        if wants_certificate:
            self.ca.configure_trust(context)
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    def files(self, *names: str, **more: object) -> dict[str, object]:
        """Return the configuration, ``ca`` first, then ``cert`` and ``key``."""
        return {key: self.folder / name for key, name in zip(("ca", "cert", "key"), names, strict=False)} | more


@contextlib.asynccontextmanager
async def secured(context: ssl.SSLContext) -> AsyncIterator[Plc]:
    """A hand-made device behind TLS."""
    plc = Plc()
    tasks: set[asyncio.Task[None]] = set()

    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        await plc.serve(reader, writer)

    server = await asyncio.start_server(client, "127.0.0.1", 0, ssl=context)
    plc.port = server.sockets[0].getsockname()[1]
    try:
        yield plc
    finally:
        await stop_listening(server)
        for writer in plc.writers:
            writer.transport.abort()
        await asyncio.gather(*tasks, return_exceptions=True)


async def first_values(plc: Plc, tls: dict[str, object]) -> list[object]:
    """Connect and return what the device says."""
    async with connect([device(plc.port, tls=tls)], ScaledClock(), {}) as driver:
        return (await driver.read())[0].values


async def test_modbus_security_with_and_without_a_certificate_of_the_agent(tmp_path: Path) -> None:
    """A device that asks for one gets it, another does not; values arrive either way."""
    authority = Authority(tmp_path)
    async with secured(authority.server()) as plc:
        assert await first_values(plc, authority.files("ca.pem", "agent.pem", "agent.key")) == [0, 1, 2]
    async with secured(authority.server(wants_certificate=False)) as plc:
        assert await first_values(plc, authority.files("ca.pem")) == [0, 1, 2]
    async with secured(authority.server("press4.plant", wants_certificate=False)) as plc:
        assert await first_values(plc, authority.files("ca.pem", server_name="press4.plant")) == [0, 1, 2]
        assert await first_values(plc, {"insecure": True}) == [0, 1, 2]


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["other.pem"], "showed a certificate that is not accepted: .*; look at tls.ca"),
        (["ca.pem"], "showed a certificate that is not accepted: .*match"),
        (["none.pem"], r"tls\.ca .*none\.pem: No such file"),
        (["agent.key"], r"tls\.ca .*agent\.key: is no PEM file"),
        (["ca.pem", "agent.pem", "ca.pem"], r"tls\.cert .* with tls\.key .*: is no PEM file"),
    ],
)
async def test_what_is_wrong_with_certificates_is_said_in_words(tmp_path: Path, names: list[str], words: str) -> None:
    """The wrong CA, another name, a missing or foreign file: nothing is asked of a device that is not the one."""
    authority = Authority(tmp_path)
    name = "127.0.0.1" if names == ["other.pem"] else "press4.plant"
    async with secured(authority.server(name, wants_certificate=False)) as plc:
        with pytest.raises(DisconnectedError, match=words):
            await first_values(plc, authority.files(*names))
    assert not plc.asked


async def test_a_device_that_wants_a_certificate_says_so(tmp_path: Path) -> None:
    """Without one it hangs up after the handshake, and the reason is said."""
    authority = Authority(tmp_path)
    async with secured(authority.server()) as plc:
        with pytest.raises(DisconnectedError, match="does it ask for a tls"):
            await first_values(plc, authority.files("ca.pem"))
    assert not plc.asked


async def test_a_device_that_speaks_no_tls_is_said_in_words(tmp_path: Path) -> None:
    """Where port 502 was written for 802."""
    authority = Authority(tmp_path)

    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10)
        writer.write(b"\0" * 20)
        writer.close()

    server = await asyncio.start_server(plain, "127.0.0.1", 0)
    with pytest.raises(DisconnectedError, match="does not speak TLS; is it the port"):
        async with connect([device(server.sockets[0].getsockname()[1], tls=authority.files("ca.pem"))], ScaledClock(), {}):
            pass
    await stop_listening(server)


async def test_a_device_that_hangs_up_in_the_handshake_is_said_in_words(tmp_path: Path) -> None:
    """One without TLS closes at the first bytes; the reason in the message was empty."""
    authority = Authority(tmp_path)

    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(5)
        writer.transport.abort()

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    with pytest.raises(DisconnectedError, match="closed the connection while it was opened"):
        async with connect([device(server.sockets[0].getsockname()[1], tls=authority.files("ca.pem"))], ScaledClock(), {}):
            pass
    await stop_listening(server)
