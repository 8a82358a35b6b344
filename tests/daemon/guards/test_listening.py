"""Who listens is read from the kernel's tables."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from dhtd.daemon.guards.listening import Bound, bound_on, is_listening

HEAD = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"


def row(local: str, state: str) -> str:
    return f"   0: {local} 00000000:0000 {state} 00000000:00000000 00:00000000 00000000  1000 0 12345 1 0\n"


def tables(directory: Path, **rows: str) -> Path:
    for name, text in rows.items():
        (directory / name).write_text(HEAD + text)
    return directory


@pytest.mark.parametrize(
    ("name", "local", "state", "found"),
    [
        ("tcp", "0100007F:0050", "0A", True),
        ("tcp", "00000000:0050", "0A", True),
        ("tcp", "0100007F:0050", "01", False),  # an established connection
        ("tcp", "0100007F:0051", "0A", False),
        ("tcp6", f"{'0' * 32}:0050", "0A", True),
        ("udp", "00000000:0050", "07", True),
        ("udp", "0100007F:0050", "01", False),  # a client, which is connected to a server
        ("udp6", f"{'0' * 32}:0050", "07", True),
    ],
)
def test_a_row_tells(tmp_path: Path, name: str, local: str, state: str, *, found: bool) -> None:
    assert is_listening(80, tables(tmp_path, **{name: row("0100007F:0016", "0A") + row(local, state)})) is found


def test_without_tables_nobody_can_tell(tmp_path: Path) -> None:
    assert is_listening(80, tmp_path) is None


@pytest.mark.skipif(not Path("/proc/self/net/tcp").exists(), reason="this system lists no sockets")
@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_the_kernel_lists_our_socket(kind: socket.SocketKind, host: str) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, kind) as ours:
        ours.bind((host, 0))
        port = ours.getsockname()[1]
        if kind is socket.SOCK_STREAM:
            ours.listen()
        assert is_listening(port) is True


@pytest.mark.skipif(not Path("/proc/self/net/tcp").exists(), reason="this system lists no sockets")
@pytest.mark.parametrize("host", ["127.0.0.7", "::1", "0.0.0.0"])
@pytest.mark.parametrize(("kind", "protocol"), [(socket.SOCK_STREAM, "tcp"), (socket.SOCK_DGRAM, "udp")])
def test_the_address_of_a_socket_is_read(host: str, kind: socket.SocketKind, protocol: str) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, kind) as ours:
        ours.bind((host, 0))
        if kind is socket.SOCK_STREAM:
            ours.listen()
        bound = bound_on(ours.getsockname()[1])
    assert bound == frozenset({Bound(protocol, socket.inet_pton(family, host))})
    assert [each.is_wildcard for each in bound] == [host == "0.0.0.0"]
