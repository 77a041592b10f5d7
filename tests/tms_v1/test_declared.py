"""Every endpoint says who may call it, and checks that in the order and with the words of the old server."""

import asyncio
import re
import sqlite3
from contextlib import closing

import aiohttp
import pytest
from yarl import URL

from schemas.tms_v1.base import Flag, Number
from tests.api.stores import events
from tests.tms_v1.wire import Tms
from tms_ca.core.access import Action, Role, reach
from tms_ca.http.tms_v1.declare import PREFIX, A, D, K, Kind, P, Step
from tms_ca.http.tms_v1.routes import ENDPOINTS

ROLE = {Kind.CLIENT: Role.CLIENT, Kind.ADMIN: Role.ADMIN}
NEEDING = [endpoint for endpoint in ENDPOINTS if endpoint.kinds]
NA = "ERROR: NOT AUTHORIZED "
# What an anonymous caller is told, with the names of `asked` filled in: tms_v1_api.md, 5.10.
UNAUTHORISED = {
    "GET client/{client_id}": NA + "to view client c1 in tenant default.",
    "GET client/list": NA + "to list clients in tenant default.",
    "GET pubkeys/list": NA + "to list clients in tenant default.",
    "PATCH client/upd/{client_id}": NA + "to update client c1 in tenant default.",
    "PATCH client/secret/{client_id}": NA + "to update client c1 in tenant default.",
    "DELETE client/del/{client_id}": NA + "to delete client c1 in tenant default.",
    "POST usermfa": NA + "to add a user MFA record in tenant default.",
    "GET usermfa/{tms_user_id}": NA + "to view mfa information for record #u1 in tenant default",
    "GET usermfa/list": NA + "to list user MFA information in tenant default.",
    "PATCH usermfa/upd": NA + "to update MFA for user u1 in tenant default.",
    "DELETE usermfa/del/{tms_user_id}": NA + "to delete MFA for user u1 in tenant default.",
    "POST userhosts": NA + "to add a user host record in tenant default.",
    "GET userhosts/{id}": NA + "to view host information for record #7 in tenant default",
    "GET userhosts/list": NA + "to list user host information in tenant default.",
    "GET hosts/list": NA + "to list user host information in tenant default.",
    "PATCH userhosts/upd": NA + "to update host for user u1 in tenant default.",
    "DELETE userhosts/del": NA + "to delete host h1 for user u1 in tenant default.",
    "POST delegations": NA + "to add a client delegation record in tenant default.",
    "GET delegations/{id}": NA + "to view client delegation information for record #7 in tenant default",
    "GET delegations/list": NA + "to list delegations in tenant default.",
    "PATCH delegations/upd": NA + "to update delegation for client c1 and user u2 in tenant default.",
    "DELETE delegations/del": NA + "to delete delegation for user u2 to client c1 in tenant default.",
    "POST tenants/{tenant}": NA + "to add a new tenant.",
    "PATCH tenants/upd": NA + "to update tenant default.",
    "DELETE tenants/del/{tenant}": NA + "to delete tenant default.",
    "DELETE tenants/wipe/{tenant}": NA + "to delete tenant default.",
    "POST hosts": NA + "to add a new host mapping.",
    "GET hosts/{id}": NA + "to view host mapping information for record #7 in tenant default",
    "DELETE hosts/del": NA + "to delete host mapping h1 -> 192.0.2.1 in tenant default.",
    "POST pubkeys/creds": NA + "Credential mismatch for client portal in tenant default.",
    "POST reservations": NA + "Credential mismatch for client portal in tenant default.",
    "POST reservations/extend": NA + "Credential mismatch for client portal in tenant default.",
    "GET pubkeys/id/{seqno}": NA + "to view pubkey #9 in tenant default.",
    "PATCH pubkeys": "ERROR NOT AUTHORIZED to update client c1 in tenant default.",
    "DELETE pubkeys/del": NA + "to delete public key c1 in tenant default.",
    "GET reservations/{client_id}/{resid}": NA + "to view reservation r1 in tenant default.",
    "DELETE reservations/del/{client_id}/{resid}": NA + "to delete reservation r1 in tenant default.",
    "DELETE reservations/del/related/{client_id}/{resid}": NA + "to delete reservation r1 in tenant default.",
}
OPEN = {
    "GET hello", "GET version", "POST client", "GET tenants/{tenant}", "GET tenants/list", "POST pubkeys/creds/retrieve",
    "GET /spec", "GET /spec_yaml",
}  # fmt: skip
VALUES = {
    "tenant": "default", "client_id": "c1", "tms_user_id": "u1", "client_user_id": "u2", "host": "h1", "addr": "192.0.2.1",
    "host_account": "a1", "id": "7", "seqno": "9", "resid": "r1", "parent_resid": "r0",
}  # fmt: skip


