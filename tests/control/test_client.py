"""The blocking client, against servers that misbehave."""

from __future__ import annotations

import json
import os
import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn

import pytest

from dhtd import errors
from dhtd.control.client import Client
from dhtd.service.entries import DELETE, LOOKUP
from dhtd.service.node import BOOTSTRAP, NODE_ID
from dhtd.service.queries import FIND_NODE, FIND_VALUE, PING, STORE
from tests.control.users import other_user

LONG = 60.0  # seconds; only a hang reaches it
SHORT = 0.05  # for hangs

STATS = {"hops": 1, "queries": 1, "responses": 1, "timeouts": 0, "elapsed_ms": 1.0, "first_ms": 1.0}

Conversation = Callable[[socket.socket], None]


@contextmanager
def listening(path: Path, conversation: Conversation) -> Iterator[Path]:
    """Run a server that takes one connection, holds the conversation, and hangs up."""

    def serve() -> None:
        connection, _ = server.accept()
        with connection, suppress(BrokenPipeError, ConnectionResetError, json.JSONDecodeError):
            conversation(connection)

    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen(8)
        thread = threading.Thread(target=serve)
        thread.start()
        yield path
        with socket.socket(socket.AF_UNIX) as nobody:
            nobody.connect(str(path))  # for a client that has given up before it connected
        thread.join(LONG)
        assert not thread.is_alive()


def read_request(connection: socket.socket) -> dict[str, Any]:
    with connection.makefile("rb") as file:
        body: dict[str, Any] = json.loads(file.readline())
        return body


def read_on(connection: socket.socket) -> None:
    """Wait until the client hangs up."""
    while connection.recv(65_536):
        pass


def answering(*lines: bytes) -> Conversation:
    def conversation(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(b"".join(lines))

    return conversation


def frame(**body: object) -> bytes:
    return json.dumps({"v": 1, "id": None, **body}).encode() + b"\n"


def test_without_a_socket_the_message_helps(tmp_path: Path) -> None:
    path = tmp_path / "sock"
    with (
        Client(path, LONG, "dhtd start --instance two") as client,
        pytest.raises(errors.DaemonUnreachable, match="dhtd start --instance two") as caught,
    ):
        client.ask(NODE_ID)
    assert str(path) in str(caught.value)
    assert caught.value.exit_status == 3


def test_a_regular_file_is_not_a_left_over_socket(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path, tmp_path / "file", tmp_path / "fifo"):
        with (
            Client(path, LONG) as client,
            pytest.raises(errors.DaemonUnreachable, match=r"is not a socket: .* --socket"),
        ):
            client.ask(NODE_ID)


def test_a_socket_removed_meanwhile_is_left_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "sock"))
    monkeypatch.setattr(Path, "stat", fail_to_look)
    with Client(tmp_path / "sock", LONG) as client, pytest.raises(errors.DaemonUnreachable, match="left over"):
        client.ask(NODE_ID)


def fail_to_look(_: Path) -> NoReturn:
    raise FileNotFoundError(2, "No such file or directory")


def test_a_socket_without_listener_is_left_over(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "sock"))
    with Client(tmp_path / "sock", LONG) as client, pytest.raises(errors.DaemonUnreachable, match="left over"):
        client.ask(NODE_ID)


def test_a_forbidden_socket_is_somebody_elses() -> None:
    directory = Path(tempfile.mkdtemp())
    try:
        directory.chmod(0o755)
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(directory / "sock"))
            server.listen()
            (directory / "sock").chmod(0)
            with other_user(), Client(directory / "sock", LONG) as client, pytest.raises(errors.SocketForbidden):
                client.ask(NODE_ID)
    finally:
        shutil.rmtree(directory)


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (lambda path: path.write_text("no socket"), errors.DaemonUnreachable),
        (lambda path: path.mkdir(), errors.DaemonUnreachable),
        (lambda path: path.symlink_to(path), errors.DaemonUnreachable),
    ],
)
def test_what_is_no_socket_is_no_daemon(
    tmp_path: Path, make: Callable[[Path], None], kind: type[errors.DhtdError]
) -> None:
    make(tmp_path / "sock")
    with Client(tmp_path / "sock", LONG) as client, pytest.raises(kind):
        client.ask(NODE_ID)


