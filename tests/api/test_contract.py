"""Every endpoint has the same manners: strict bodies, problems with a code, nothing of the inside in any answer."""

import copy
import json
import re
from itertools import product
from urllib.parse import quote

from tests.api.bodies import BY_NAME, WITH_BODY, ask, credential, good_bodies, path_of
from tms_ca.http.middleware import HEADERS
from tms_ca.http.routes import ENDPOINTS

PROBLEM = "application/problem+json"
CODE = re.compile(r"[a-z][a-z0-9_]*")
INSIDE = re.compile(
    r"Traceback|File \"|\.py\b|sqlalchemy|sqlite|asyncpg|postgres|SELECT |INSERT |aiohttp|marshmallow|Python/|/work/|/tmp/",
    re.IGNORECASE,
)
# Where a good body has fields that have to fit together, one alone is refused for that.
NEEDS_OTHERS = {"revoke": "reason"}


def problem(reply, status, code=None):
    """Insist on a problem in full."""
    assert reply.status == status, (reply.status, reply.json or reply.body)
    assert reply.headers["Content-Type"].partition(";")[0] == PROBLEM
    assert set(reply.json) >= {"type", "title", "status", "code", "detail", "request_id"}
    assert reply.json["status"] == status
    assert CODE.fullmatch(reply.json["code"])
    assert reply.json["type"] == f"urn:tms:problem:{reply.json['code']}"
    assert reply.json["request_id"] == reply.headers["X-Request-ID"]
    assert reply.headers["Server"] == HEADERS["Server"] == "tms-ca"
    assert reply.headers["Cache-Control"] == "no-store"
    assert not INSIDE.search(reply.body.decode()), reply.body
    assert code is None or reply.code == code, reply.json


def test_every_endpoint_is_described_and_named_once():
    names = [endpoint.name for endpoint in ENDPOINTS]
    assert len(names) == len(set(names))
    for endpoint in ENDPOINTS:
        summary = endpoint.text.strip().partition("\n")[0]
        assert len(summary) > 6, endpoint.name
        assert summary.endswith("."), endpoint.name


async def test_every_body_has_a_good_example(world):
    world_bodies = good_bodies(world)
    assert set(world_bodies) == {endpoint.name for endpoint in WITH_BODY}
    for endpoint in WITH_BODY:
        given = set(world_bodies[endpoint.name])
        missing = set(endpoint.body.fields) - given
        selectors = {"serial", "public_key_fingerprint", "user", "client_id", "delegation_id", "host", "ca_fingerprint"}
        # One of several, or in another's place.
        others = {"revoke": selectors, "create_reservation": {"parent_id"}, "open_login": {"public_key"}}
        assert missing == others.get(endpoint.name, set()), endpoint.name
        endpoint.body.load(world_bodies[endpoint.name])


async def test_A_07_unknown_fields_are_refused_by_name(world):
    """Every field of every answer, and some that would be worth having, in every body that does not document it."""
    bodies = good_bodies(world)
    tempting = {"tenant", "id", "expires_at", "role", "uses", "enabled", "epoch", "created_at", "__proto__", "secret"}
    returned = {name for endpoint in ENDPOINTS if endpoint.returns for name in endpoint.returns.fields}
    tried = 0
    for endpoint in WITH_BODY:
        undocumented = (returned | tempting) - set(endpoint.body.fields)
        body = {**bodies[endpoint.name], **dict.fromkeys(undocumented, "x")}
        refused = await ask(world, endpoint, json=body)
        problem(refused, 400, "invalid_request")
        assert undocumented <= set(refused.json["fields"]), endpoint.name
        tried += len(undocumented)
        problem(await ask(world, endpoint, json={**bodies[endpoint.name], "surplus": 1}), 400, "invalid_request")
    print(f"{tried} fields, 0 taken")
    assert tried > 500


