"""A-01: every operation, every kind of caller, in its own tenant and in another: the answer that the table says."""

import re
from collections import Counter
from itertools import product

import pytest

from tests.api import authz
from tests.api.stores import events, snapshot
from tests.world import basic
from tms_ca.core.access import ACCESS, Action
from tms_ca.http.routes import ENDPOINTS
from tms_ca.http.tms_v1.routes import ENDPOINTS as TMS_V1_ENDPOINTS

# Names that are not there: what is allowed then answers 404 and changes nothing.
NAMES = {
    "client_id": "nobody",
    "admin_id": "nobody",
    "user": "nobody",
    "host": "h9",
    "login_id": "0" * 32,
    "node": "login9",
    "serial": "12345",
    "fingerprint": "SHA256:" + "A" * 43,
    "delegation_id": "dlg_" + "a" * 20,
    "link_id": "lnk_" + "a" * 20,
    "revocation_id": "rev_" + "a" * 20,
    "credential_id": "sec_" + "a" * 20,
    "reservation_id": "00000000-0000-4000-8000-000000000000",
}
OF_ITSELF = re.compile("hosts/h9/(?=principals|keys|logins|sessions|credential$|certificates|reports|nodes/)")
AUTHORIZATION_CODES = {
    *("credential_needed", "credential_not_good", "credential_malformed"),
    *("tenant_mismatch", "role_not_allowed", "mfa_required", "host_mismatch", "not_yours"),
}


def test_A_01_the_checked_in_table_says_what_the_code_says():
    assert authz.read() == authz.lines(), "run: python -m tests.api.authz"


def test_A_01_the_page_shows_the_table():
    assert authz.PAGE.read_text() == authz.page_with_table(), "run: python -m tests.api.authz"


def test_A_01_no_operation_is_missing_and_no_action_is_unused():
    assert {row[0] for row in authz.read()} == {endpoint.name for endpoint in ENDPOINTS}
    needed = {endpoint.needs for endpoint in (*ENDPOINTS, *TMS_V1_ENDPOINTS)}
    assert needed == set(Action) == set(ACCESS)


def test_A_01_every_line_of_the_table_is_one_operation_and_caller():
    cells = [(row[0], row[4]) for row in authz.read()]
    assert len(cells) == len(set(cells)) == len(ENDPOINTS) * len(authz.CALLERS)


@pytest.fixture
async def callers(world):
    """A credential for every kind of caller, all of tenant `default`; another tenant `other` stands beside it."""
    await world.good("POST", "/api/v1/tenants", auth=world.operator, json={"tenant": "other"})
    made = await world.good("POST", "admins", auth=world.operator, json={"admin_id": "boss"})
    await world.add_user("bob", mfa=False)
    return {
        "anonymous": None,
        "host": world.hosts["h1"],
        "client": world.clients["portal"],
        "user": world.sessions["bob"],
        "user+MFA": world.sessions["alice"],
        "admin": basic("boss", made["secret"]),
        "operator": world.operator,
    }


def _asked(method, path, tenant):
    if method == "DELETE" and path.endswith("/identities"):
        path += "?issuer=https://idp.example&subject=nobody"
    # A host may ask about itself alone.
    return OF_ITSELF.sub("hosts/h1/", path.format(tenant=tenant, **NAMES))


async def _ask(world, auth, method, path, tenant):
    body = {} if method in {"POST", "PATCH"} else None
    return await world.call(method, _asked(method, path, tenant), auth=auth, json=body)


def _class(reply):
    return f"{reply.status} {reply.code}" if reply.code in AUTHORIZATION_CODES else authz.ALLOWED


