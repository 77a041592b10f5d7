"""The full database: filled by tests/scale before the service starts, and asked as its people would ask."""

import json
import time
from collections.abc import Callable
from pathlib import Path

from tests.bench.load import Load
from tests.bench.service import Service, basic, public_keys
from tests.scale.fill import TENANT, fill
from tests.scale.people import USERS, Crowd

MANY = 10_000
_CLIENT = 0  # the number of a delegation whose client is the one that serves most


def filled(scale: float, say: Callable[[str], None]) -> Callable[[str, Path], None]:
    """Return what fills the database at a URL, with an audit event for each certificate."""

    def run(url: str, master_key: Path) -> None:
        began = time.monotonic()
        fill(url, scale=scale, master_key=master_key)
        say(f"  filled with {scale * 1e6:,.0f} certificates in {time.monotonic() - began:.0f} s")

    return run


def many_users(service: Service, keys: int, scale: float) -> Load:
    """Return requests for certificates of 10,000 users with a delegation each, as one portal asks for them."""
    crowd = Crowd(TENANT, "", 0, scale, 0)
    name = crowd.client(_CLIENT)
    secret = service.api.call("POST", f"clients/{name}/secrets", service.operator, {})["secret"]
    numbers = [number for number in range(min(2 * MANY, crowd.count(USERS))) if crowd.client(number) == name]
    bodies = []
    for at, key in enumerate(public_keys(keys)):
        number = numbers[at % len(numbers)]
        who = {"user": crowd.user(number), "host": crowd.host(number), "account": crowd.account(number)}
        bodies.append(json.dumps({**who, "public_key": key}))
    return service.asking(bodies, basic(name, secret), "many-users")
