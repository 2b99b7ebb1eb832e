"""The status page's server: what it answers, whom it refuses, and that nobody who is slow holds it up."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest
from page_bench import STATUS, FakeView, body_of, get, say, served, tag
from pydantic import ValidationError
from structlog.testing import capture_logs

from edge_agent.model.errors import ConfigError
from edge_agent.model.fault import faults
from edge_agent.status.app import metrics_route
from edge_agent.status.config import WebConfig
from edge_agent.status.families import FAMILIES, Family, Sample
from edge_agent.status.guard import Allowance, named
from edge_agent.status.listen import MOST_OF_ONE, Patience
from edge_agent.status.token import COOKIE, Token, read_token

SECRET = "correct-horse-battery-staple"


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    """A token that only its owner reads."""
    file = tmp_path / "token"
    file.write_text(f"{SECRET}\n")
    file.chmod(0o600)
    return file


@pytest.mark.parametrize("path", ["/", "/page.css", "/page.js", "/dom.js", "/tags.js", "/events.js", "/icon.svg", "/codes"])
async def test_the_page_is_served_whole_and_names_no_other_server(path):
    """Every file is there, under a policy that lets the browser ask nobody else, and has no address of anybody else in it."""
    async with served(FakeView()) as port:
        code, headers, body = await get(port, path)
    assert code == 200
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    outside = body.replace(b"http://www.w3.org/2000/svg", b"").replace(b"http://127.0.0.1", b"")
    assert path == "/codes" or (b"http://" not in outside and b"https://" not in outside and b"style=" not in outside)


async def test_the_api_says_what_the_view_says():
    """Status, tags, history and codes come as JSON, and a query reaches the view."""
    view = FakeView([tag(number) for number in range(600)])
    async with served(view) as port:
        assert body_of(await get(port, "/api/status"))["agent"] == STATUS.agent
        answer = body_of(await get(port, "/api/tags?device=plc1&quality=not_good&since=3&limit=9&q=t0"))
        codes = {each["code"]: each for each in body_of(await get(port, "/api/codes"))}
        history = body_of(await get(port, "/api/history"))
        assert (await get(port, "/healthz"))[0] == (await get(port, "/readyz"))[0] == 200
        assert (await get(port, "/api/tags?quality=purple"))[0] == 400
        assert (await get(port, "/api/buffer/export"))[0] == 404
    wish = view.wishes[0]
    assert (wish.device, wish.quality, wish.since, wish.limit, wish.q) == ("plc1", "not_good", 3, 9, "t0")
    assert [each["ref"] for each in answer["tags"]] == [f"plc1.t{number:04d}" for number in range(600)]
    assert codes["device_down"]["remedy"] == faults()["device_down"].remedy
    assert history["moments"][0]["waiting"] == 4


async def test_what_leaves_is_told_as_server_sent_events():
    """A departure is one event of the stream, whose data is the line of the local API."""
    async with served(FakeView()) as port:
        code, headers, body = await say(port, b"GET /api/live HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", most=400)
    assert (code, headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
    assert b'event: departure\ndata: {"acknowledged"' in body


@pytest.mark.parametrize(
    ("method", "path", "host", "more", "code"),
    [
        ("POST", "/api/status", "localhost", (), 405),
        ("OPTIONS", "/api/status", "localhost", ("Origin: http://evil.example",), 405),
        ("GET", "/api/status", "evil.example", (), 421),
        ("GET", "/api/status", "evil.example:8470", (), 421),
        ("GET", "/api/status", "localhost.evil.example", (), 421),
        ("GET", "/api/status", "127.0.0.1.evil.example", (), 421),
        ("GET", "/api/status", "localhost", ("Host: evil.example",), 400),
        ("GET", "/api/status?" + "x" * 3000, "localhost", (), 414),
        ("GET", "/api/status", "localhost", ("Content-Length: 5",), 413),
        ("GET", "/api/status", "localhost", ("Transfer-Encoding: chunked",), 413),
        ("GET", "/api/status", "localhost", ("Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: no-cors"), 403),
        ("GET", "/", "localhost", ("Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate"), 200),
        ("GET", "/api/status", "10.0.0.5:8470", (), 200),
        ("GET", "/../../etc/passwd", "localhost", (), 404),
        ("GET", "/nothing", "localhost", (), 404),
    ],
)
async def test_what_is_no_plain_question_is_refused(method, path, host, more, code):
    """Other methods, names that are not ours (DNS rebinding), bodies, long addresses and other sites' pages get nothing, and no CORS header."""
    async with served(FakeView()) as port:
        answer = await get(port, path, *more, host=host, method=method)
    assert answer[0] == code
    assert not [name for name in answer[1] if name.startswith("access-control")]
    assert code == 200 or STATUS.agent.encode() not in answer[2]


