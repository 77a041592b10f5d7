"""HEAD is GET without its body (RFC 9110 section 9.3.2): the same rights, the same head, nothing behind it."""

from tests.api.bodies import credential, path_of
from tests.api.test_contract import problem
from tests.load.wire import exchange, parse
from tms_ca.core.access import Action
from tms_ca.http.routes import ENDPOINTS

GETS = [endpoint for endpoint in ENDPOINTS if endpoint.method == "GET"]
# What these say may change between two calls: they tell of the process itself, or are made anew.
MOVING = {"get_metrics", "get_readiness", "metrics", "readyz"}


async def test_H_06_where_get_is_answered_so_is_head(world):
    assert len(GETS) > 30
    good = 0
    for endpoint in GETS:
        path, auth = path_of(world, endpoint), credential(world, endpoint)
        whole, head = await world.call("GET", path, auth=auth), await world.call("HEAD", path, auth=auth)
        assert (head.status, head.body) == (whole.status, b""), endpoint.name
        for name in ("Content-Type", "Cache-Control", "ETag", "Content-Security-Policy"):
            assert head.headers.get(name) == whole.headers.get(name), (endpoint.name, name)
        if endpoint.name not in MOVING:
            assert head.headers["Content-Length"] == whole.headers["Content-Length"], endpoint.name
        good += whole.status == 200
    assert good > 20


async def test_H_06_head_needs_what_get_needs(world):
    for endpoint in GETS:
        if endpoint.needs is not Action.PUBLIC:
            refused = await world.call("HEAD", path_of(world, endpoint))
            assert (refused.status, refused.body) == (401, b""), endpoint.name


async def test_H_06_nothing_follows_the_head(world):
    krl = f"HEAD /api/v1/tenants/{world.tenant}/krl HTTP/1.1\r\nHost: x\r\n\r\n"
    last = "GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    first = parse(await exchange(world.base.port, (krl + last).encode()), head=True)
    assert first.status == 200
    assert int(first.headers["content-length"]) > 40
    second = parse(first.rest)
    assert (second.status, second.rest) == (200, b"")


async def test_H_06_head_is_not_for_what_has_no_get(world):
    for endpoint in ENDPOINTS:
        if not any(one.path == endpoint.path for one in GETS):
            refused = await world.call("HEAD", path_of(world, endpoint), auth=credential(world, endpoint))
            assert refused.status == 405, endpoint.name
            assert "HEAD" not in refused.headers["Allow"]
    problem(await world.call("POST", "krl"), 405)  # whose Allow names both
    assert (await world.call("POST", "krl")).headers["Allow"] == "GET,HEAD"
