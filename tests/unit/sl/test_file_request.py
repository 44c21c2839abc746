"""Request heads and ranges, good and hostile."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.sl.core.file_request import Method, RequestError, parse_request, span_of

DIGEST = "0123456789abcdef" * 4
TARGET = f"/v1/models/{DIGEST}"


def head(first: str, *fields: str) -> bytes:
    return "\r\n".join([first, "Host: peer", *fields, "", ""]).encode("latin-1")


def status_of(data: bytes) -> int:
    with pytest.raises(RequestError) as caught:
        parse_request(data)
    return caught.value.http_status


def test_get_head_and_put():
    request = parse_request(head(f"GET {TARGET} HTTP/1.1"))
    assert (request.method, request.digest, request.span) == (Method.GET, DIGEST, None)
    assert not request.close
    assert parse_request(head(f"HEAD {TARGET} HTTP/1.1", "Connection: Close")).close
    put = parse_request(
        head(f"PUT {TARGET} HTTP/1.1", "content-length: 12", "Expect: 100-Continue")
    )
    assert (put.method, put.length, put.expects_continue) == (Method.PUT, 12, True)


def test_range_counts_only_while_the_tag_is_the_same():
    line = f"GET {TARGET} HTTP/1.1"
    assert parse_request(head(line, "Range: bytes=1-", f'If-Range: "{DIGEST}"')).span == "bytes=1-"
    assert parse_request(head(line, "Range: bytes=1-", 'If-Range: "other"')).span is None


@pytest.mark.parametrize(
    "target",
    [
        "/", "/v1/models/", f"{TARGET}/", f"{TARGET}?x", f"/v1/models//{DIGEST}",
        f"/v1/models/{DIGEST.upper()}", f"/v1/models/{DIGEST[:-1]}", "/v1/models/../../etc/passwd",
        "/etc/passwd", "//etc/passwd", "/v1/models/%2e%2e%2fetc%2fpasswd",
        f"/v1/models/%30{DIGEST[1:]}", f"{TARGET}%00", f"https://peer{TARGET}", "*",
    ],
)  # fmt: skip
def test_any_other_address_is_not_found(target):
    assert status_of(head(f"GET {target} HTTP/1.1")) == 404


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"\r\n\r\n", 400),
        (b"hello\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\r\n\r\n", 400),
        (head(f"GET  {TARGET} HTTP/1.1"), 400),
        (head(f"GET /v1/models/{DIGEST[:10]}\0{DIGEST[11:]} HTTP/1.1"), 404),
        (head(f"GET {TARGET} HTTP/1.0"), 505),
        (head(f"GET {TARGET} HTTP/2.0"), 505),
        (head(f"POST {TARGET} HTTP/1.1"), 405),
        (head(f"DELETE {TARGET} HTTP/1.1"), 405),
        (head(f"get {TARGET} HTTP/1.1"), 405),
        (head(f"GET {TARGET} HTTP/1.1", "Content-Length: 3"), 413),
        (head(f"GET {TARGET} HTTP/1.1", "Transfer-Encoding: chunked"), 411),
        (head(f"PUT {TARGET} HTTP/1.1"), 411),
        (head(f"PUT {TARGET} HTTP/1.1", "Content-Length: -1"), 411),
        (head(f"PUT {TARGET} HTTP/1.1", "Content-Length: 1e3"), 411),
        (head(f"PUT {TARGET} HTTP/1.1", "Content-Length: " + "9" * 19), 411),
        (head(f"GET {TARGET} HTTP/1.1", "no colon"), 400),
        (head(f"GET {TARGET} HTTP/1.1", " folded: x"), 400),
        (head(f"GET {TARGET} HTTP/1.1", "X: a\nY: b"), 400),
        (head(f"GET {TARGET} HTTP/1.1", "X: \0"), 400),
        (head(f"GET {TARGET} HTTP/1.1", "Range : bytes=0-1"), 400),
        (head(f"GET {TARGET} HTTP/1.1", "Range: bytes=0-1", "range: bytes=2-3"), 400),
        (f"GET {TARGET} HTTP/1.1\r\n\r\n".encode(), 400),  # no Host
    ],
)
def test_bad_heads(data, status):
    assert status_of(data) == status


@given(st.binary(max_size=200))
def test_garbage_is_refused_and_nothing_else(data):
    with pytest.raises(RequestError):
        parse_request(data + b"\r\n\r\n")


@pytest.mark.parametrize(
    ("value", "span"),
    [
        (None, None),
        ("items=0-1", None),
        ("bytes=0-0", (0, 1)),
        ("bytes=0-99", (0, 100)),
        ("bytes=90-", (90, 100)),
        ("bytes=90-5000", (90, 100)),
        ("bytes=-1", (99, 100)),
        ("bytes=-5000", (0, 100)),
        ("Bytes = 3-4", (3, 5)),
    ],
)
def test_ranges(value, span):
    assert span_of(value, 100) == span


@pytest.mark.parametrize(
    "value",
    ["bytes=", "bytes=-", "bytes=a-b", "bytes=5-4", "bytes=100-", "bytes=-0", "bytes=0-1,3-4",
     "bytes=0-1-2", "bytes= 1-2x", "bytes=" + "9" * 19 + "-", "bytes=--1"],
)  # fmt: skip
def test_ranges_that_cannot_be_satisfied(value):
    with pytest.raises(RequestError) as caught:
        span_of(value, 100)
    assert caught.value.http_status == 416


def test_no_range_of_an_empty_file():
    with pytest.raises(RequestError):
        span_of("bytes=0-", 0)


def test_the_codings_that_a_client_offers():
    head = f"GET /v1/models/{'0' * 64} HTTP/1.1\r\nHost: x\r\n"
    assert parse_request(f"{head}Accept-Encoding: gzip, Swarm-ZSTD\r\n\r\n".encode()).accepts == (
        "gzip",
        "swarm-zstd",
    )
