"""The parameters of the methods about values: what makes a request, and what does not."""

from __future__ import annotations

from typing import Any

import pytest

from dhtd.core.records import SEQ_MAX
from dhtd.errors import BadRequest, InvalidPublicKey, InvalidValue
from dhtd.service.methods import named
from dhtd.service.values import GET, PUT, GetRequest, PutRequest

ID, KEY, SIGNATURE = "ab" * 32, "cd" * 32, "ef" * 64
SIGNED: dict[str, Any] = {"public_key": KEY, "seq": 1, "signature": SIGNATURE}


def test_a_value_is_sought_by_its_id_or_its_key() -> None:
    assert GET.read({"id": ID}) == GetRequest(id=GET.read({"id": ID}).id)
    by_key = GET.read({"public_key": KEY.upper(), "salt": "bmV3cw==", "all": True})
    assert by_key == GetRequest(public_key=bytes.fromhex(KEY), salt=b"news", all=True)
    assert GET.read({"public_key": KEY, "salt": ""}).salt == b""


@pytest.mark.parametrize("method", ["get", "keep", "drop"])
@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "a value is found by its `id`, or by a `public_key` and a `salt`: give one of them"),
        ({"id": ID, "public_key": KEY}, "a value is found by its `id`, or by a `public_key` and a `salt`"),
        ({"id": ID, "salt": ""}, "a `salt` belongs to a `public_key`"),
        ({"public_key": KEY, "salt": "news!"}, "'salt' is text in base64, not 'news!'"),
        ({"public_key": KEY, "salt": "bmV3c"}, "'salt' is text in base64"),
    ],
)
def test_where_a_value_is_must_be_clear(method: str, given: dict[str, Any], message: str) -> None:
    with pytest.raises(BadRequest, match=message.replace("(", r"\(")):
        named(method).read(given)


@pytest.mark.parametrize("key", ["", KEY[1:], KEY + "00", "x" * 64, "\u0661" * 64])
def test_a_public_key_is_64_digits(key: str) -> None:
    with pytest.raises(InvalidPublicKey, match="is not a public key: 64 hex digits"):
        GET.read({"public_key": key})


def test_a_put_has_all_of_a_signed_value_or_none() -> None:
    plain = PUT.read({"data": "aGVsbG8="})
    assert plain == PutRequest(b"hello")
    assert PUT.read({"data": "", **SIGNED, "salt": "", "cas": 0, "keep": False}) == PutRequest(
        b"", bytes.fromhex(KEY), b"", 1, bytes.fromhex(SIGNATURE), 0, keep=False
    )
    for left_out in SIGNED:
        with pytest.raises(BadRequest, match="a signed value has a `public_key`, a `seq` and a `signature`"):
            PUT.read({"data": "", **{key: value for key, value in SIGNED.items() if key != left_out}})
    for given in ({"salt": ""}, {"cas": 1}):
        with pytest.raises(BadRequest, match="`salt` and `cas` are for a signed value"):
            PUT.read({"data": "", **given})
    with pytest.raises(BadRequest, match="a `name` is for a value that is kept"):
        PUT.read({"data": "", "name": "note", "keep": False})


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"data": "QQ==" * 1001}, "'data' is text in base64"),
        ({"data": "QUFB" * 334}, "a value has 1000 bytes at most, and this one has 1002"),
        ({"data": "", **SIGNED, "salt": "QUFB" * 22}, "a salt has 64 bytes at most, and this one has 66"),
        ({"data": "", **SIGNED, "seq": -1}, f"a seq is a number from 0 to {SEQ_MAX}, not -1"),
        ({"data": "", **SIGNED, "cas": SEQ_MAX + 1}, f"a seq is a number from 0 to {SEQ_MAX}, not {SEQ_MAX + 1}"),
        ({"data": "", **SIGNED, "signature": "ab"}, "'ab' is not a signature: 128 hex digits"),
        ({"data": "", **SIGNED, "signature": "x" * 128}, "is not a signature: 128 hex digits"),
    ],
)
def test_a_value_beyond_its_limits_is_no_request(given: dict[str, Any], message: str) -> None:
    with pytest.raises((InvalidValue, BadRequest), match=message):
        PUT.read(given)


def test_a_value_at_its_limits_is_a_request() -> None:
    request = PUT.read({"data": "QUFB" * 333 + "QQ==", **SIGNED, "salt": "QUFB" * 21 + "QQ==", "seq": SEQ_MAX})
    assert (len(request.data), len(request.salt or b""), request.seq) == (1000, 64, SEQ_MAX)
