"""TLS: whom the agent believes, whom it does not, and the reason in words."""

from __future__ import annotations

import datetime as dt
import ssl

import pytest
import trustme
from publish_fake_broker import FakeBroker, message, puback, until
from publish_setting import TOPICS

from edge_agent.model.errors import DisconnectedError

OURS, THEIRS = trustme.CA(key_type=trustme.KeyType.ECDSA), trustme.CA(key_type=trustme.KeyType.ECDSA)


def _server(ca: trustme.CA = OURS, *names: str, **options) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert(*(names or ("127.0.0.1",)), key_type=trustme.KeyType.ECDSA, **options).configure_cert(context)
    return context


@pytest.fixture
def ca_file(tmp_path):
    """Return the PEM file of the CA that the agent believes."""
    file = tmp_path / "ca.pem"
    OURS.cert_pem.write_to_path(file)
    return str(file)


async def test_events_arrive_over_tls(open_sink, record, ca_file):
    """A broker with a certificate of our CA gets the events, big ones too."""
    big = b'{"a":"' + b"x" * 300_000 + b'"}'
    async with FakeBroker(tls=_server()) as broker, open_sink(broker.port, tls={"ca": ca_file}) as sink:
        for n in range(1, 6):
            await sink.publish(record(n, body=big))
        assert len(broker.published) == 5


async def test_what_tls_has_already_decrypted_is_not_left_lying(open_sink, record, ca_file):
    """Ten messages and an acknowledgement in one TLS record are all read, though the socket says so only once."""

    def burst(broker, seen):
        yield b"".join(message(TOPICS.command("rebirth"), str(n).encode()) for n in range(10)) + puback(seen.mid)

    async with (
        FakeBroker(tls=_server(), answer=burst) as broker,
        open_sink(broker.port, tls={"ca": ca_file}, ack_timeout="1s") as sink,
    ):
        await sink.publish(record(1))
        assert [(await sink.request()).body for _ in range(10)] == [str(n).encode() for n in range(10)]


@pytest.mark.parametrize(
    ("server", "reason"),
    [
        (lambda: _server(THEIRS), "certificate that is not accepted: unable to get local issuer certificate"),
        (lambda: _server(OURS, "other.example"), "certificate that is not accepted: IP address mismatch"),
        (
            lambda: _server(OURS, "127.0.0.1", not_after=dt.datetime(2020, 1, 1, tzinfo=dt.UTC)),
            "certificate that is not accepted: certificate has expired",
        ),
    ],
    ids=["unknown_ca", "wrong_host", "expired"],
)
async def test_a_wrong_certificate_is_refused_with_its_reason(open_sink, ca_file, server, reason):
    """Unknown issuer, another host, out of date: not one byte of MQTT is sent."""
    async with FakeBroker(tls=server()) as broker:
        with pytest.raises(DisconnectedError, match=reason):
            async with open_sink(broker.port, tls={"ca": ca_file}):
                pytest.fail("connected")
        assert broker.connects == []


async def test_a_plain_port_is_told_from_a_tls_port(open_sink, ca_file):
    """mqtts:// on a broker's plain port says what to change."""
    async with FakeBroker(greeting=b"\x20\x03\x00\x00\x00", silent=True) as broker:
        with pytest.raises(DisconnectedError, match="does not speak TLS on this port"):
            async with open_sink(broker.port, tls={"ca": ca_file}):
                pytest.fail("connected")


async def test_old_tls_is_refused(open_sink, ca_file):
    """A broker that offers TLS 1.1 only is no partner."""
    server = _server()
    with pytest.warns(DeprecationWarning, match="TLSv1_1 is deprecated"):
        server.minimum_version, server.maximum_version = ssl.TLSVersion.TLSv1_1, ssl.TLSVersion.TLSv1_1
    server.set_ciphers("ALL:@SECLEVEL=0")
    async with FakeBroker(tls=server) as broker:
        with pytest.raises(DisconnectedError, match=r"TLS handshake.*TLS 1\.2 or newer"):
            async with open_sink(broker.port, tls={"ca": ca_file}):
                pytest.fail("connected")


async def test_insecure_believes_anyone(open_sink, record):
    """The one way round verification works, and nothing else turns it off."""
    async with FakeBroker(tls=_server(THEIRS)) as broker, open_sink(broker.port, tls={"insecure": True}) as sink:
        await sink.publish(record(1))


async def test_mutual_tls_shows_our_certificate(open_sink, record, ca_file, tmp_path):
    """With cert and key the broker knows who we are; without, it ends the connection and we say so."""
    server = _server()
    server.verify_mode = ssl.CERT_REQUIRED
    OURS.configure_trust(server)
    own = OURS.issue_cert(common_name="gw-l3", key_type=trustme.KeyType.ECDSA)
    own.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    own.private_key_pem.write_to_path(tmp_path / "key.pem")
    pair = {"cert": str(tmp_path / "cert.pem"), "key": str(tmp_path / "key.pem")}
    async with FakeBroker(tls=server) as broker:
        async with open_sink(broker.port, tls={"ca": ca_file, **pair}) as sink:
            await sink.publish(record(1))
            assert broker.writer.get_extra_info("peercert")["subject"][-1] == (("commonName", "gw-l3"),)
        await until(lambda: broker.disconnects)
        with pytest.raises(DisconnectedError, match=r"closed the connection without an answer; check .* who may connect"):
            async with open_sink(broker.port, tls={"ca": ca_file}):
                pytest.fail("connected")


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({"ca": "missing.pem"}, r"tls\.ca .*missing\.pem: No such file"),
        ({"ca": "junk.pem"}, r"tls\.ca .*junk\.pem: is no PEM file"),
        ({"cert": "junk.pem", "key": "junk.pem"}, r"tls\.cert .*junk\.pem with tls\.key .*: is no PEM file"),
    ],
)
async def test_files_that_do_not_work_are_named(open_sink, ca_file, tmp_path, files, reason):
    """A missing or broken file is a logged state with the file's name; replacing the file heals it."""
    (tmp_path / "junk.pem").write_text("junk")
    tls = {"ca": ca_file, **{name: str(tmp_path / file) for name, file in files.items()}}
    with pytest.raises(DisconnectedError, match=reason):
        async with open_sink(1, tls=tls):
            pytest.fail("connected")


@pytest.mark.parametrize(("mode", "reason"), [(0o644, "can be read by everybody; chmod 600"), (None, "No such file")])
async def test_a_password_file_must_be_there_and_private(open_sink, tmp_path, mode, reason):
    """The password's file is named, its content never."""
    file = tmp_path / "password"
    if mode is not None:
        file.write_text("canary")
        file.chmod(mode)
    with pytest.raises(DisconnectedError, match=reason) as caught:
        async with open_sink(1, username="gw", password_file=str(file)):
            pytest.fail("connected")
    assert "canary" not in str(caught.value)
