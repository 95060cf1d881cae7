"""`holdfast serve`, a process of its own: it says when it is ready, answers over real sockets, and drains."""

from __future__ import annotations

import os
import resource
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import httpx
import pytest
from support.cli import command, invoke
from support.tiny import make_tiny_bundle, solid_png

from serving.keys.store import KeyStore

RED = solid_png("red")
PNG = {"Content-Type": "image/png"}
PATIENCE = 60.0


class Server:
    """A `holdfast serve` that is ready."""

    def __init__(self, process: subprocess.Popen[str], url: str, announced: list[str]) -> None:
        self.process = process
        self.url = url
        self.announced = announced
        self.address = ("127.0.0.1", int(url.rpartition(":")[2]))

    def client(self) -> httpx.Client:
        return httpx.Client(base_url=self.url, timeout=PATIENCE)

    def connect(self) -> socket.socket:
        return socket.create_connection(self.address, timeout=PATIENCE)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        self.process.send_signal(number)

    def wait(self) -> int:
        return self.process.wait(PATIENCE)


def environment(**variables: str) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("HOLDFAST_")}
    return inherited | {"HOLDFAST_THREADS": "1", "OMP_NUM_THREADS": "1"} | variables


@contextmanager
def serve(store: Path, *arguments: str, **variables: str) -> Iterator[Server]:
    process = subprocess.Popen(
        command("serve", *arguments),
        env=environment(**{"HOLDFAST_MODEL_STORE": str(store), "HOLDFAST_PORT": "0", **variables}),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        announced = [process.stdout.readline() for _ in range(3)]
        if not announced[0].startswith("Ready: "):
            raise AssertionError(process.communicate(timeout=PATIENCE)[1])
        url = announced[0].split(" on ")[1].split(" ")[0]
        yield Server(process, url, announced)
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate(timeout=PATIENCE)


def read_response(connection: socket.socket) -> tuple[int, bytes]:
    """One whole response: its status and body."""
    content = b""
    while b"\r\n\r\n" not in content:
        content += connection.recv(65536)
    head, _, body = content.partition(b"\r\n\r\n")
    lengths = [
        line.split(b":")[1] for line in head.lower().splitlines() if line.startswith(b"content-length")
    ]
    while len(body) < int(lengths[0]):
        body += connection.recv(65536)
    return int(head.split(b" ")[1]), body


def request_head(length: int, *further: str) -> bytes:
    lines = [
        "POST /v1/models/tiny/classify HTTP/1.1",
        "Host: gateway.localhost",
        "Content-Type: image/png",
        f"Content-Length: {length}",
        *further,
    ]
    return "\r\n".join([*lines, "", ""]).encode()


def test_it_says_when_it_is_ready_answers_and_ends_with_status_0(tiny_store: Path) -> None:
    with serve(tiny_store) as server:
        assert "tiny/1" in server.announced[0]
        assert f"{server.url}/v1/models/tiny/classify" in server.announced[1]
        assert f"{server.url} in a browser" in server.announced[2]
        assert f"{server.url}/docs" in server.announced[2]
        with server.client() as client:
            assert client.get("/readyz").json() == {"status": "ready"}
            response = client.post("/v1/models/tiny/classify", content=RED, headers=PNG)
            assert response.json()["predictions"][0]["label"] == "red"
            assert "server" not in response.headers
        server.stop()
        assert server.wait() == 0


def test_host_and_port_of_the_environment_are_honoured(tiny_store: Path) -> None:
    with socket.create_server(("127.0.0.2", 0)) as free:
        port = free.getsockname()[1]
    with serve(tiny_store, HOLDFAST_HOST="127.0.0.2", HOLDFAST_PORT=str(port)) as server:
        assert server.url == f"http://127.0.0.2:{port}"
        assert httpx.get(f"{server.url}/livez", timeout=PATIENCE).status_code == 200


def test_options_override_the_environment(tiny_store: Path) -> None:
    options = ("--port", "0", "--store", str(tiny_store), "--host", "localhost", "--log-level", "error")
    with serve(Path("/nowhere"), *options, HOLDFAST_PORT="1", HOLDFAST_HOST="0.0.0.0") as server:
        with server.client() as client:
            assert client.get("/v1/models").json()["models"][0]["name"] == "tiny"
        server.stop(signal.SIGINT)
        assert server.wait() == 0


def test_start_costs_little_time(tiny_store: Path) -> None:
    """Processor time, which is what a start takes where the machine has nothing else to do."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with serve(tiny_store) as server:
        server.stop()
        assert server.wait() == 0
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = (after.ru_utime + after.ru_stime) - (before.ru_utime + before.ru_stime)
    assert spent < 3


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="asks for another process's limits")
def test_as_many_files_may_be_open_as_the_process_can_give_itself(tiny_store: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    try:
        with serve(tiny_store) as server:
            assert resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE) == (hard, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_address_that_others_reach_is_served_where_that_is_allowed(tiny_store: Path) -> None:
    with serve(tiny_store, HOLDFAST_HOST="0.0.0.0", HOLDFAST_ALLOW_UNAUTHENTICATED="1") as server:
        assert httpx.get(f"{server.url}/readyz", timeout=PATIENCE).status_code == 200


def test_address_that_others_reach_is_served_to_those_who_show_a_key(
    tiny_store: Path, tmp_path: Path
) -> None:
    keys = KeyStore(tmp_path / "keys.json")
    token, _ = keys.create("a", ("classify",))
    with serve(tiny_store, HOLDFAST_HOST="0.0.0.0", HOLDFAST_KEYS_FILE=str(keys.path)) as server:
        with server.client() as client:
            assert client.get("/readyz").status_code == 200
            ask = partial(client.post, "/v1/models/tiny/classify", content=RED)
            assert ask(headers=PNG).status_code == 401
            shown = PNG | {"Authorization": f"Bearer {token.reveal()}"}
            assert ask(headers=shown).json()["predictions"][0]["label"] == "red"
            keys.revoke(token.id)
            time.sleep(1.0)
            assert ask(headers=shown).status_code == 401
        server.stop()
        assert server.wait() == 0


def test_file_of_keys_that_cannot_be_used_ends_the_start_with_the_way_out(
    tiny_store: Path, tmp_path: Path
) -> None:
    result = subprocess.run(
        command("serve", "--host", "0.0.0.0", "--port", "0"),
        env=environment(HOLDFAST_MODEL_STORE=str(tiny_store), HOLDFAST_KEYS_FILE=str(tmp_path / "keys.json")),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert result.returncode == 1
    assert "holdfast keys create" in result.stderr
    assert "Traceback" not in result.stderr


def test_request_in_flight_is_answered_before_it_ends(tiny_store: Path) -> None:
    with serve(tiny_store) as server, server.connect() as connection:
        connection.sendall(request_head(len(RED)) + RED[:20])
        time.sleep(0.3)
        server.stop()
        time.sleep(0.5)
        with pytest.raises(OSError, match="refused"):
            server.connect()
        assert server.process.poll() is None
        connection.sendall(RED[20:])
        status, body = read_response(connection)
        assert (status, b'"red"' in body) == (200, True)
        assert server.wait() == 0


def test_it_is_not_ready_before_it_stops_listening(tiny_store: Path) -> None:
    with serve(tiny_store, HOLDFAST_DRAIN_DELAY="3") as server, server.client() as client:
        server.stop()
        statuses = []
        while client.get("/readyz").status_code != 503:
            time.sleep(0.05)
        statuses = [client.get(path).status_code for path in ("/readyz", "/livez")]
        answer = client.post("/v1/models/tiny/classify", content=RED, headers=PNG)
        assert (statuses, answer.status_code) == ([503, 200], 200)
        assert server.wait() == 0


def test_second_signal_ends_it_at_once(tiny_store: Path) -> None:
    with serve(tiny_store, HOLDFAST_DRAIN_DELAY="60") as server, server.connect() as connection:
        connection.sendall(request_head(len(RED)) + RED[:20])
        server.stop()
        time.sleep(0.3)
        assert server.process.poll() is None
        server.stop()
        assert server.wait() == 0


def test_request_that_never_ends_is_given_up_when_the_drain_takes_too_long(tiny_store: Path) -> None:
    with serve(tiny_store, HOLDFAST_DRAIN_TIMEOUT="1") as server, server.connect() as connection:
        connection.sendall(request_head(len(RED)) + RED[:20])
        time.sleep(0.3)
        server.stop()
        status, body = read_response(connection)
        assert (status, b"/problems#not-ready" in body) == (503, True)
        assert server.wait() == 0


def test_hangup_signal_takes_new_models_while_requests_are_answered(tmp_path: Path) -> None:
    make_tiny_bundle(tmp_path)
    with serve(tmp_path) as server, server.client() as client:

        def version() -> str:
            answer = client.post("/v1/models/tiny/classify", content=RED, headers=PNG)
            assert answer.status_code == 200
            found: str = answer.json()["version"]
            return found

        assert version() == "1"
        make_tiny_bundle(tmp_path, version="2")
        server.stop(signal.SIGHUP)
        deadline = time.monotonic() + PATIENCE
        while version() != "2":
            assert time.monotonic() < deadline
        (tmp_path / "tiny").rename(tmp_path / ".away")
        server.stop(signal.SIGHUP)  # there is nothing left to serve: all stays as it was
        time.sleep(0.3)
        assert version() == "2"
        server.stop()
        assert server.wait() == 0


def test_body_announced_too_large_is_refused_without_asking_for_it(tiny_store: Path) -> None:
    with serve(tiny_store, HOLDFAST_MAX_BODY_BYTES="1KiB") as server, server.connect() as connection:
        connection.sendall(request_head(10**9, "Expect: 100-continue"))
        status, body = read_response(connection)
        assert (status, b"/problems#too-many-bytes" in body) == (413, True)


@pytest.mark.parametrize(
    "content",
    [
        request_head(10**6) + RED,  # announces more than it sends
        request_head(10) + RED,  # sends more than it announced
        request_head(len(RED), "Transfer-Encoding: chunked") + b"zz\r\n" + RED,
        b"\x16\x03\x01 this is no HTTP\r\n\r\n",
        b"POST / HTTP/1.1\r\n" + b"X: y\r\n" * 10,
    ],
    ids=["too little", "too much", "bad chunk", "no http", "half a head"],
)
def test_ill_behaved_client_does_no_harm(server: Server, content: bytes) -> None:
    with server.connect() as connection:
        connection.sendall(content)
        connection.settimeout(0.2)
        try:
            while connection.recv(65536):
                pass
        except OSError:  # nothing more comes, or the server has closed the connection
            pass
    with server.client() as client:
        response = client.post("/v1/models/tiny/classify", content=RED, headers=PNG)
        assert response.json()["predictions"][0]["label"] == "red"


@pytest.fixture(scope="module")
def server(tiny_store: Path) -> Iterator[Server]:
    with serve(tiny_store) as running:
        yield running


def test_body_in_chunks_is_put_together(server: Server) -> None:
    with server.client() as client:
        content = iter([RED[:10], RED[10:50], RED[50:]])
        response = client.post("/v1/models/tiny/classify", content=content, headers=PNG)
        assert "content-length" not in response.request.headers
        assert response.json()["predictions"][0]["label"] == "red"


def test_connection_is_kept_after_an_error(server: Server) -> None:
    with server.connect() as connection:
        for content, expected in ((b"no image", 422), (RED, 200), (b"", 422)):
            connection.sendall(request_head(len(content)) + content)
            assert read_response(connection)[0] == expected


def test_caller_that_goes_away_leaves_the_server_working(server: Server) -> None:
    for _ in range(20):
        with server.connect() as connection:
            connection.sendall(request_head(len(RED)) + RED)
    with server.client() as client:
        assert client.post("/v1/models/tiny/classify", content=RED, headers=PNG).status_code == 200


def test_changed_bundle_is_not_served(tmp_path: Path) -> None:
    directory = make_tiny_bundle(tmp_path)
    (directory / "CARD.md").write_text("# Another card\n")
    result = subprocess.run(
        command("serve", "--port", "0"),
        env=environment(HOLDFAST_MODEL_STORE=str(tmp_path)),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert result.returncode == 1
    assert "CARD.md" in result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout == ""


@pytest.fixture
def no_settings(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in [name for name in os.environ if name.startswith("HOLDFAST_")]:
        monkeypatch.delenv(name)
    return monkeypatch


def test_address_that_others_reach_is_refused_with_the_way_to_allow_it(
    no_settings: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    outcome = invoke(capsys, "serve", "--host", "0.0.0.0", "--port", "0")
    assert outcome.code == 2
    assert "no API keys" in outcome.err
    assert "HOLDFAST_ALLOW_UNAUTHENTICATED=1" in outcome.err


def test_bad_setting_is_named(no_settings: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    no_settings.setenv("HOLDFAST_PORT", "http")
    outcome = invoke(capsys, "serve")
    assert outcome.code == 2
    assert "HOLDFAST_PORT is 'http'" in outcome.err


def test_port_in_use_is_an_error_with_a_fix(
    no_settings: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        outcome = invoke(capsys, "serve", "--port", str(taken.getsockname()[1]))
    assert outcome.code == 1
    assert "is in use" in outcome.err
    assert "HOLDFAST_PORT" in outcome.err


def test_settings_are_listed_with_their_variables(
    no_settings: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    outcome = invoke(capsys, "serve", "--settings")
    assert outcome.code == 0
    for name in ("HOLDFAST_HOST", "HOLDFAST_PORT", "HOLDFAST_QUEUE", "HOLDFAST_ALLOW_UNAUTHENTICATED"):
        assert name in outcome.out