async def test_wrong_types_are_refused_by_name(world):
    bodies = good_bodies(world)
    wrong = [True, 7, 1.5, [], {}, "7", None, [None], [7], [[]], {"a": 1}, 10**30, -(2**63) - 1, "\ud83d\ude00"]
    for endpoint in WITH_BODY:
        for name, good in bodies[endpoint.name].items():
            kinds = {type(good)} | ({str} if isinstance(good, str) else set())
            for value in wrong:
                if type(value) in kinds or (isinstance(good, list) and value == []):
                    continue
                if value is None and getattr(endpoint.body.fields[name], "allow_none", False):
                    continue
                if isinstance(good, dict) and value == {}:
                    continue
                refused = await ask(world, endpoint, json={**bodies[endpoint.name], name: value})
                problem(refused, 400, "invalid_request")
                label = {"id": "delegation_id"}.get(name, name)
                assert any(field.startswith(label) for field in refused.json["fields"]), (endpoint.name, name, value)


async def test_what_is_required_is_asked_for_by_name(world):
    bodies = good_bodies(world)
    for endpoint in WITH_BODY:
        for name, field in endpoint.body.fields.items():
            if field.required:
                body = {key: value for key, value in bodies[endpoint.name].items() if key != name}
                refused = await ask(world, endpoint, json=body)
                problem(refused, 400, "invalid_request")
                assert list(refused.json["fields"]) == [name], endpoint.name
        for whole in ([], "x", 7, None):
            problem(await ask(world, endpoint, data=json.dumps(whole).encode()), 400, "invalid_request")


async def test_every_body_is_read_strictly(world):
    bodies = good_bodies(world)
    for endpoint in WITH_BODY:
        body = json.dumps(bodies[endpoint.name]).encode()
        for bad in (
            b"",
            b"{",
            body[:-1],
            body + body,
            b"\xff" + body,
            body[:-1] + b', "x": NaN}',
            b"[" * 999 + b"]" * 999,
        ):
            problem(await ask(world, endpoint, data=bad), 400, "malformed_json")
        for kind in (
            "text/plain",
            "application/x-www-form-urlencoded",
            "multipart/form-data",
            "application/xml",
            "x/y",
        ):
            refused = await ask(world, endpoint, data=body, headers={"Content-Type": kind})
            problem(refused, 415, "unsupported_media_type")
        problem(await ask(world, endpoint, data=b" " * 65_537 + body), 413, "body_too_large")


def spoiled(value, how):
    """Yield copies of `value` in each of which one string is spoiled."""
    if isinstance(value, str):
        yield how(value)
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield from ({**value, name: bad} for bad in spoiled(inner, how))
    elif isinstance(value, list):
        for at, inner in enumerate(value):
            yield from ([*value[:at], bad, *value[at + 1 :]] for bad in spoiled(inner, how))


SPOILS = {
    "an escape": lambda text: text + "\x1b[2J",
    "a line": lambda text: text + "\nroot",
    "long": lambda text: text + "x" * 20_000,
    "empty": lambda text: "",
    "right to left": lambda text: "\u202e" + text,
    "an astral": lambda text: text + "\U0001f600",
    "SQL": lambda text: text + "' OR '1'='1",
    "a NUL of another kind": lambda text: text + "%00",
}


async def test_a_spoiled_string_is_never_a_500(world):
    bodies = good_bodies(world)
    for name, how in SPOILS.items():
        for endpoint in WITH_BODY:
            for body in spoiled(bodies[endpoint.name], how):
                reply = await ask(world, endpoint, json=body)
                assert reply.status < 500, (endpoint.name, name, body)
                if reply.status >= 400:
                    problem(reply, reply.status)


async def test_a_spoiled_selector_is_never_a_500(world):
    selectors = ("delegation_id", "key_id", "serial", "user", "host", "client_id")
    for selector, value in product(selectors, ("\0", "x\0", "x" * 64, "' OR 1", "9" * 19, "0", "-1", "1e3", "\u0663")):
        reply = await ask(world, BY_NAME["revoke"], json={selector: value, "reason": "x"})
        assert reply.status in {400, 404}, (selector, value, reply.json)


