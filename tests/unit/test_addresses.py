"""Whose address a request counts for: never one that its sender has made up."""

from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from shared.http.addresses import TRUSTED_PROXY_HOPS, UNKNOWN, address_of, client_address
from tests.support.servers import Answer, send, serving

PEER = "198.51.100.1"
CLIENT = "203.0.113.7"
INNER = "192.0.2.1"
GARBAGE = [
    "",
    " ",
    "unknown",
    "_hidden",
    "unix:",
    "localhost",
    "203.0.113",
    "203.0.113.256",
    "203.0.113.07",
    "203.0.113.7:",
    "203.0.113.7:http",
    "203.0.113.7/32",
    "203.0.113.7 203.0.113.8",
    "203.0.113.7\r\n 203.0.113.8",
    "\N{NO-BREAK SPACE}203.0.113.7",
    "\N{ARABIC-INDIC DIGIT ONE}.1.1.1",
    "3405803783",
    "[203.0.113.7",
    "[]",
    "[]:80",
    "[::1]:80:80",
    "[::1]x",
    ":::",
    "2001:db8::1::2",
    "::ffff:203.0.113.999",
    "2001:db8::1%a%b",
    "for=203.0.113.7",
    '"203.0.113.7"',
    "\0",
    "\udcff",
    "9" * 10_000,
    ":" * 10_000,
    "." * 10_000,
    "[" * 10_000,
]


@pytest.mark.parametrize(
    ("peer", "name"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:DB8:0001:2::", "2001:db8:1:2::/64"),
        ("::1", "::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", UNKNOWN),
        (None, UNKNOWN),
    ],
)
def test_without_a_trusted_proxy_it_is_the_peer(peer: str | None, name: str) -> None:
    assert address_of(peer, ["192.0.2.99"], 0) == name


@pytest.mark.parametrize(
    ("forwarded", "hops", "name"),
    [
        ([CLIENT], 1, CLIENT),
        ([f"192.0.2.99, {CLIENT}"], 1, CLIENT),
        (["192.0.2.99", CLIENT], 1, CLIENT),
        ([f"192.0.2.99,\t{CLIENT} ,{INNER}"], 2, CLIENT),
        (["192.0.2.99", f"{CLIENT},{INNER}"], 2, CLIENT),
        ([f"192.0.2.99,{CLIENT}", INNER], 2, CLIENT),
        ([",".join(["192.0.2.99", CLIENT, *[INNER] * 7])], 8, CLIENT),
    ],
)
def test_each_trusted_hop_is_one_entry_from_the_right(
    forwarded: list[str], hops: int, name: str
) -> None:
    assert address_of(PEER, forwarded, hops) == name


@pytest.mark.parametrize(
    ("entry", "name"),
    [
        ("203.0.113.7:443", "203.0.113.7"),
        ("[2001:db8:1:2::3]", "2001:db8:1:2::/64"),
        ("[2001:db8:1:2::3]:443", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::3", "2001:db8:1:2::/64"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("[::ffff:203.0.113.7]:443", "203.0.113.7"),
        ("fe80::1%eth0", "fe80::/64"),
    ],
)
def test_an_entry_may_have_a_port_or_a_zone(entry: str, name: str) -> None:
    assert address_of(PEER, [entry], 1) == name


@pytest.mark.parametrize(
    ("forwarded", "hops", "name"),
    [
        ([], 1, PEER),
        ([], 8, PEER),
        ([INNER], 2, INNER),
        ([INNER], 8, INNER),
        (["", INNER], 8, INNER),
    ],
)
def test_where_entries_are_missing_the_last_trusted_one_counts(
    forwarded: list[str], hops: int, name: str
) -> None:
    assert address_of(PEER, forwarded, hops) == name


@pytest.mark.parametrize("garbage", GARBAGE)
def test_where_an_entry_is_no_address_the_one_to_its_right_counts(garbage: str) -> None:
    assert address_of(PEER, [garbage], 1) == PEER
    assert address_of(PEER, [f"192.0.2.99,{garbage}"], 1) == PEER
    assert address_of(PEER, [garbage, INNER], 2) == INNER
    assert address_of(PEER, ["192.0.2.99", garbage, INNER], 2) == INNER
    assert address_of(PEER, [f"192.0.2.99,{garbage},{INNER}"], 3) == INNER


@pytest.mark.parametrize("neighbour", ["2001:db8:1:2::1", "2001:db8:1:2:ffff:ffff:ffff:ffff"])
def test_all_addresses_of_a_network_have_one_name(neighbour: str) -> None:
    assert address_of(neighbour, [], 0) == address_of("2001:db8:1:2:a:b:c:d", [], 0)
    assert address_of(neighbour, [], 0) != address_of("2001:db8:1:3::1", [], 0)


ADDRESSES = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)).map(str)
MADE_UP = st.lists(
    st.one_of(
        st.text(),
        st.sampled_from(GARBAGE),
        st.lists(ADDRESSES, max_size=4).map(", ".join),
        st.text(",. \t:[]%0123456789abcdef", max_size=60),
    ),
    max_size=4,
)