@pytest.mark.parametrize(
    ("host", "known"),
    [("gw1", True), ("GW1.:80", True), ("[fe80::1]:80", True), ("10.0.0.1", True), ("gw2", False), ("", False), ("gw1:x", False)],
)
def test_names_of_the_host_header(host, known):
    """Addresses and own names pass, whatever the case and port."""
    assert named(host, frozenset({"gw1"})) is known


async def test_metrics_are_behind_the_guard_of_the_page(token_file):
    """Prometheus shows the token as a bearer token; without it nothing is told."""

    async def gathered() -> list[Family]:
        return [Family("edge_agent_health", FAMILIES["edge_agent_health"], [Sample((), 0)])]

    config = WebConfig(listen="127.0.0.1:0", token_file=token_file)
    async with served(FakeView(), config, more=[metrics_route(gathered)]) as port:
        assert (await get(port, "/metrics"))[0] == 401
        code, headers, body = await get(port, "/metrics", f"Authorization: Bearer {SECRET}")
        assert (code, headers["content-type"].partition(";")[0]) == (200, "text/plain")
        assert body.endswith(b"\nedge_agent_health 0.0\n")


async def test_with_a_token_nothing_of_the_plant_is_told_without_it(token_file):
    """The page itself and whether the agent lives are open; the API wants the token, in the header or as what a login left in the browser."""
    async with served(FakeView(), WebConfig(listen="127.0.0.1:0", token_file=token_file)) as port:
        for path in ("/api/status", "/api/tags", "/api/live", "/api/history", "/api/codes", "/api/login", "/nothing"):
            assert (await get(port, path))[0] == 401, path
        for path in ("/", "/page.js", "/codes", "/healthz"):
            assert (await get(port, path))[0] == 200, path
        assert (await get(port, "/api/status", f"Authorization: Bearer {SECRET}"))[0] == 200
        code, headers, _ = await get(port, "/api/login", f"Authorization: Bearer {SECRET}")
        cookie = headers["set-cookie"]
        assert code == 204
        assert "HttpOnly" in cookie
        assert "SameSite=Strict" in cookie
        assert SECRET not in cookie
        kept = f"Cookie: {cookie.partition(';')[0]}"
        assert (await get(port, "/api/status", kept))[0] == 200
        assert (await get(port, "/api/status", f"Cookie: {COOKIE}={SECRET}"))[0] == 401
        token_file.write_text("another-token-of-the-plant")
        assert (await get(port, "/api/status", kept))[0] == 401
        token_file.chmod(0o604)
        assert (await get(port, "/api/status", "Authorization: Bearer another-token-of-the-plant"))[0] == 401


async def test_wrong_tokens_are_few(token_file):
    """After five of them even the right one has to wait, and who is in already stays in."""
    async with served(FakeView(), WebConfig(listen="127.0.0.1:0", token_file=token_file)) as port:
        kept = (await get(port, "/api/login", f"Authorization: Bearer {SECRET}"))[1]["set-cookie"].partition(";")[0]
        said = [(await get(port, "/api/status", f"Authorization: Bearer guess-number-{number}"))[0] for number in range(7)]
        assert said == [401] * 5 + [429] * 2
        assert (await get(port, "/api/status", f"Authorization: Bearer {SECRET}"))[0] == 429
        assert (await get(port, "/api/status", f"Cookie: {kept}"))[0] == 200