def name_of(endpoint):
    return f"{endpoint.method} {endpoint.path.removeprefix(PREFIX)}"


def path_of(endpoint, **values):
    return re.sub(r"{(\w+)}", lambda part: {**VALUES, **values}[part[1]], endpoint.path)


def body_of(endpoint, **values):
    if endpoint.body is None:
        return None

    def value(name, field):
        if isinstance(field, Flag):
            return True
        return 1 if isinstance(field, Number) else VALUES.get(name, "x")

    return {name: value(name, field) for name, field in endpoint.body.fields.items()} | values


async def ask(tms, endpoint, headers, **values):
    return await tms.call(endpoint.method, path_of(endpoint, **values), headers, body_of(endpoint, **values))


def test_every_endpoint_has_credentials_or_a_reason_and_a_rate():
    assert len(ENDPOINTS) == 44 + 2
    for endpoint in ENDPOINTS:
        assert bool(endpoint.kinds) is not bool(endpoint.why_open), endpoint.name
        assert bool(endpoint.rate) is bool(endpoint.why_open), endpoint.name
        assert endpoint.text.strip(), endpoint.name
    assert {name_of(endpoint) for endpoint in ENDPOINTS if endpoint.why_open} == OPEN
    assert {name_of(endpoint) for endpoint in NEEDING} == set(UNAUTHORISED)


def test_every_endpoint_needs_a_right_that_its_credentials_have():
    for endpoint in NEEDING:
        assert endpoint.needs is not Action.PUBLIC, endpoint.name
        assert {Step.AUTHORISED, Step.OPERATED} & set(endpoint.order), endpoint.name
        may = {kind for kind in Kind if reach(endpoint.needs, ROLE[kind]) is not None}
        assert set(endpoint.kinds) <= may, endpoint.name


async def test_without_a_good_credential_every_endpoint_refuses_in_the_old_words(tms):
    nobody = {"X-TMS-TENANT": "default", "X-TMS-CLIENT-ID": "portal"}
    boss, portal = tms.admin["X-TMS-ADMIN-SECRET"], tms.client["X-TMS-CLIENT-SECRET"]
    wrong = {"X-TMS-ADMIN-ID": "boss", "X-TMS-CLIENT-SECRET": boss, "X-TMS-ADMIN-SECRET": portal}
    before = len(await events(tms.world, outcome="credential_not_good"))
    asked = 0
    for endpoint in NEEDING:
        values = {"tenant": "t9"} if name_of(endpoint) == "POST tenants/{tenant}" else {}
        for headers in (nobody, nobody | wrong):
            reply = await ask(tms, endpoint, headers, **values)
            said = {"result_code": "401", "result_msg": UNAUTHORISED[name_of(endpoint)]}
            assert (reply.status, reply.json) == (401, said), endpoint.name
            asked += 1
    assert len(await events(tms.world, outcome="credential_not_good")) == before + asked


async def test_a_credential_of_another_kind_or_tenant_is_none(tms):
    await tms.world.good("POST", "/api/v1/tenants", auth=tms.world.operator, json={"tenant": "other"})
    stranger = await tms.new_admin("boss2", "other") | await tms.new_client("portal2", "other")
    swapped = {
        "X-TMS-TENANT": "default",
        **{name.replace("CLIENT", "ADMIN"): value for name, value in tms.client.items()},
        **{name.replace("ADMIN", "CLIENT"): value for name, value in tms.admin.items() if "TENANT" not in name},
    }
    for endpoint in NEEDING:
        values = {"tenant": "t9"} if name_of(endpoint) == "POST tenants/{tenant}" else {}
        reply = await ask(tms, endpoint, stranger | {"X-TMS-TENANT": "default"}, **values)
        assert reply.status == 401, endpoint.name
        reply = await ask(tms, endpoint, swapped, **values)
        assert reply.status == 401, endpoint.name
        if set(endpoint.kinds) != set(Kind):
            headers = tms.client if Kind.CLIENT not in endpoint.kinds else tms.admin
            reply = await ask(tms, endpoint, {"X-TMS-CLIENT-ID": "portal"} | headers, **values)
            assert reply.status == 401, endpoint.name


