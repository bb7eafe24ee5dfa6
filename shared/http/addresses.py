"""Whom a request comes from, as far as those can tell who are trusted."""

import re
from collections.abc import Sequence
from ipaddress import IPv6Address, ip_address

from aiohttp import hdrs, web

TRUSTED_PROXY_HOPS: web.AppKey[int] = web.AppKey("TRUSTED_PROXY_HOPS", int)

UNKNOWN = "unknown"
"""The one name of all whose peer has no address, as on a Unix socket."""

_WITH_PORT = re.compile(r"\[([^]]*)\](?::[0-9]+)?|([0-9.]+):[0-9]+")


def client_address(request: web.Request) -> str:
    """As `address_of`, of the request's peer and all its X-Forwarded-For headers."""
    forwarded = request.headers.getall(hdrs.X_FORWARDED_FOR, ())
    return address_of(request.remote, forwarded, request.app[TRUSTED_PROXY_HOPS])


def address_of(peer: str | None, forwarded: Sequence[str], trusted_hops: int) -> str:
    """A name for the client's end of a network: an IPv4 address, or the /64 of an IPv6 one.

    Each trusted proxy appends the address that it was called from: the first hop from the right is
    the word of our peer, the second one that of the proxy before it, and the last one names the
    client. What is left of that anybody may have written, and nobody looks at it. Where an entry
    is missing or is no address, the one to its right counts, and right of all of them the peer.

    With fewer proxies on the way than `trusted_hops`, the client chooses its own name.
    """
    name = _name(peer or "") or UNKNOWN
    if not trusted_hops:
        return name
    # Several headers are one list (RFC 9110 section 5.2). An empty entry counts, other than there:
    # leaving it out would move the hops to the left, where the client writes.
    entries = ",".join(forwarded).rsplit(",", trusted_hops)[-trusted_hops:]
    for entry in reversed(entries):
        hop = _name(entry)
        if hop is None:
            break
        name = hop
    return name


def _name(text: str) -> str | None:
    """Some proxies append a port, and then put IPv6 in brackets; a zone is left out."""
    text = text.strip(" \t")
    with_port = _WITH_PORT.fullmatch(text)
    if with_port:
        text = with_port[1] or with_port[2] or ""
    try:
        address = ip_address(text)
    except ValueError:
        return None
    if not isinstance(address, IPv6Address):
        return str(address)
    if address.ipv4_mapped:
        return str(address.ipv4_mapped)
    # A subscriber has a /64 at least, and with it as many addresses as anybody wants.
    return f"{IPv6Address(int(address) >> 64 << 64)}/64"