def test_an_allowance_fills_up_again():
    """So many at once, then as the clock goes; addresses do not share it, and it remembers few of them."""
    now = [0.0]
    allowance = Allowance(2.0, 3.0, lambda: now[0])
    assert [allowance.take("a") for _ in range(4)] == [True, True, True, False]
    assert allowance.take("b")
    now[0] = 0.5
    assert [allowance.take("a") for _ in range(2)] == [True, False]
    for number in range(1000):
        allowance.take(str(number))
    assert len(allowance._left) <= 256


async def test_slow_clients_are_cut_and_many_are_refused():
    """Who sends no request, who takes no answer and who opens too many connections loses them; others are answered meanwhile."""
    view = FakeView()
    view.piece = b"x" * 500_000 + b"\n"
    async with served(view, patience=Patience(0.2, 0.2)) as port:
        mute, mute_writer = await asyncio.open_connection("127.0.0.1", port)
        mute_writer.write(b"GET / HT")
        deaf = socket.create_connection(("127.0.0.1", port))
        deaf.sendall(b"GET /api/live HTTP/1.1\r\nHost: localhost\r\n\r\n")
        several = [await asyncio.open_connection("127.0.0.1", port) for _ in range(MOST_OF_ONE + 2)]
        ends = [asyncio.ensure_future(reader.read()) for reader, _ in several]
        done, _ = await asyncio.wait(ends, timeout=5, return_when=asyncio.FIRST_COMPLETED)
        assert done
        async with asyncio.timeout(5):
            with pytest.raises(ConnectionError):
                await _cut(mute)
            await asyncio.gather(*ends, return_exceptions=True)
        assert (await get(port, "/healthz"))[0] == 200
        await asyncio.to_thread(_read_to_the_end, deaf)
        for _, writer in [*several, (mute, mute_writer)]:
            writer.close()


async def _cut(reader: asyncio.StreamReader) -> None:
    """Return never: the connection is reset, or ends without a byte."""
    if not await reader.read():
        raise ConnectionResetError


def _read_to_the_end(deaf: socket.socket) -> None:
    """Read what had been sent until the connection ends; fails where it goes on."""
    deaf.settimeout(5)
    try:
        while deaf.recv(1 << 20):
            pass
    except ConnectionError:
        pass
    finally:
        deaf.close()


async def test_a_port_that_is_taken_is_told_and_hurts_nobody():
    """Whoever serves goes on without the page, and says so once."""
    with socket.socket() as other, capture_logs() as logs:
        other.bind(("127.0.0.1", 0))
        other.listen()
        view = FakeView()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3), served(view, WebConfig(listen=f"127.0.0.1:{other.getsockname()[1]}")):
                pass
    assert [(each["event"], each["reason"]) for each in logs] == [("page.not_served", "Address already in use")]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"listen": "0.0.0.0:8470"}, "add token_file"),
        ({"listen": "[::]:8470"}, "add token_file"),
        ({"listen": "10.0.0.5:8470"}, "nobody would be asked who they are"),
        ({"listen": "gw1:8470"}, "is no address to listen on"),
        ({"listen": "127.0.0.1:70000"}, "is no address to listen on"),
        ({"listen": "1.2.3:80"}, "is no address to listen on"),
        ({"names": ["http://gw1"]}, "is no host name"),
    ],
)
def test_what_check_refuses(given, words):
    """An address that others reach wants a token; what is no address and no name is told with an example."""
    with pytest.raises(ValidationError, match=words):
        WebConfig.model_validate(given)


def test_what_check_accepts(token_file):
    """This machine alone without a token, others with one and a caution."""
    assert WebConfig().caution is None
    assert [WebConfig.model_validate({"listen": listen}).port for listen in (8471, "[::1]:8471", "localhost:8471")] == [8471] * 3
    assert "plain HTTP" in str(WebConfig(listen="0.0.0.0:8470", token_file=token_file).caution)


@pytest.mark.parametrize(("text", "mode", "words"), [("short", 0o600, "less than 16"), (SECRET, 0o644, "chmod 600")])
def test_a_token_that_protects_nothing_is_refused(tmp_path, text, mode, words):
    """A short one, and one that everybody on the machine can read."""
    file = tmp_path / "token"
    file.write_text(text)
    file.chmod(mode)
    with pytest.raises(ConfigError, match=words):
        read_token(file)
    with pytest.raises(ConfigError, match="No such file"):
        Token(tmp_path / "none")
