"""Requests: what is sent, what is tried again, and what is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from dhtd.api.connection import LINE_MAX, Connection, Daemon
from dhtd.api.dht import Dht
from dhtd.api.names import Endpoint, Id
from dhtd.api.reading import read
from dhtd.api.results import Stats
from dhtd.api.waits import finish
from dhtd.errors import (
    ConfigError,
    DaemonTimeout,
    DaemonUnreachable,
    DhtdError,
    NoPong,
    NotTracked,
    SocketUnusable,
    TooManyClients,
)
from tests.api.fakes import (
    NODE,
    FakeDaemon,
    VirtualWaits,
    asking,
    error,
    event,
    goes_away,
    hangs,
    hangs_up,
    result,
    says,
)

PONG = {"node_id": "5a" * 32, "endpoint": "127.0.0.1:1729", "rtt_ms": 1}
DELETION = {
    "id": "5a" * 32,
    "name": None,
    "removed": [80],
    "withdrawn": 0,
    "pending": 0,
    "left_behind": [],
    "declared": [],
    "kept": None,
    "value": False,
}


def test_a_result_is_typed(tmp_path: Path) -> None:
    with asking(tmp_path, says(result(**PONG))) as (dht, daemon, _):
        pong = finish(dht.ping("127.0.0.1:1729"))
        assert (pong.node_id, pong.endpoint, pong.rtt_ms) == (Id("5a" * 32), Endpoint("127.0.0.1", 1729), 1.0)
        assert daemon.requests == [{"v": 1, "method": "ping", "params": {"endpoint": "127.0.0.1:1729"}}]


def test_an_error_is_of_its_class(tmp_path: Path) -> None:
    with asking(tmp_path, says(error("no-pong", "silence"))) as (dht, _, _), pytest.raises(NoPong, match="silence"):
        finish(dht.ping("127.0.0.1:1729"))


def test_the_code_of_a_newer_daemon_is_an_error(tmp_path: Path) -> None:
    with asking(tmp_path, says(error("brand-new"))) as (dht, _, _), pytest.raises(DhtdError, match="because"):
        finish(dht.status())


def test_without_a_daemon_the_block_fails_at_once(tmp_path: Path) -> None:
    daemon = FakeDaemon(tmp_path / "sock")
    daemon.stop()
    waits = VirtualWaits(daemon)
    dht = Dht(Daemon(daemon.path, 10.0, "dhtd start --instance x"), waits, None)
    with pytest.raises(DaemonUnreachable, match=r"nobody listens on .* Start one: dhtd start --instance x"):
        finish(dht.__aenter__())
    daemon.path.unlink()
    with pytest.raises(DaemonUnreachable, match="there is no socket"):
        finish(dht.__aenter__())
    assert waits.slept == []


def test_a_daemon_of_another_network_is_refused(tmp_path: Path) -> None:
    daemon = FakeDaemon(tmp_path / "sock")
    dht = Dht(Daemon(daemon.path, 10.0, "dhtd start"), VirtualWaits(daemon), "mainline")
    with pytest.raises(ConfigError, match="is in the native network, and not in the mainline network"):
        finish(dht.__aenter__())
    daemon.stop()


def test_a_path_too_long_for_a_socket_says_so(tmp_path: Path) -> None:
    daemon = FakeDaemon(tmp_path / "sock")
    dht = Dht(Daemon(tmp_path / ("x" * 200), 10.0, ""), VirtualWaits(daemon), None)
    with pytest.raises(SocketUnusable, match="too long a path for a socket: use socket="):
        finish(dht.__aenter__())
    daemon.stop()


def test_a_request_waits_for_a_daemon_that_restarts(tmp_path: Path) -> None:
    with asking(tmp_path, goes_away(), says(result(**PONG))) as (dht, daemon, waits):
        waits.at_sleep.extend([lambda: None, daemon.start])
        assert finish(dht.ping("127.0.0.1:1729")).rtt_ms == 1.0
        assert waits.slept == [0.05, 0.1]


def test_a_request_waits_no_longer_than_its_timeout(tmp_path: Path) -> None:
    with asking(tmp_path, goes_away(), timeout=1.0) as (dht, _, waits):
        with pytest.raises(DaemonUnreachable):
            finish(dht.ping("127.0.0.1:1729"))
        assert waits.slept == [0.05, 0.1, 0.2, 0.4]


def test_what_may_not_be_done_twice_is_not_sent_twice(tmp_path: Path) -> None:
    with asking(tmp_path, goes_away()) as (dht, daemon, waits):
        with pytest.raises(DaemonUnreachable, match="closed the connection"):
            finish(dht.delete("wiki"))
        assert (len(daemon.requests), waits.slept) == (1, [])


def test_what_was_not_sent_is_tried_again_in_any_case(tmp_path: Path) -> None:
    with asking(tmp_path, says(result(**DELETION))) as (dht, daemon, waits):
        daemon.stop()
        waits.at_sleep.append(daemon.start)
        assert finish(dht.delete("wiki")).removed == (80,)
        assert len(daemon.requests) == 1


def test_a_daemon_without_a_place_is_asked_again(tmp_path: Path) -> None:
    full = hangs_up(error("too-many-clients", "full"))
    with asking(tmp_path, full, full, says(error("not-tracked"))) as (dht, daemon, waits):
        with pytest.raises(NotTracked):
            finish(dht.delete("wiki"))
        assert (len(daemon.requests), len(waits.slept)) == (3, 2)


def test_a_daemon_that_never_has_a_place_says_so(tmp_path: Path) -> None:
    full = hangs_up(error("too-many-clients", "full"))
    with asking(tmp_path, *[full] * 10, timeout=1.0) as (dht, _, _), pytest.raises(TooManyClients, match="full"):
        finish(dht.status())


def test_a_daemon_that_hangs_meets_the_timeout(tmp_path: Path) -> None:
    with asking(tmp_path, hangs, timeout=3.0) as (dht, daemon, waits):
        with pytest.raises(DaemonTimeout, match="within 3 s: give it longer with timeout="):
            finish(dht.status())
        assert waits.now() == 3.0
        daemon.turn()
        assert daemon.clients == []


@pytest.mark.parametrize("line", [b"HTTP/1.1 400 Bad Request\r\n", b"[]\n", b'{"event": 7}\n', b"\xff\n"])
def test_what_is_not_dhtd_is_named_at_once(tmp_path: Path, line: bytes) -> None:
    with asking(tmp_path, says(line)) as (dht, _, waits):
        with pytest.raises(DaemonUnreachable, match="is not dhtd"):
            finish(dht.status())
        assert waits.slept == []


def test_a_line_without_end_is_not_read_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert LINE_MAX > 1 << 20
    monkeypatch.setattr("dhtd.api.connection.LINE_MAX", 1000)
    with asking(tmp_path, says(b"x" * 1001)) as (dht, _, _), pytest.raises(DaemonUnreachable, match="is not dhtd"):
        finish(dht.status())


def test_long_answers_are_read_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dhtd.api.connection.RECEIVE", 7)
    nodes = [{"id": "5a" * 32, "endpoint": f"127.0.0.1:{port}"} for port in range(1, 100)]
    answer = {"node_id": "5a" * 32, "token": "00", "nodes": nodes, "peers": ["[::1]:80"], "newer": 1}
    with asking(tmp_path, says(event(**answer), result(**answer))) as (dht, _, _):
        found = finish(dht.find_value("127.0.0.1:1", Id("5a" * 32)))
        assert (len(found.nodes), found.peers) == (99, (Endpoint("::1", 80),))


@pytest.mark.parametrize(
    "body",
    [{}, {**PONG, "rtt_ms": "fast"}, {**PONG, "endpoint": 7}, {**PONG, "node_id": None}, {**PONG, "rtt_ms": True}],
)
def test_a_result_of_another_shape_is_an_error(tmp_path: Path, body: dict[str, object]) -> None:
    with asking(tmp_path, says(result(**body))) as (dht, _, _), pytest.raises(DhtdError, match="of another version"):
        finish(dht.ping("127.0.0.1:1729"))


def test_what_an_older_daemon_does_not_know_is_none(tmp_path: Path) -> None:
    body = {"hops": 1, "queries": 1, "responses": 1, "timeouts": 0, "elapsed_ms": 1}
    assert read(Stats, body).first_ms is None
    with pytest.raises(DhtdError, match="does not tell 'hops'"):
        read(Stats, {})


def test_the_parts_of_info_are_joined(tmp_path: Path) -> None:
    parts = event(store=[{"id": "a"}]), event(store=[{"id": "b"}]), result(store=[])
    with asking(tmp_path, says(*parts)) as (dht, daemon, _):
        assert dict(finish(dht.info("store"))) == {"store": [{"id": "a"}, {"id": "b"}]}
        assert daemon.requests[0]["params"] == {"section": "store"}


def test_a_client_outside_its_block_says_so(tmp_path: Path) -> None:
    with asking(tmp_path) as (dht, _, _):
        pass
    with pytest.raises(RuntimeError, match="not connected"):
        finish(dht.status())
    with pytest.raises(RuntimeError, match="not connected"):
        Dht(dht.daemon, dht.waits, None).key("wiki")


def test_a_client_is_in_one_block_at_a_time(tmp_path: Path) -> None:
    with asking(tmp_path) as (dht, _, _), pytest.raises(RuntimeError, match="in use already"):
        finish(dht.__aenter__())


def test_the_block_closes_what_is_open(tmp_path: Path) -> None:
    with asking(tmp_path) as (dht, _, _):
        connection = dht.connection()
        finish(connection.ask("status", {}, 10.0))
    assert connection.is_closed
    with pytest.raises(RuntimeError, match="closed"):
        connection.arrived()


@pytest.mark.parametrize(
    "call",
    [
        lambda dht: dht.lookup(7),
        lambda dht: dht.watch("wiki", b"bytes"),
        lambda dht: dht.watch(),
        lambda dht: dht.serve(None, 80),
        lambda dht: finish(dht.enter(1.5, 80)),
        lambda dht: finish(dht.get("5a" * 32)),
        lambda dht: finish(dht.put("text")),
        lambda dht: finish(dht.put(b"data", cas=1)),
        lambda dht: finish(dht.enter("wiki", object())),
    ],
)
def test_an_argument_of_a_wrong_type_is_a_type_error(tmp_path: Path, call: object) -> None:
    with asking(tmp_path) as (dht, daemon, _):
        with pytest.raises(TypeError):
            call(dht)  # type: ignore[operator]
        assert daemon.requests == []


def test_a_connection_that_is_garbage_is_closed(tmp_path: Path) -> None:
    with asking(tmp_path, hangs) as (dht, daemon, _):
        connection: Connection | None = dht.connection()
        assert connection is not None
        finish(connection.ask("status", {}, 10.0))
        daemon.turn()
        del connection
        daemon.turn()
        assert daemon.clients == []


def test_the_daemon_is_asked_for_its_id_first(tmp_path: Path) -> None:
    with asking(tmp_path) as (dht, _, _):
        assert (dht.network, len(NODE["node_id"])) == ("native", 64)