def test_a_path_below_a_file_is_no_daemon(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with Client(tmp_path / "file" / "sock", LONG) as client, pytest.raises(errors.DaemonUnreachable):
        client.ask(NODE_ID)


def test_a_path_that_is_too_long_is_said_to_be(tmp_path: Path) -> None:
    with Client(tmp_path / ("x" * 200), LONG) as client, pytest.raises(errors.SocketUnusable, match="too long"):
        client.ask(NODE_ID)


def full_server(path: Path) -> tuple[socket.socket, list[socket.socket]]:
    """Return a server that takes no more connections, and the connections that fill it."""
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(path))
    server.listen(0)
    others = []
    while True:
        other = socket.socket(socket.AF_UNIX)
        other.setblocking(False)
        others.append(other)
        try:
            other.connect(str(path))
        except BlockingIOError:
            return server, others


def test_a_daemon_that_never_accepts_is_given_up(tmp_path: Path) -> None:
    server, others = full_server(tmp_path / "sock")
    with Client(tmp_path / "sock", SHORT) as client, pytest.raises(errors.DaemonTimeout, match="--timeout"):
        client.ask(NODE_ID)
    for each in (server, *others):
        each.close()


def test_a_crowded_daemon_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server, others = full_server(tmp_path / "sock")
    threads: list[threading.Thread] = []

    def serve() -> None:
        connection, _ = server.accept()
        with connection:
            answering(frame(result={"node_id": "n", "endpoints": []}))(connection)

    def sleep(seconds: float) -> None:
        """Take the connections that fill the server, and then answer the next one."""
        for _ in others[1:]:
            server.accept()[0].close()
        threads.append(threading.Thread(target=serve))
        threads[-1].start()

    monkeypatch.setattr(time, "sleep", sleep)
    with Client(tmp_path / "sock", LONG) as client:
        assert client.ask(NODE_ID)["node_id"] == "n"
    [thread] = threads
    thread.join(LONG)
    for each in (server, *others):
        each.close()


@pytest.mark.parametrize("said", [b"", b"{", frame(event={"peers": [], "stats": STATS})])
def test_a_daemon_that_hangs_is_given_up_in_time(tmp_path: Path, said: bytes) -> None:
    def conversation(connection: socket.socket) -> None:
        connection.sendall(said)
        read_on(connection)

    with listening(tmp_path / "sock", conversation) as path:
        with Client(path, SHORT) as client, pytest.raises(errors.DaemonTimeout) as caught:
            [*client.stream(LOOKUP, id="0" * 64)]
        assert "0.05 s" in str(caught.value)
        assert caught.value.exit_status == 3


def test_a_daemon_that_reads_nothing_is_given_up(tmp_path: Path) -> None:
    finished = threading.Event()

    def conversation(connection: socket.socket) -> None:
        finished.wait(LONG)

    with listening(tmp_path / "sock", conversation) as path:
        with Client(path, SHORT) as client, pytest.raises(errors.DaemonTimeout):
            client.ask(BOOTSTRAP, endpoints=["192.0.2.1:1729"] * 1_000_000)
        finished.set()


@pytest.mark.parametrize("said", [b"", b"{", b'{"v":1,"result":{', frame(event={"peers": [], "stats": STATS})])
def test_a_daemon_hanging_up_is_called_stopping(tmp_path: Path, said: bytes) -> None:
    with (
        listening(tmp_path / "sock", answering(said)) as path,
        Client(path, LONG) as client,
        pytest.raises(errors.DaemonUnreachable, match="closed the connection"),
    ):
        [*client.stream(LOOKUP, id="0" * 64)]


def test_a_reset_connection_is_called_stopping(tmp_path: Path) -> None:
    def conversation(connection: socket.socket) -> None:
        connection.recv(1)  # unread bytes make the end a reset

    with (
        listening(tmp_path / "sock", conversation) as path,
        Client(path, LONG) as client,
        pytest.raises(errors.DaemonUnreachable, match="closed the connection"),
    ):
        client.ask(NODE_ID)


@pytest.mark.parametrize(
    "line",
    [
        b"HTTP/1.1 400 Bad Request\r\n",
        b"\n",
        b"\xff\n",
        b"[]\n",
        b"1\n",
        b"null\n",
        b'"result"\n',
        b"{}\n",
        b'{"result": 1}\n',
        b'{"result": "text"}\n',
        b'{"error": null}\n',
        b"[" * 100_000 + b"\n",
        b"9" * 10_000 + b"\n",
    ],
)
def test_what_answers_garbage_is_not_dhtd(tmp_path: Path, line: bytes) -> None:
    with (
        listening(tmp_path / "sock", answering(line)) as path,
        Client(path, LONG) as client,
        pytest.raises(errors.DaemonUnreachable, match="is not dhtd"),
    ):
        client.ask(NODE_ID)


