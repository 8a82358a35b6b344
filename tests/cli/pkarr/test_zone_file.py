"""Zone files: what stands in a packet of them, and what is said about bad ones."""

from __future__ import annotations

import pytest

from dhtd.cli.pkarr.packet import packet_in
from dhtd.cli.pkarr.zone_file import packet_of
from dhtd.errors import InvalidValue
from tests.cli.pkarr.packets import KEY, Z32, name, packet, record

FULL = f"""; a site
$TTL 1h
@            A       192.0.2.1
             A       192.0.2.2
             AAAA    2001:db8::1
             TXT     "v=1" caf\\195\\169 ; with a comment
             MX      10 mail
www     60   IN      CNAME   @
mail    IN   2h      A       192.0.2.25
_http._tcp   SRV     0 5 80 www
             HTTPS   1 . alpn=h2 (
                     port=443 )
$ORIGIN sub
x            PTR     y
z.{Z32.upper()}.     TYPE65280 \\# 2 abcd
$ORIGIN example.org.
last.{Z32}.  CAA     0 issue "example.org"
"""
LINES = [
    "@ 3600 IN A 192.0.2.1",
    "@ 3600 IN A 192.0.2.2",
    "@ 3600 IN AAAA 2001:db8::1",
    '@ 3600 IN TXT "v=1" "caf\\195\\169"',
    "@ 3600 IN MX 10 mail",
    "www 60 IN CNAME @",
    "mail 7200 IN A 192.0.2.25",
    "_http._tcp 3600 IN SRV 0 5 80 www",
    '_http._tcp 3600 IN HTTPS 1 . alpn="h2" port="443"',
    "x.sub 3600 IN PTR y.sub",
    "z 3600 IN TYPE65280 \\# 2 abcd",
    'last 3600 IN CAA 0 issue "example.org"',
]


def made(text: str, most: int = 1_000) -> bytes:
    return packet_of(text, KEY, "zone", most)


def lines_in(data: bytes) -> list[str]:
    found = packet_in(data, KEY)
    assert found is not None
    assert (found.foreign, found.unreadable) == (0, 0)
    return found.lines()


def test_a_packet_is_an_answer_under_the_key() -> None:
    data = made("$TTL 300\n@ A 192.0.2.1\nwww A 192.0.2.2\n")
    owner = name("@")
    www = b"\x03www\xc0\x0c"  # compressed, since the key takes 53 bytes
    assert data == packet(record(owner, 1, bytes([192, 0, 2, 1])), record(www, 1, bytes([192, 0, 2, 2])))


def test_the_records_are_those_of_the_file() -> None:
    assert lines_in(made(FULL)) == LINES


def test_shown_records_are_a_zone_file() -> None:
    data = made(FULL)
    assert made("\n".join(lines_in(data))) == data


def test_one_file_is_one_packet() -> None:
    text = "$TTL 300\n" + "".join(f"@ A 192.0.2.{number}\n" for number in range(20))
    assert len({made(text) for _ in range(5)}) == 1


@pytest.mark.parametrize("text", ["", "\n\n; nothing\n", "$TTL 60\n"])
def test_a_file_without_records_is_an_empty_packet(text: str) -> None:
    assert made(text) == packet()


def test_names_have_the_case_of_the_key() -> None:
    """Readers compare it by its bytes."""
    assert made(f"WWW.{Z32.upper()}. 60 A 192.0.2.1\n") == packet(
        record(name("WWW.@"), 1, bytes([192, 0, 2, 1]), ttl=60)
    )


def test_names_may_be_in_any_script() -> None:
    assert lines_in(made("caf\u00e9 60 A 192.0.2.1\r\n")) == ["xn--caf-dma 60 IN A 192.0.2.1"]


@pytest.mark.parametrize("ttl", [0, 1, 2**31 - 1])
def test_a_ttl_has_31_bits(ttl: int) -> None:
    assert lines_in(made(f"@ {ttl} A 192.0.2.1")) == [f"@ {ttl} IN A 192.0.2.1"]


def test_a_packet_of_the_limit_is_made() -> None:
    rest = "x" * (1_000 - len(made('@ 60 TXT ""')) - 3 * 256)
    text = "@ 60 TXT " + " ".join(["x" * 255] * 3) + f" {rest}"
    assert len(made(text)) == 1_000
    with pytest.raises(
        InvalidValue, match=r"^zone: the records take 1001 bytes, 1 byte more than the 1000 of a value$"
    ):
        made(text + "y")
    with pytest.raises(InvalidValue, match="1000 bytes, 4 bytes more than the 996 of a value"):
        made(text, 996)