async def test_what_is_missing_is_said_in_the_order_of_the_endpoint(tms):
    no_tenant, no_client = (
        "Required 'X-TMS-TENANT' HTTP header not found",
        "Required 'X-TMS-CLIENT-ID' HTTP header not found",
    )
    for endpoint in NEEDING:
        nothing = await ask(tms, endpoint, {})
        empty = await ask(tms, endpoint, {"X-TMS-TENANT": "", "X-TMS-CLIENT-ID": ""}, tenant="")
        odd = await ask(tms, endpoint, {"X-TMS-TENANT": "d\u00e9fault", "X-TMS-CLIENT-ID": "portal"})
        if endpoint.order == D:
            assert {nothing.status, empty.status, odd.status} == {401}, endpoint.name
            continue
        assert (nothing.status, nothing.json["result_msg"]) == (400, no_client if endpoint.order == K else no_tenant)
        assert odd.json["result_msg"].startswith("Invalid string assigned to header X-TMS-TENANT: "), endpoint.name
        if endpoint.order == P:
            assert empty.status == 401
        elif endpoint.order in {A, K} and "{tenant}" not in endpoint.path:
            assert (empty.status, empty.json["result_msg"]) == (400, "Tenant not enabled."), endpoint.name


async def test_a_disabled_tenant_is_told_before_or_after_the_credential_as_it_was(tms):
    await tms.world.good("POST", "/api/v1/tenants", auth=tms.world.operator, json={"tenant": "off"})
    good = await tms.new_admin("boss", "off") | await tms.new_client("c1", "off")
    await tms.world.good("PATCH", "/api/v1/tenants/off", auth=tms.world.operator, json={"enabled": False})
    nobody = {"X-TMS-TENANT": "off", "X-TMS-CLIENT-ID": "c1"}
    for endpoint in NEEDING:
        if name_of(endpoint) == "POST tenants/{tenant}":
            continue
        late = endpoint.order in {P, D}
        reply = await ask(tms, endpoint, nobody, tenant="off")
        assert reply.status == (401 if late else 400), endpoint.name
        for headers in (good, nobody) if not late else (good,):
            reply = await ask(tms, endpoint, headers, tenant="off")
            assert (reply.status, reply.json["result_msg"]) == (400, "Tenant not enabled."), endpoint.name
        reply = await ask(tms, endpoint, good, tenant="off", client_id="c9")  # whatever else is wrong
        assert (reply.status, reply.json["result_msg"]) == (400, "Tenant not enabled."), endpoint.name
    unknown = await tms.no("GET", "client/list", {"X-TMS-TENANT": "nowhere"}, None, 400)
    assert unknown == "Tenant not enabled."


async def test_another_tenant_in_body_or_path_is_refused_before_the_credential(tms):
    for endpoint in NEEDING:
        in_body = endpoint.body is not None and "tenant" in endpoint.body.fields
        if Step.SAME_TENANT not in endpoint.order or not (in_body or "{tenant}" in endpoint.path):
            continue
        text = await tms.no(
            endpoint.method, path_of(endpoint, tenant="t9"), {"X-TMS-TENANT": "default"},
            body_of(endpoint, tenant="t9"), 403,
        )  # fmt: skip
        assert text == (
            "ERROR: FORBIDDEN - The tenant in the X-TMS-TENANT header (default) does not match the tenant in the "
            "request body (t9)"
        )