@pytest.mark.parametrize("kind", [errors.NoPong, errors.InvalidId, errors.NoPeers, errors.ShuttingDown])
def test_a_daemon_error_is_raised_as_its_class(tmp_path: Path, kind: type[errors.DhtdError]) -> None:
    body = {"code": kind.code, "message": "the daemon's words"}
    with listening(tmp_path / "sock", answering(frame(error=body))) as path:
        with Client(path, LONG) as client, pytest.raises(kind, match="the daemon's words") as caught:
            client.ask(NODE_ID)
        assert type(caught.value) is kind


@pytest.mark.parametrize(
    "body", [{"code": "of-tomorrow", "message": "new"}, {}, {"code": 1}, {"code": []}, {"message": "alone"}]
)
def test_an_unknown_error_is_still_an_error(tmp_path: Path, body: dict[str, object]) -> None:
    with listening(tmp_path / "sock", answering(frame(error=body))) as path:
        with Client(path, LONG) as client, pytest.raises(errors.DhtdError) as caught:
            client.ask(NODE_ID)
        assert type(caught.value) is errors.DhtdError
        assert str(caught.value) == body.get("message", "the daemon does not say why")


def test_a_refusal_is_read_before_the_request(tmp_path: Path) -> None:
    def conversation(connection: socket.socket) -> None:
        connection.sendall(frame(error={"code": "socket-forbidden", "message": "no"}))

    with (
        listening(tmp_path / "sock", conversation) as path,
        Client(path, LONG) as client,
        pytest.raises(errors.SocketForbidden),
    ):
        client.ask(BOOTSTRAP, endpoints=["192.0.2.1:1729"] * 1_000_000)


def test_a_huge_answer_is_read_whole(tmp_path: Path) -> None:
    endpoints = [f"192.0.2.1:{number}" for number in range(500_000)]
    with (
        listening(tmp_path / "sock", answering(frame(result={"node_id": "n", "endpoints": endpoints}))) as path,
        Client(path, LONG) as client,
    ):
        assert client.ask(NODE_ID)["endpoints"] == endpoints


def test_events_precede_the_result_in_any_pieces(tmp_path: Path) -> None:
    lines = b"".join(frame(event={"peers": [str(number)], "stats": STATS}) for number in range(3))
    lines += frame(result={"id": "0", "peers": ["0", "1", "2"], "stats": STATS})

    def conversation(connection: socket.socket) -> None:
        read_request(connection)
        for byte in lines:
            connection.sendall(bytes([byte]))

    with listening(tmp_path / "sock", conversation) as path, Client(path, LONG) as client:
        answers = [*client.stream(LOOKUP, id="0" * 64)]
    assert [answer["peers"] for answer in answers] == [["0"], ["1"], ["2"], ["0", "1", "2"]]
    assert "id" in answers[-1]


def test_newer_events_disturb_no_other_request(tmp_path: Path) -> None:
    lines = frame(event={"new": True}), frame(result={"node_id": "n", "endpoints": []})
    with listening(tmp_path / "sock", answering(*lines)) as path, Client(path, LONG) as client:
        assert client.ask(NODE_ID)["node_id"] == "n"


