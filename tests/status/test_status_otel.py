"""The export to an OpenTelemetry collector: a receiver on this machine reads what OTLP says, and is away, slow or rude."""

from __future__ import annotations

import asyncio
import gzip
import json
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import trustme
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from pydantic import ValidationError
from structlog.testing import capture_logs
from test_status_metrics import some

from edge_agent.cli.check import check
from edge_agent.model.errors import ConfigError, StorageError
from edge_agent.model.histogram import Histogram
from edge_agent.status.families import FAMILIES, Family, Sample
from edge_agent.status.otel import snapshot
from edge_agent.status.otelconfig import OtelConfig, read_headers, require_extra
from edge_agent.status.otelexport import Export, exporting


class Receiver(ThreadingHTTPServer):
    """A collector: keeps what it was sent; ``code`` is what it answers, ``let_go`` holds its answers back."""

    daemon_threads = True

    def __init__(self, port: int = 0) -> None:
        self.code, self.let_go = 200, threading.Event()
        self.let_go.set()
        self.came = threading.Semaphore(0)
        self.requests: list[tuple[str, dict[str, str], ExportMetricsServiceRequest]] = []
        super().__init__(("127.0.0.1", port), _Handler)

    def handle_error(self, request, client_address):
        """Say nothing: a client may hang up."""

    @property
    def port(self) -> int:
        return self.server_address[1]

    async def request(self, number: int) -> ExportMetricsServiceRequest:
        """Wait until so many requests more have come, and return the last."""
        for _ in range(number):
            assert await asyncio.to_thread(self.came.acquire, timeout=20)
        return self.requests[-1][2]


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        assert self.headers["Content-Encoding"] == "gzip"
        told = ExportMetricsServiceRequest.FromString(gzip.decompress(body))
        receiver: Receiver = self.server
        receiver.requests.append((self.path, {name.lower(): value for name, value in self.headers.items()}, told))
        receiver.came.release()
        receiver.let_go.wait(20)
        self.send_response(receiver.code)
        self.send_header("Content-Length", "0")
        self.send_header("Location", f"http://127.0.0.1:{receiver.port}/elsewhere")
        self.end_headers()

    def log_message(self, *_):
        pass