async def test_a_client_names_itself_alone(tms):
    own = "Payload parameters (c1@default) differ from those in the request header."
    paths = "Path client_id parameter (c1) differs from the client_id in the request header."
    for endpoint in NEEDING:
        in_body = endpoint.body is not None and "client_id" in endpoint.body.fields
        if Kind.CLIENT not in endpoint.kinds or Step.OWN not in endpoint.order:
            continue
        if not in_body and "{client_id}" not in endpoint.path:
            continue
        # Both credentials are good: the client's counts, and binds.
        for headers in (tms.client, tms.client | tms.admin):
            text = await tms.no(endpoint.method, path_of(endpoint), headers, body_of(endpoint), 403)
            name = name_of(endpoint)
            if name == "GET client/{client_id}":
                assert text == "ERROR: FORBIDDEN - " + own.replace("Payload", "Path")
            elif name == "DELETE pubkeys/del":
                assert text == NA.strip() + " - " + own
            else:
                assert text == "ERROR: FORBIDDEN - " + (paths if "reservations" in name else own)
        # The twin: a wrong secret of the client, and the administrator's counts.
        reply = await tms.call(
            endpoint.method, path_of(endpoint), tms.client | tms.admin | {"X-TMS-CLIENT-SECRET": "x"}, body_of(endpoint)
        )
        assert reply.status in {200, 404}, endpoint.name


async def test_bodies_are_read_before_credentials(tms):
    parsing = b"parse request payload error: "
    for endpoint in [endpoint for endpoint in ENDPOINTS if endpoint.body is not None]:
        path, good = path_of(endpoint), body_of(endpoint)
        reply = await tms.call(endpoint.method, path, {"Content-Type": "text/xml"}, good)
        said = b"the `Content-Type` requested by the client is not supported: text/xml"
        assert (reply.status, reply.body) == (415, said), endpoint.name
        reply = await tms.call(endpoint.method, path, {}, data=b"{")
        assert (reply.status, reply.body[: len(parsing)]) == (400, parsing), endpoint.name
        name, field = next((name, field) for name, field in endpoint.body.fields.items() if field.required)
        for wrong in (None, [], "x" if isinstance(field, Flag | Number) else 5):
            reply = await tms.call(endpoint.method, path, {}, {**good, name: wrong})
            assert (reply.status, reply.body[: len(parsing)]) == (400, parsing), (endpoint.name, wrong)
            assert reply.headers["Content-Type"].startswith("text/plain")
        kind = "boolean" if isinstance(field, Flag) else "integer" if isinstance(field, Number) else "string"
        del good[name]
        reply = await tms.call(endpoint.method, path, {}, good)
        assert f'Expected input type "{kind}", found null.' in reply.body.decode(), endpoint.name
        assert f'(occurred while parsing "{type(endpoint.body).__name__}")' in reply.body.decode()


async def test_a_body_that_is_too_long_is_refused_in_the_usual_shape(tms: Tms):
    for endpoint in [endpoint for endpoint in ENDPOINTS if endpoint.body is not None]:
        name = next(iter(endpoint.body.fields))
        body = {**body_of(endpoint), name: "x" * 65536}
        text = await tms.no(endpoint.method, path_of(endpoint), {}, body, 413)
        assert text == "ERROR: the body is longer than the 65536 bytes that the service reads", endpoint.name


async def test_any_segment_of_a_path_is_a_name_also_one_with_braces(tms: Tms):
    for endpoint in NEEDING:
        for odd in ("%7B", "a%7Db", "%7Bid%7D", "{x}"):
            path = re.sub(r"{(\w+)}", odd, endpoint.path)
            if path == endpoint.path:
                continue
            reply = await tms.call(endpoint.method, path, tms.admin, body_of(endpoint))
            assert reply.status not in {405, 500}, (endpoint.name, odd)
    assert await tms.no("GET", "client/%7Bx%7D", tms.admin, None, 404) == "NOT_FOUND"
    said = await tms.good("DELETE", "usermfa/del/{x}", tms.admin)
    assert said["num_deleted"] == 0