async def test_A_01_every_cell_answers_as_the_table_says(world, callers):
    # Ending the session comes last: it ends the session of the caller.
    rows = sorted(authz.read(), key=lambda row: row[0] == "end_session")
    cells, wrong = 0, []
    for operation, method, path, _, caller, own, other in rows:
        for tenant, expected in (("other", other), ("default", own)):
            reply = await _ask(world, callers[caller], method, path, tenant)
            cells += 1
            if _class(reply) != expected or reply.status >= 500:
                wrong.append((operation, caller, tenant, expected, reply.status, reply.code))
    print(f"{cells} cells, {len(wrong)} wrong")
    assert not wrong
    assert cells == 2 * len(ENDPOINTS) * len(authz.CALLERS)


async def test_F_05_every_refusal_of_the_matrix_is_one_event(world, callers):
    refused = {}
    for operation, method, path, _, caller, own, other in authz.read():
        for tenant, expected in (("other", other), ("default", own)):
            if expected != authz.ALLOWED:
                reply = await _ask(world, callers[caller], method, path, tenant)
                refused[reply.headers["X-Request-ID"]] = (operation, caller, tenant, reply.code)
    recorded = Counter((one["request_id"], one["outcome"]) for one in await events(world))
    assert {cell: recorded[request, cell[-1]] for request, cell in refused.items()} == dict.fromkeys(
        refused.values(), 1
    )


async def test_A_03_a_contradicting_tenant_touches_no_row(world, callers):
    await world.good("POST", "clients", auth=world.operator, json={"client_id": "theirs"}, tenant="other")
    before = await snapshot(world)
    for caller in ("host", "client", "user", "user+MFA", "admin"):
        for endpoint in ENDPOINTS:
            if endpoint.needs is Action.PUBLIC or "{tenant}" not in endpoint.path:
                continue
            for tenant in ("other", "nowhere"):
                reply = await _ask(world, callers[caller], endpoint.method, endpoint.path, tenant)
                assert (reply.status, reply.code) == (403, "tenant_mismatch"), (endpoint.name, caller)
    real = {"client_id": "mine"}
    for headers in ({"X-Tenant": "default"}, {}):
        refused = await world.call("POST", "clients", auth=callers["admin"], json=real, tenant="other", headers=headers)
        assert (refused.status, refused.code) == (403, "tenant_mismatch")
    in_body = await world.call("POST", "clients", auth=callers["admin"], json={**real, "tenant": "other"})
    assert (in_body.status, list(in_body.json["fields"])) == (400, ["tenant"])
    assert await snapshot(world) == before
    # The positive twin: the same body with the right tenant is taken.
    assert (await world.call("POST", "clients", auth=callers["admin"], json=real)).status == 201
    assert await snapshot(world) != before


async def test_A_01_a_host_asks_only_about_itself(world, callers):
    await world.add_host("h2")
    issued = (await world.issue()).json["certificate"]
    assert (await world.check(issued)).status == 200
    body = {"account": "alice", "certificate": issued.strip()}
    refused = await world.call("POST", "hosts/h1/principals", auth=world.hosts["h2"], json=body)
    assert (refused.status, refused.code) == (403, "host_mismatch")
    assert len(await events(world, outcome="host_mismatch", actor="host:h2")) == 1


NONSENSE = ("Bearer", "Bearer nonsense", "Basic", "Basic ????", "Digest x", "Basic eA==", " ")


async def test_A_01_nonsense_is_no_credential_anywhere(bare_world):
    for nonsense, path in product(NONSENSE, ("clients", "/healthz", "krl")):
        reply = await bare_world.call("GET", path, headers={"Authorization": nonsense})
        assert reply.status == 401, (nonsense, path)
        assert reply.headers["WWW-Authenticate"].startswith("Basic realm")


def test_A_01_the_class_of_an_answer_is_read_from_its_code():
    # The matrix could not fail if it took every answer for allowed.
    class Reply:
        status, code = 403, "role_not_allowed"

    assert _class(Reply) == "403 role_not_allowed"
    Reply.status, Reply.code = 404, "client_unknown"
    assert _class(Reply) == authz.ALLOWED
