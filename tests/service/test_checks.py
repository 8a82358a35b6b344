"""Checks are read from their texts, and the text comes back."""

from __future__ import annotations

import pytest

from dhtd.errors import InvalidCheck
from dhtd.service.checks import CHECK_MAX, ExecCheck, HttpCheck, TcpCheck, parse_check


@pytest.mark.parametrize(
    ("text", "check"),
    [
        ("tcp", TcpCheck()),
        ("http://127.0.0.1:80/health", HttpCheck("127.0.0.1", 80, "/health")),
        ("http://localhost:8080/a%20b?c=d", HttpCheck("localhost", 8080, "/a%20b?c=d")),
        ("http://[::1]:81/", HttpCheck("::1", 81, "/")),
        ("exec /bin/true", ExecCheck("exec /bin/true", ("/bin/true",))),
        ("exec " + "a" * (CHECK_MAX - 5), ExecCheck("exec " + "a" * (CHECK_MAX - 5), ("a" * (CHECK_MAX - 5),))),
        ("exec a 'b c' \"d\"", ExecCheck("exec a 'b c' \"d\"", ("a", "b c", "d"))),
    ],
)
def test_a_check_is_read_and_written(text: str, check: object) -> None:
    assert parse_check(text) == check
    assert str(check) == text


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("http://127.0.0.1", "http://127.0.0.1:80/"),
        ("http://LOCALHOST:1?q", "http://localhost:1/?q"),
        ("http://[0:0::1]/x#part", "http://[::1]:80/x"),
        ("http://127.0.0.1/HEALTH", "http://127.0.0.1:80/HEALTH"),
    ],
)
def test_an_address_has_one_spelling(text: str, written: str) -> None:
    assert str(parse_check(text)) == written
    assert parse_check(written) == parse_check(text)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is not a check: give tcp, http://127.0.0.1:PORT/PATH or exec COMMAND"),
        ("TCP", "is not a check"),
        ("tcp ", "is not a check"),
        ("tcp:80", "is not a check"),
        ("udp", "is not a check"),
        ("/bin/true", "is not a check"),
        ("https://127.0.0.1/", "is not made: give an http:// address"),
        ("http:", "names no host"),
        ("http:127.0.0.1", "names no host"),
        ("http:///x", "names no host"),
        ("http ", "names no host"),
        ("http://127.0.0.1:0/", "is not a web address"),
        ("http://127.0.0.1:65536/", "is not a web address"),
        ("http://127.0.0.1:x/", "is not a web address"),
        ("http://[::1/", "is not a web address"),
        ("http://[fe80::1%25eth0]/", "is neither localhost nor an IP address"),
        ("http://example.org/", "'example.org' is neither localhost nor an IP address of this machine"),
        ("http://127.1/", "is neither localhost nor an IP address"),
        ("http://user@127.0.0.1/", "sends no password"),
        ("http://user:secret@127.0.0.1/", "sends no password"),
        ("http://127.0.0.1/a b", "as %20"),
        ("http://127.0.0.1/é", "as %20"),
        ("http://127.0.0.1/\r\nHost: x", "cannot be printed"),
        ("tcp\0", "cannot be printed"),
        ("exec \udcff", "cannot be printed"),
        ("exec", "the check exec has no command"),
        ("exec   ", "the check exec has no command"),
        ("exec ''", "the check exec has no command"),
        ("exec 'a", "cannot be read: no closing quotation"),
        ("exec " + "a" * CHECK_MAX, f"{CHECK_MAX} characters at most, and this one has {CHECK_MAX + 5}"),
    ],
)
def test_what_is_no_check_is_refused(text: str, reason: str) -> None:
    with pytest.raises(InvalidCheck) as refusal:
        parse_check(text)
    assert reason in str(refusal.value)
    assert (refusal.value.code, refusal.value.exit_status) == ("invalid-check", 2)
