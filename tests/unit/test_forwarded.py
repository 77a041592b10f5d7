"""Whose address counts: the peer's, unless a proxy that the operator named says otherwise."""

import asyncio
from ipaddress import ip_network

import pytest
from multidict import CIMultiDict, CIMultiDictProxy

from tms_ca.http.context import Context
from tms_ca.http.middleware import Around
from tms_ca.http.middleware import forwarded as fields_of
from tms_ca.observe import Log

PROXIES = (ip_network("10.0.0.0/24"),)


@pytest.mark.parametrize(
    ("peer", "forwarded", "trusted", "address"),
    [
        ("192.0.2.1", None, (), "192.0.2.1"),
        ("192.0.2.1", "198.51.100.7", (), "192.0.2.1"),  # nobody is trusted
        ("192.0.2.1", "198.51.100.7", PROXIES, "192.0.2.1"),  # not a proxy of ours
        ("10.0.0.5", "198.51.100.7", PROXIES, "198.51.100.7"),
        ("10.0.0.5", "1.2.3.4, 198.51.100.7", PROXIES, "198.51.100.7"),  # what the client wrote does not count
        ("10.0.0.5", "198.51.100.7, 10.0.0.6", PROXIES, "198.51.100.7"),  # two proxies of ours
        ("10.0.0.5", "garbage", PROXIES, "garbage"),
        ("10.0.0.5", "1.2.3.4|198.51.100.7", PROXIES, "198.51.100.7"),  # a field of the client's, one of the proxy's
        ("10.0.0.5", "198.51.100.7|10.0.0.6", PROXIES, "198.51.100.7"),
        ("10.0.0.5", None, PROXIES, "10.0.0.5"),
    ],
)
def test_the_address(peer, forwarded, trusted, address):
    headers = CIMultiDict(("X-Forwarded-For", one) for one in (forwarded or "").split("|") if one)
    context = Context(**dict.fromkeys(Context.__slots__))
    around = Around(context, Log(), trusted, asyncio.Event(), tls=False)
    assert around.address((peer, 40000), fields_of(CIMultiDictProxy(headers))) == address