@given(made_up=MADE_UP, written=st.lists(ADDRESSES, min_size=1, max_size=8), joined=st.booleans())
def test_what_a_client_sends_in_front_changes_nothing(
    *, made_up: list[str], written: list[str], joined: bool
) -> None:
    plain = address_of(PEER, [", ".join(written)], len(written))
    forwarded = [", ".join([*made_up, *written])] if joined else [*made_up, *written]
    assert plain == address_of(written[0], [], 0)
    assert address_of(PEER, forwarded, len(written)) == plain


@given(made_up=MADE_UP)
def test_without_a_trusted_proxy_nothing_that_is_sent_counts(made_up: list[str]) -> None:
    assert address_of(PEER, made_up, 0) == PEER


@given(peer=st.none() | st.text() | ADDRESSES, made_up=MADE_UP, hops=st.integers(0, 8))
def test_there_is_always_a_short_name(peer: str | None, made_up: list[str], hops: int) -> None:
    name = address_of(peer, made_up, hops)
    assert 0 < len(name) <= len("ffff:ffff:ffff:ffff::/64")
    assert name.isascii()


async def answer_with_name(request: web.Request) -> web.Response:
    return web.Response(text=client_address(request))


@pytest.fixture
async def url() -> AsyncIterator[str]:
    app = web.Application()
    for hops in range(3):
        behind = web.Application()
        behind[TRUSTED_PROXY_HOPS] = hops
        behind.router.add_get("/", answer_with_name)
        app.add_subapp(f"/{hops}", behind)
    async with serving(app) as url:
        yield url


async def ask(url: str, hops: int, *headers: str) -> Answer:
    lines = [f"X-Forwarded-For: {header}" for header in headers]
    return await send(url, "\r\n".join([f"GET /{hops}/ HTTP/1.1", *lines]))


async def test_a_request_counts_for_its_peer(url: str) -> None:
    assert (await ask(url, 0, CLIENT)).body == b"127.0.0.1"


async def test_a_request_s_headers_are_one_list(url: str) -> None:
    assert (await ask(url, 2, "192.0.2.99", CLIENT, INNER)).body == CLIENT.encode()


async def test_a_header_that_is_not_there_is_an_empty_list(url: str) -> None:
    assert (await ask(url, 2)).body == b"127.0.0.1"


@pytest.mark.parametrize(
    "hostile",
    ["\xff\xfe", "a\r\n folded", "x" * 10_000, ", " * 4000, "\x00", "%s%n{}", "[" * 8000],
    ids=["bytes", "folded", "10 kB", "commas", "zero", "formats", "brackets"],
)
async def test_a_hostile_header_never_is_an_error_of_ours(url: str, hostile: str) -> None:
    alone = await ask(url, 1, hostile)
    in_front = await ask(url, 1, hostile, CLIENT)
    # What is no HTTP ends with a 400 before anybody looks at it.
    assert (alone.status, alone.body) == (200, b"127.0.0.1") or alone.status == 400
    assert (in_front.status, in_front.body) == (200, CLIENT.encode()) or in_front.status == 400