@pytest.mark.parametrize(
    ("call", "method", "params"),
    [
        (lambda client: client.ask(PING, endpoint="h:1"), "ping", {"endpoint": "h:1"}),
        (lambda client: client.enter("i", 1, wait=False), "enter", {"id": "i", "port": 1, "wait": False}),
        (
            lambda client: client.enter("i", 1, wait=True, min_replicas=2),
            "enter",
            {"id": "i", "port": 1, "wait": True, "min_replicas": 2, "within_s": 0.9 * LONG},
        ),
        (lambda client: [*client.stream(LOOKUP, id="i")], "lookup", {"id": "i"}),
        (lambda client: client.ask(DELETE, id="i"), "delete", {"id": "i"}),
        (lambda client: client.ask(DELETE, id="i", port=2), "delete", {"id": "i", "port": 2}),
        (lambda client: client.info(None), "info", {}),
        (lambda client: client.info("store"), "info", {"section": "store"}),
        (lambda client: client.ask(NODE_ID), "node-id", {}),
        (lambda client: client.ask(BOOTSTRAP, endpoints=["h:1"]), "bootstrap", {"endpoints": ["h:1"]}),
        (lambda client: client.ask(FIND_NODE, endpoint="h:1", id="i"), "find-node", {"endpoint": "h:1", "id": "i"}),
        (lambda client: client.ask(FIND_VALUE, endpoint="h:1", id="i"), "find-value", {"endpoint": "h:1", "id": "i"}),
        (
            lambda client: client.ask(STORE, endpoint="h:1", id="i", port=2, token="aa"),
            "store",
            {"endpoint": "h:1", "id": "i", "port": 2, "token": "aa"},
        ),
    ],
)
def test_a_method_sends_its_request(
    tmp_path: Path, call: Callable[[Client], object], method: str, params: dict[str, object]
) -> None:
    requests = []

    def conversation(connection: socket.socket) -> None:
        requests.append(read_request(connection))
        connection.sendall(frame(result={}))

    with listening(tmp_path / "sock", conversation) as path, Client(path, LONG) as client:
        call(client)
    assert requests == [{"v": 1, "method": method, "params": params}]


def test_a_timeout_may_exceed_the_sockets_limit(tmp_path: Path) -> None:
    with listening(tmp_path / "sock", answering(frame(result={}))) as path, Client(path, 1e300) as client:
        client.ask(NODE_ID)


def test_leaving_the_client_hangs_up(tmp_path: Path) -> None:
    with listening(tmp_path / "sock", read_on) as path, Client(path, LONG) as client:
        client._link.connect()
        # `listening` fails where its conversation does not end.


@pytest.mark.parametrize("refusals", [1, 5])
def test_a_full_daemon_is_retried_for_a_place(tmp_path: Path, refusals: int, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(time, "sleep", pauses.append)
    path = tmp_path / "sock"
    refusal = frame(error={"code": "too-many-clients", "message": "no place"})
    requests: list[str] = []

    def serve() -> None:
        for number in range(refusals + 1):
            connection, _ = server.accept()
            with connection:
                requests.append(read_request(connection)["method"])
                connection.sendall(refusal if number < refusals else frame(result={"node_id": "a"}))

    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()
        thread = threading.Thread(target=serve)
        thread.start()
        with Client(path, LONG) as client:
            assert client.ask(NODE_ID)["node_id"] == "a"
        thread.join(LONG)
    assert requests == ["node-id"] * (refusals + 1)
    assert len(pauses) == refusals


def test_a_client_out_of_time_reports_no_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refusal = frame(error={"code": "too-many-clients", "message": "no place"})
    pauses: list[float] = []

    def oversleep(seconds: float) -> None:
        pauses.append(seconds)
        client._link.deadline = 0.0

    monkeypatch.setattr(time, "sleep", oversleep)
    with (
        listening(tmp_path / "sock", answering(refusal)) as path,
        Client(path, LONG) as client,
        pytest.raises(errors.TooManyClients, match="no place"),
    ):
        client.ask(NODE_ID)
    assert len(pauses) == 1


@pytest.mark.parametrize("min_replicas", [0, 2])
def test_enter_works_with_older_daemons(tmp_path: Path, min_replicas: int) -> None:
    path = tmp_path / "sock"
    requests: list[dict[str, Any]] = []

    def serve() -> None:
        for _ in range(2):
            connection, _ = server.accept()
            with connection:
                params = read_request(connection)["params"]
                requests.append(params)
                unknown = sorted(params.keys() - {"id", "port", "wait"})
                if unknown:
                    connection.sendall(
                        frame(error={"code": "bad-request", "message": f"enter has no parameter {unknown[0]!r}"})
                    )
                else:
                    connection.sendall(frame(result={"port": 1}))

    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()
        thread = threading.Thread(target=serve)
        thread.start()
        with Client(path, LONG) as client:
            assert client.enter("i", 1, wait=True, min_replicas=min_replicas)["port"] == 1
        thread.join(LONG)
    assert requests[1] == {"id": "i", "port": 1, "wait": True}


def test_a_bad_entry_is_refused_by_any_daemon(tmp_path: Path) -> None:
    refusal = frame(error={"code": "bad-request", "message": "no"})
    with (
        listening(tmp_path / "sock", answering(refusal)) as path,
        Client(path, LONG) as client,
        pytest.raises(errors.BadRequest, match="no"),
    ):
        client.enter("i", 1, wait=False)