@contextmanager
def receiving(port: int = 0, context: ssl.SSLContext | None = None) -> Iterator[Receiver]:
    """Run a receiver."""
    receiver = Receiver(port)
    if context is not None:
        receiver.socket = context.wrap_socket(receiver.socket, server_side=True)
    thread = threading.Thread(target=receiver.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield receiver
    finally:
        receiver.let_go.set()
        receiver.shutdown()
        receiver.server_close()
        thread.join()


def free_port() -> int:
    """Return a port on which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


def config(port: int, **more) -> OtelConfig:
    """Return settings for a receiver."""
    return OtelConfig.model_validate({"endpoint": f"http://127.0.0.1:{port}", "allow_insecure": True, "every": "1s", **more})


async def gathered() -> list[Family]:
    """Return every family."""
    return some()


def lines(logs) -> list[str]:
    """Return the names of our lines."""
    return [line["event"] for line in logs if line["event"].startswith("otel.")]


async def test_a_collector_gets_every_family_with_its_kind_and_labels(tmp_path):
    """What OTLP says is the table of metrics: gauges, growing sums and histograms from the start on, with labels, units and who tells it."""
    headers = tmp_path / "headers"
    headers.write_text("# for the collector\nAuthorization: Bearer abc:def\n\nx-scope-orgid: plant1\n")
    headers.chmod(0o600)
    began = time.time_ns()
    with receiving() as receiver:
        export = Export(config(receiver.port, headers_file=str(headers)), gathered, "gw1", "1.2.3")
        await export.once()
        await export.close()
    path, sent, told = receiver.requests[0]
    assert path == "/v1/metrics"
    assert (sent["authorization"], sent["x-scope-orgid"]) == ("Bearer abc:def", "plant1")
    assert sent["content-type"] == "application/x-protobuf"
    who = {each.key: each.value.string_value for each in told.resource_metrics[0].resource.attributes}
    assert who == {"service.name": "edge-agent", "service.instance.id": "gw1", "service.version": "1.2.3"}
    found = {metric.name: metric for metric in told.resource_metrics[0].scope_metrics[0].metrics}
    assert set(found) == set(FAMILIES)
    for name, shape in FAMILIES.items():
        metric, kind = found[name], {"gauge": "gauge", "counter": "sum", "histogram": "histogram"}[shape.kind]
        assert (metric.WhichOneof("data"), metric.description) == (kind, shape.help)
        point = getattr(metric, kind).data_points[0]
        assert {each.key: each.value.string_value for each in point.attributes} == dict.fromkeys(shape.labels, 'a"b\\c\nd')
        assert began <= point.time_unix_nano <= time.time_ns()
        if kind != "gauge":
            assert getattr(metric, kind).aggregation_temporality == 2, "cumulative"
            assert began <= point.start_time_unix_nano <= point.time_unix_nano
        if kind != "histogram":
            assert point.as_double == 3
        if kind == "sum":
            assert metric.sum.is_monotonic
    classes = found["edge_agent_acknowledge_duration_seconds"].histogram.data_points[0]
    assert (list(classes.bucket_counts), list(classes.explicit_bounds), classes.count) == ([1, 2, 1], [0.1, 1.0], 4)
    assert classes.sum == pytest.approx(10.15)
    assert not classes.HasField("min")
    units = {name: found[name].unit for name in ("edge_agent_buffer_bytes", "process_cpu_seconds_total", "edge_agent_device_up")}
    assert units == {"edge_agent_buffer_bytes": "By", "process_cpu_seconds_total": "s", "edge_agent_device_up": ""}


def test_a_snapshot_does_not_change_any_more():
    """The thread that sends reads figures of one instant: what is observed meanwhile is in the next export."""
    durations = Histogram((0.1, 1.0))
    name = "edge_agent_acknowledge_duration_seconds"
    taken = snapshot([Family(name, FAMILIES[name], [Sample((), durations)])])[0].samples[0].value
    durations.observe(0.5)
    assert (taken.counts, taken.total) == ([0, 0, 0], 0.0)


async def test_exports_go_on_until_the_end_and_the_end_has_its_own():
    """One at once, one a period, and the last figures at the stop."""
    with receiving() as receiver, capture_logs() as logs:
        async with exporting(config(receiver.port), gathered, "gw1", "1"):
            await receiver.request(2)
            before = len(receiver.requests)
        assert len(receiver.requests) == before + 1
    assert lines(logs) == ["otel.exported"]
    assert not [thread for thread in threading.enumerate() if thread.name == "otel"]


async def test_nothing_happens_where_it_is_not_configured():
    """Off by default: no task, no thread, no figure is gathered."""

    async def never():
        raise AssertionError

    tasks = asyncio.all_tasks()
    async with exporting(None, never, "gw1", "1"):
        assert asyncio.all_tasks() == tasks


async def test_a_collector_that_is_away_is_one_line_and_one_when_it_is_back(caplog):
    """However often it is tried: no line of the packages, one of ours, which says why, and one when it is over."""
    port = free_port()
    with capture_logs() as logs:
        export = Export(config(port), gathered, "gw1", "1")
        for _ in range(2):
            await export.once()
        with receiving(port) as receiver:
            await export.once()
            await export.once()
            assert len(receiver.requests) == 2
            receiver.code = 400
            await export.once()
        await export.close()
    assert lines(logs) == ["otel.not_exported", "otel.exported", "otel.not_exported"]
    reasons = [line["reason"] for line in logs if line["event"] == "otel.not_exported"]
    assert "refused" in reasons[0]
    assert "400" in reasons[1]
    assert not caplog.records


async def test_a_collector_that_does_not_answer_holds_nobody_up():
    """The loop turns while an export hangs, and the stop waits for two seconds at most."""
    with receiving() as receiver:
        receiver.let_go.clear()
        loop, worst = asyncio.get_running_loop(), 0.0
        async with exporting(config(receiver.port, every="1h"), gathered, "gw1", "1"):
            await receiver.request(1)
            for _ in range(20):
                before = loop.time()
                await asyncio.sleep(0.01)
                worst = max(worst, loop.time() - before)
            begun = loop.time()
        assert worst < 0.5
        assert loop.time() - begun < 4
        receiver.let_go.set()


async def test_headers_never_follow_a_redirection(tmp_path):
    """A collector that points elsewhere gets no second request: what is in the headers is for it alone."""
    with receiving() as receiver:
        receiver.code = 307
        export = Export(config(receiver.port), gathered, "gw1", "1")
        await export.once()
        await export.close()
        assert [path for path, _, _ in receiver.requests] in (["/v1/metrics"], ["/v1/metrics"] * 2)


async def test_only_a_collector_whose_certificate_is_believed_gets_figures(tmp_path):
    """The named CA is enough, any other certificate is refused and said."""
    ca, server = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("127.0.0.1").configure_cert(server)
    ca.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    with receiving(context=server) as receiver, capture_logs() as logs:
        for more in ({"ca": str(tmp_path / "ca.pem")}, {}):
            wanted = {"endpoint": f"https://127.0.0.1:{receiver.port}/", "every": "1s", **more}
            export = Export(OtelConfig.model_validate(wanted), gathered, "gw1", "1")
            await export.once()
            await export.close()
        assert len(receiver.requests) == 2, "one each: the first export, and its last at the end"
    assert lines(logs) == ["otel.exported", "otel.not_exported"]
    assert "certificate" in logs[-1]["reason"].lower()


async def test_figures_that_cannot_be_gathered_end_nothing():
    """A store that cannot be asked has its own alarms; anything else is told once, and the next export is made."""
    errors = [StorageError("away"), ValueError("odd"), ValueError("odd")]

    async def troubled():
        if errors:
            raise errors.pop(0)
        return some()

    with receiving() as receiver, capture_logs() as logs:
        export = Export(config(receiver.port), troubled, "gw1", "1")
        for _ in range(4):
            await export.once()
        assert len(receiver.requests) == 1
        await export.close()
    assert lines(logs) == ["otel.not_exported", "otel.exported"]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"endpoint": "http://collector:4318"}, "allow_insecure"),
        ({"endpoint": "collector:4318"}, "write it like https://"),
        ({"endpoint": "https://"}, "write it like https://"),
        ({"endpoint": "https://collector:99999"}, "write it like https://"),
        ({"endpoint": "https://me:secret@collector"}, "headers_file"),
        ({"endpoint": "https://collector", "every": "100ms"}, "outside 1s to 1h"),
        ({"endpoint": "http://collector", "allow_insecure": True, "ca": "ca.pem"}, "write https://"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(settings, words):
    """Each says what to write instead, and tells no secret."""
    with pytest.raises(ValidationError) as caught:
        OtelConfig.model_validate(settings)
    assert words in caught.value.errors()[0]["msg"]
    assert "secret" not in caught.value.errors()[0]["msg"]


@pytest.mark.parametrize(
    ("endpoint", "url"),
    [
        ("https://c:4318", "https://c:4318/v1/metrics"),
        ("https://c/otlp/", "https://c/otlp/v1/metrics"),
        ("https://c/otlp/v1/metrics", "https://c/otlp/v1/metrics"),
    ],
)
def test_the_path_of_metrics_is_put_behind_the_address(endpoint, url):
    """Base addresses and whole ones are both taken."""
    assert OtelConfig.model_validate({"endpoint": endpoint}).url == url


@pytest.mark.parametrize(
    ("text", "mode", "words"),
    [
        ("Authorization: Bearer secret", 0o604, "chmod 600"),
        ("a: b\nBearer secret", 0o600, "line 2 is no header"),
        ("a b: secret", 0o600, "line 1 is no header"),
        (None, 0, "No such file"),
    ],
)
def test_headers_that_cannot_be_used_are_told_without_their_values(tmp_path, text, mode, words):
    """Whoever may read the log may not read the token."""
    file = tmp_path / "headers"
    if text is not None:
        file.write_text(text)
        file.chmod(mode)
    with pytest.raises(ConfigError, match=words) as caught:
        read_headers(file)
    assert "secret" not in str(caught.value)


AGENT = """\
version: 1
agent: gw1
site: [acme]
mqtt: {broker: "mqtt://127.0.0.1", allow_insecure: true}
buffer: {path: ./buffer}
otel: {endpoint: "https://collector.plant.example:4318"}
"""


@pytest.mark.parametrize("as_json", [False, True])
def test_a_missing_extra_is_one_message_with_what_to_install(tmp_path, monkeypatch, capsys, as_json):
    """`check` ends with 78 and names the command; with the packages it is content."""
    file = tmp_path / "agent.yaml"
    file.write_text(AGENT)
    assert check(file, as_json=as_json) == 0
    capsys.readouterr()
    monkeypatch.setattr("edge_agent.status.otelconfig.find_spec", lambda _: None)
    assert check(file, as_json=as_json) == 78
    said = capsys.readouterr()
    text = json.loads(said.out)["problems"][0]["message"] if as_json else said.err.strip()
    assert "pip install edge-agent[otel]" in text
    assert len(text.splitlines()) == 1


def test_a_parent_package_that_is_missing_is_the_same(monkeypatch):
    """Without any package of OpenTelemetry the look itself fails; that is no other message."""
    monkeypatch.setattr("edge_agent.status.otelconfig._NEEDED", ("opentelemetry_that_is_not_here.sdk",))
    with pytest.raises(ConfigError, match=r"pip install edge-agent\[otel\]"):
        require_extra()