def test_records_beyond_all_packets_are_refused() -> None:
    with pytest.raises(InvalidValue, match="zone: a packet has 1000 bytes at most, and this one 65535 and more"):
        made("".join(f"@ 60 TXT {' '.join([f'{number:0255}'] * 10)}\n" for number in range(30)))


def test_a_long_file_is_read_no_further() -> None:
    with pytest.raises(InvalidValue, match="zone:501: more than 500 records do not fit into a value"):
        made("".join(f"a{number} 60 A 192.0.2.1\n" for number in range(3_000)))


TTL = "a TTL is a number of seconds from 0 to 2147483647"
MALFORMED = "this is not NAME TTL TYPE DATA, or the data are not of the type"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("www.example.org. A 192.0.2.1", f"www.example.org. is not under the key: its names end in {Z32}."),
        (f"{'y' * 52}. A 192.0.2.1", "is not under the key"),
        (f"x{Z32}. A 192.0.2.1", "is not under the key"),
        ("$ORIGIN example.org.\nwww A 192.0.2.1", "www.example.org. is not under the key"),
        ("@ 2147483648 A 192.0.2.1", TTL),
        ("@ 4294967296 A 192.0.2.1", TTL),
        ("@ -1 A 192.0.2.1", TTL),
        ("$TTL 2147483648\n@ A 192.0.2.1", TTL),
        ("$TTL 4294967296", TTL),
        ("$TTL soon", TTL),
        ("@ CH TXT a", "the class of a record is IN, and no other"),
        ("@ ANY A 192.0.2.1", "the class of a record is IN, and no other"),
        ("@ OPT \\# 0", "OPT is for questions, and no record"),
        ("@ AXFR \\# 0", "AXFR is for questions, and no record"),
        ("@ A 192.0.2.999", MALFORMED),
        ("@ 300", MALFORMED),
        ("@ TLSA 3 1 1 abc", f"{MALFORMED}: Odd-length string"),
        ("@ APL 1", f"{MALFORMED}: not enough values"),
        ("@ TYPE65280 abcd", MALFORMED),
        ("@ \x1b[2J 1", "unknown rdatatype '?[2J'"),
        ("@ BLA 1", "unknown rdatatype 'BLA'"),
        ("$INCLUDE /etc/hostname", "zone file directive '$INCLUDE' is not allowed"),
        ("$GENERATE 1-9999999 a$ A 192.0.2.1", "zone file directive '$GENERATE' is not allowed"),
        ("a..b A 192.0.2.1", "A DNS label is empty."),
        (f"{'a' * 64} A 192.0.2.1", "A DNS label is > 63 octets long."),
        (f"{'a.' * 120}b A 192.0.2.1", "A DNS name is > 255 octets long."),
        ("caf\u00e9\u0000 A 192.0.2.1", "IDNA"),
        ("@ TXT ( a", "unbalanced parentheses"),
        ('@ TXT "a', "Text input ended unexpectedly."),
        ("@ TXT " + "a" * 256, "string too long"),
        ("a CNAME b\na A 192.0.2.1", "a name with a CNAME record has no other records"),
        ("a A 192.0.2.1\na CNAME b", "a name with a CNAME record has no other records"),
        ("a SOA b c 1 2 3 4 5", "a SOA record stands at @ alone"),
    ],
)
def test_a_bad_line_is_told_with_its_number(line: str, message: str) -> None:
    before = "$TTL 300\n@ TXT ( two\n lines )\n\n"
    for after in ("", "\n", "\n\n\nz A 192.0.2.1\n"):
        with pytest.raises(InvalidValue) as told:
            made(before + line + ("" if "( a" in line or '"a' in line else after))
        assert str(told.value).startswith(f"zone:{5 + line.count(chr(10))}: ")
        assert message in str(told.value)


def test_a_record_without_a_ttl_is_refused() -> None:
    with pytest.raises(InvalidValue, match=r"^zone:1: the record has no TTL, and none is above it"):
        made("@ A 192.0.2.1\n")
    assert lines_in(made("@ 60 A 192.0.2.1\nb A 192.0.2.1")) == ["@ 60 IN A 192.0.2.1", "b 60 IN A 192.0.2.1"]