async def test_lone_surrogates_are_refused_everywhere(world):
    for endpoint in WITH_BODY:
        name = next(iter(endpoint.body.fields))
        raw = b'{"%s": "\\ud800"}' % name.encode()
        problem(await ask(world, endpoint, data=raw), 400, "malformed_json")


HOSTILE_SEGMENTS = [
    *("\0", "a\0", "..", "...", "%2e%2e", "a/b", "\n", "\x7f", "é", "\u202e", "\U0001f600", "'", '"', "*", "' OR 1"),
    *("x" * 300, "-a", " ", "A b", "1" * 40, "0", "-1", "SHA256:x", "DROP TABLE", "<script>", "{user}", "\ufeff"),
]


async def test_hostile_path_segments_are_problems(world):
    for endpoint in ENDPOINTS:
        body = good_bodies(world).get(endpoint.name)
        for name in re.findall(r"{(\w+)}", endpoint.path):
            for segment in HOSTILE_SEGMENTS:
                path = path_of(world, endpoint, **{name: quote(segment, safe="")})
                reply = await ask(world, endpoint, path=path, json=body)
                # `.` and `..` never arrive; aiohttp's client resolves nothing of what is encoded.
                # Nobody learns from a login whether there is such a tenant.
                allowed = {401} if endpoint.name == "create_session" else {403, 404, 405}
                assert reply.status in allowed | {404}, (endpoint.name, name, segment, reply.status, reply.json)
                problem(reply, reply.status)


async def test_hostile_queries_are_problems(world):
    for endpoint in ENDPOINTS:
        names = [*(endpoint.query.fields if endpoint.query else ()), "surplus"]
        body = good_bodies(world).get(endpoint.name)
        for name in names:
            for segment in [*HOSTILE_SEGMENTS, "", "1_0", "1e2", "\u0661", "true", "1,2", "99999999999999999999"]:
                path = f"{path_of(world, endpoint)}?{name}={quote(segment, safe='')}"
                reply = await ask(world, endpoint, path=path, json=body)
                assert reply.status < 500, (endpoint.name, name, segment)
                if name in {"surplus", "limit", "cursor"} and segment != "1" * 40:
                    problem(reply, 400)


async def test_numbers_of_a_query_are_plain_and_given_once(world):
    for query in ("limit=0", "limit=1001", "limit=1_0", "limit=%201", "limit=%2B1", "limit=1.0", "limit=1&limit=2"):
        refused = await world.call("GET", f"clients?{query}", auth=world.operator)
        problem(refused, 400, "invalid_request")
        assert list(refused.json["fields"]) == ["limit"], query
    assert (await world.call("GET", "clients?limit=1000", auth=world.operator)).status == 200


async def test_a_path_that_is_not_there_is_a_problem(bare_world):
    for path in ["/", "/nothing", "/api/v1/nothing", "/api/v1/tenants/default/nothing", "/api/v1/tenants//krl"]:
        reply = await bare_world.call("DELETE", path)
        assert reply.status in {404, 405}, path
        problem(reply, reply.status)


async def test_a_method_that_is_not_there_is_a_problem(world):
    paths = {}
    for endpoint in ENDPOINTS:
        paths.setdefault(endpoint.path, set()).add(endpoint.method)
    for endpoint in ENDPOINTS:
        for method in {"GET", "POST", "PUT", "PATCH", "DELETE", "TRACE"} - paths[endpoint.path]:
            reply = await world.call(method, path_of(world, endpoint), auth=credential(world, endpoint))
            problem(reply, 405, "method_not_allowed")
            assert paths[endpoint.path] <= set(reply.headers["Allow"].split(","))


async def test_every_answer_names_its_request_and_no_version(world):
    seen = set()
    for endpoint in ENDPOINTS:
        reply = await ask(world, endpoint, json=copy.deepcopy(good_bodies(world).get(endpoint.name)))
        assert reply.headers["Server"] == "tms-ca"
        assert "X-Powered-By" not in reply.headers
        seen.add(reply.headers["X-Request-ID"])
    assert len(seen) == len(ENDPOINTS)
