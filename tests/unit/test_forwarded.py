"""Whose address counts: the peer's, unless a proxy that the operator named says otherwise."""

from ipaddress import ip_network

import pytest
from aiohttp.test_utils import make_mocked_request

from tms_ca.http.middleware import _client_address

PROXIES = (ip_network("10.0.0.0/24"),)


class _From:
    """A connection from an address, as aiohttp asks its transport."""

    def __init__(self, address: str) -> None:
        self._address = address

    def get_extra_info(self, name: str, default=None):
        return (self._address, 40000) if name == "peername" else default


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
        ("10.0.0.5", None, PROXIES, "10.0.0.5"),
    ],
)
def test_the_address(peer, forwarded, trusted, address):
    headers = {} if forwarded is None else {"X-Forwarded-For": forwarded}
    request = make_mocked_request("GET", "/", headers=headers, transport=_From(peer))
    assert _client_address(request, trusted) == address