@pytest.mark.parametrize(("method", "path", "kind"), [
    ("PATCH", "pubkeys", "FORBIDDEN"), ("DELETE", "pubkeys/del", "NOT AUTHORIZED"),
])  # fmt: skip
async def test_another_tenant_in_a_key_s_body_is_named_as_the_body_names_it(tms, method, path, kind):
    body = {"tenant": "t9", "client_id": "c9", "host": "h1", "public_key_fingerprint": "x"}
    for headers in (tms.client, tms.admin):
        text = await tms.no(method, path, headers, body, 403)
        assert text == f"ERROR: {kind} - Payload parameters (c9@t9) differ from those in the request header."


async def test_media_types_numbers_and_names_of_any_kind(tms: Tms):
    body = {"tenant": "default", "tms_user_id": "u", "ttl_minutes": 5, "more": {"is": "ignored"}}

    async def post(kind, **changed):
        headers = tms.admin | {"Content-Type": kind}
        return await tms.call("POST", "usermfa", headers, {**body, **changed})

    assert (await post("application/merge-patch+json; charset=utf-8")).status == 201
    without = aiohttp.request  # World.call always sends a media type
    url = URL(f"{tms.world.base}v1/tms/usermfa")
    async with without("POST", url, data=b"{}", skip_auto_headers=["Content-Type"]) as reply:
        assert (reply.status, await reply.text()) == (
            415, "the client request does not include the `Content-Type` header",
        )  # fmt: skip
    for ttl, status in ((2**31, 400), (-(2**31) - 1, 400), (1.5, 400), ("1", 400), (True, 400), (-(2**31), 409)):
        assert (await post("application/json", ttl_minutes=ttl)).status == status, ttl
    assert (await post("application/json", tms_user_id="a\0b")).status == 400
    assert (await tms.call("GET", "client/a%00b", tms.admin)).status == 400
    for number, status in (("7", 404), ("-7", 404), ("x", 400), ("2147483648", 400), ("7.0", 400), ("%D9%A1", 400)):
        reply = await tms.call("GET", f"userhosts/{number}", tms.admin)
        assert reply.status == status, number
        assert status == 404 or reply.body.startswith(b"failed to parse path `id`: ")
    assert (await tms.good("GET", "usermfa/%75", tms.admin))["tms_user_id"] == "u"
    assert (await tms.call("GET", "usermfa/list", tms.admin)).json["num_users"] == 1
    assert (await tms.call("HEAD", "usermfa/list", tms.admin)).status == 200
    assert (await tms.call("HEAD", "usermfa/list", tms.client)).status == 401
    for method, path in (("GET", "usermfa"), ("POST", "usermfa/list"), ("DELETE", "client/c1"), ("HEAD", "usermfa")):
        reply = await tms.call(method, path, tms.admin)
        assert (reply.status, reply.body) == (405, b"" if method == "HEAD" else b"method not allowed"), path


async def test_of_a_header_that_is_there_twice_the_first_counts(tms):
    async def get(*headers):
        url = URL(f"{tms.world.base}v1/tms/client/list")
        async with tms.world.http.get(url, headers=[*headers]) as reply:
            return reply.status

    good = list(tms.admin.items())
    lower = [(name.lower(), value) for name, value in good]
    assert await get(*lower) == 200
    assert await get(*good, ("X-TMS-ADMIN-SECRET", "x"), ("X-TMS-TENANT", "nowhere")) == 200
    assert await get(("X-TMS-ADMIN-SECRET", "x"), *good) == 401
    assert await get(("X-TMS-TENANT", "nowhere"), *good) == 400


async def _broken(tms, statement):
    url = tms.world.settings.database_url

    def run():
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"), timeout=60)) as connection, connection:
            connection.execute(statement)

    await asyncio.to_thread(run)


@pytest.mark.parametrize(
    ("statement", "status"),
    [("DROP TABLE tms_v1_numbers", 503), ("UPDATE clients SET redirect_uris = 'no JSON'", 500)],
)
async def test_a_failure_of_ours_has_the_shape_of_every_refusal(tms, database_kind, statement, status):
    if database_kind != "sqlite":
        pytest.skip("the database is broken by hand, as a file")
    assert (await tms.call("GET", "client/list", tms.admin)).status == 200
    await _broken(tms, statement)
    text = await tms.no("GET", "client/list", tms.admin, None, status)
    assert text.startswith("ERROR: the ")
    assert "redirect" not in text
    assert "numbers" not in text
