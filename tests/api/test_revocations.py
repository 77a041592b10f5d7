"""Each of the eight selectors: a login goes, the revocation comes, the next login is refused and the KRL says so."""

import subprocess

import pytest

from tests.api.stores import events, query
from tests.world import Key

SELECTORS = {
    # what names it, the code of the next login, and of the next wish for a certificate (201: granted)
    "serial": (lambda one: one["serial"], "certificate_revoked", 201),
    "key_id": (lambda one: one["key_id"], "certificate_revoked", 201),
    "public_key_fingerprint": (lambda one: one["public_key_fingerprint"], "certificate_revoked", "key_revoked"),
    "user": (lambda one: "alice", "certificate_revoked", "user_revoked"),
    "client_id": (lambda one: "portal", "certificate_revoked", "client_revoked"),
    "delegation_id": (lambda one: one["delegation_id"], "certificate_revoked", "delegation_revoked"),
    "host": (lambda one: "h1", "host_revoked", "host_revoked"),
    "ca_fingerprint": (lambda one: one["ca_fingerprint"], "certificate_revoked", "ca_key_missing"),
}
BLOCKING = {"user", "client_id", "host"}


async def revoke(world, auth=None, **selector):
    body = {**selector, "reason": "lost laptop"}
    return await world.call("POST", "revocations", auth=auth or world.operator, json=body)


async def krl(world, **headers):
    return await world.call("GET", "krl", headers={name.replace("_", "-"): value for name, value in headers.items()})


def listed(tmp_path, blob, certificate):
    """Ask the real ssh-keygen whether `blob` revokes `certificate`."""
    (tmp_path / "krl").write_bytes(blob)
    (tmp_path / "id-cert.pub").write_text(certificate)
    done = subprocess.run(
        ["ssh-keygen", "-Q", "-f", tmp_path / "krl", tmp_path / "id-cert.pub"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in {0, 1}, done.stderr
    assert ("REVOKED" in done.stdout) is (done.returncode == 1), done.stdout
    return done.returncode == 1


@pytest.mark.parametrize("selector", SELECTORS)
async def test_a_revocation_ends_logins_at_once_and_is_in_the_krl(world, tmp_path, selector):
    value_of, next_login, next_issue = SELECTORS[selector]
    issued = (await world.issue()).json
    assert (await world.check(issued["certificate"])).status == 200
    before = await krl(world)
    assert not listed(tmp_path, before.body, issued["certificate"])

    made = await revoke(world, **{selector: value_of(issued)})
    assert made.status == 201, made.json
    assert (made.json["selector"], made.json["value"]) == (selector, value_of(issued))
    assert made.json["certificates"] == 1
    assert made.json["actor"] == "operator:admin"

    refused = await world.check(issued["certificate"])
    assert (refused.status, refused.code) == (403, next_login)
    after = await krl(world)
    assert listed(tmp_path, after.body, issued["certificate"])
    assert int(after.headers["X-KRL-Version"]) > int(before.headers["X-KRL-Version"])
    again = await world.issue()
    assert again.status == 201 if next_issue == 201 else (again.status, again.code) == (403, next_issue)
    if selector != "client_id":
        record = await world.good("GET", f"certificates/{issued['serial']}", auth=world.clients["portal"])
        assert record["revocation_id"] == made.json["id"]
    recorded = await events(world, action="revocations.create")
    assert [one["target"] for one in recorded] == [f"{selector}:{value_of(issued)}"]

    twice = await revoke(world, **{selector: value_of(issued)})
    assert (twice.status, twice.code) == (409, "already_revoked")
    assert twice.json["revocation_id"] == made.json["id"]


@pytest.mark.parametrize("selector", SELECTORS)
async def test_only_a_user_client_or_host_is_let_in_again_and_old_certificates_stay_out(world, tmp_path, selector):
    issued = (await world.issue()).json
    made = (await revoke(world, **{selector: SELECTORS[selector][0](issued)})).json
    lifted = await world.call("POST", f"revocations/{made['id']}/lift", auth=world.operator)
    if selector not in BLOCKING:
        assert (lifted.status, lifted.code) == (409, "revocation_final")
        return
    assert lifted.json["lifted_at"] is not None
    again = await world.call("POST", f"revocations/{made['id']}/lift", auth=world.operator)
    assert (again.status, again.code) == (409, "revocation_lifted")
    assert (await world.check(issued["certificate"])).code == "certificate_revoked"
    assert listed(tmp_path, (await krl(world)).body, issued["certificate"])
    fresh = await world.issue()
    assert fresh.status == 201, fresh.json
    assert (await world.check(fresh.json["certificate"])).status == 200
    # What was lifted can be revoked anew.
    assert (await revoke(world, **{selector: SELECTORS[selector][0](issued)})).status == 201


UNKNOWN = {
    "serial": "12345",
    "key_id": "t=default;c=x;u=y;r=z",
    "user": "nobody",
    "client_id": "nobody",
    "delegation_id": "dlg_" + "a" * 20,
    "host": "h9",
    "ca_fingerprint": "SHA256:" + "A" * 43,
}


@pytest.mark.parametrize("selector", UNKNOWN)
async def test_what_is_not_there_is_404_and_leaves_no_trace(world, selector):
    refused = await revoke(world, **{selector: UNKNOWN[selector]})
    assert (refused.status, refused.code) == (404, "revocation_target_unknown")
    assert await query(world, "SELECT count(*) FROM revocations") == [(0,)]


async def test_a_key_may_be_revoked_before_it_was_ever_certified(world):
    made = await revoke(world, public_key_fingerprint="SHA256:" + "A" * 43)
    assert (made.status, made.json["certificates"]) == (201, 0)


async def test_exactly_one_selector(world):
    issued = (await world.issue()).json
    for body in ({}, {"user": "alice", "host": "h1"}, {"serial": issued["serial"], "key_id": issued["key_id"]}):
        refused = await revoke(world, **body)
        assert (refused.status, refused.code) == (400, "invalid_request"), body
    no_reason = await world.call("POST", "revocations", auth=world.operator, json={"user": "alice"})
    assert list(no_reason.json["fields"]) == ["reason"]
    assert (await world.check(issued["certificate"])).status == 200


@pytest.fixture
async def two(world):
    """Beside alice and portal: bob, who delegated to the client batch."""
    await world.add_client("batch")
    await world.add_user("bob")
    await world.link("bob", "h1", "bob")
    await world.delegate("bob", "batch", "h1", "bob")
    issued = await world.issue(client_id="batch", user="bob", account="bob")
    world.theirs = issued.json
    world.mine = (await world.issue(public_key=_other_key(world))).json
    return world


def _other_key(world):
    path = world.keys / "other"
    if not path.exists():
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path], check=True)
    return Key(path).public


OWN = ["serial", "key_id", "public_key_fingerprint", "delegation_id"]


@pytest.mark.parametrize("who", ["client", "user"])
@pytest.mark.parametrize("selector", OWN)
async def test_clients_and_users_revoke_their_own_and_nothing_of_others(two, who, selector):
    auth = two.clients["portal"] if who == "client" else two.sessions["alice"]
    value_of = SELECTORS[selector][0]
    refused = await revoke(two, auth, **{selector: value_of(two.theirs)})
    assert (refused.status, refused.code) == (404, "revocation_target_unknown")
    assert (await two.check(two.theirs["certificate"], account="bob")).status == 200
    made = await revoke(two, auth, **{selector: value_of(two.mine)})
    assert made.status == 201, made.json
    assert (await two.check(two.mine["certificate"])).code == "certificate_revoked"
    assert (await two.check(two.theirs["certificate"], account="bob")).status == 200


async def test_clients_and_users_revoke_themselves_and_no_other(two):
    portal, alice = two.clients["portal"], two.sessions["alice"]
    for auth, selector in ((portal, "user"), (portal, "host"), (portal, "ca_fingerprint"), (alice, "client_id"),
                           (alice, "host"), (alice, "ca_fingerprint")):  # fmt: skip
        refused = await revoke(two, auth, **{selector: SELECTORS[selector][0](two.mine)})
        assert (refused.status, refused.code) == (403, "not_yours"), selector
        request_id = refused.headers["X-Request-ID"]
        assert [one["outcome"] for one in await events(two, request_id=request_id)] == ["not_yours"]
    assert (await revoke(two, portal, client_id="batch")).status == 404
    assert (await revoke(two, alice, user="bob")).status == 404
    assert (await revoke(two, portal, client_id="portal")).status == 201
    assert (await revoke(two, alice, user="alice")).status == 201
    assert (await two.issue(client_id="batch", user="bob", account="bob")).status == 201


async def test_a_shared_key_is_not_revoked_by_one_of_its_users_for_the_other(two):
    """Two users had one key certified: whoever has it may call it leaked; both are then without it."""
    shared = (await two.issue()).json
    assert shared["public_key_fingerprint"] == two.theirs["public_key_fingerprint"]
    assert (
        await revoke(two, two.sessions["alice"], public_key_fingerprint=shared["public_key_fingerprint"])
    ).status == 201
    assert (await two.check(two.theirs["certificate"], account="bob")).code == "certificate_revoked"


async def test_the_krl_grows_only_when_it_changes_and_answers_304(world):
    first = await krl(world)
    assert first.headers["Content-Type"] == "application/octet-stream"
    assert first.headers["Cache-Control"].startswith("public")
    assert (await krl(world, If_None_Match=first.headers["ETag"])).status == 304
    world.clock.move(86400)
    assert (await krl(world)).body == first.body
    versions = [int(first.headers["X-KRL-Version"])]
    await world.log_in("alice")
    await world.verify("alice")
    for _ in range(3):
        issued = (await world.issue()).json
        assert (await krl(world)).headers["X-KRL-Version"] == str(versions[-1])
        await revoke(world, serial=issued["serial"])
        changed = await krl(world, If_None_Match=first.headers["ETag"])
        assert changed.status == 200
        versions.append(int(changed.headers["X-KRL-Version"]))
    assert versions == sorted(set(versions))


async def test_what_has_ended_leaves_the_krl(world, tmp_path):
    issued = (await world.issue(ttl_seconds=600)).json
    await revoke(world, serial=issued["serial"])
    full = await krl(world)
    assert listed(tmp_path, full.body, issued["certificate"])
    world.clock.move(600 + 3500)  # hosts' clocks may be slow: kept for an hour more
    assert listed(tmp_path, (await krl(world)).body, issued["certificate"])
    world.clock.move(100 + 600)  # dropped every ten minutes
    pruned = await krl(world)
    assert not listed(tmp_path, pruned.body, issued["certificate"])
    assert len(pruned.body) < len(full.body)
    assert int(pruned.headers["X-KRL-Version"]) > int(full.headers["X-KRL-Version"])


async def test_a_list_of_revocations_by_selector_and_value(world):
    issued = (await world.issue()).json
    await revoke(world, serial=issued["serial"])
    await revoke(world, user="alice")
    found = await world.good("GET", "revocations", auth=world.operator)
    assert {one["selector"] for one in found["items"]} == {"serial", "user"}
    one = await world.good("GET", f"revocations?selector=serial&value={issued['serial']}", auth=world.operator)
    assert [item["value"] for item in one["items"]] == [issued["serial"]]


@pytest.mark.parametrize(
    ("selector", "path", "made"),
    [
        ("user", "users/alice", ("users", {"user": "alice"})),
        ("client_id", "clients/portal", ("clients", {"client_id": "portal"})),
        ("host", "hosts/h1", ("hosts", {"host": "h1"})),
    ],
)
async def test_deleting_and_making_anew_lifts_no_revocation(world, selector, path, made):
    noun, body = made
    revocation = (await revoke(world, **{selector: path.partition("/")[2]})).json
    await world.good("DELETE", path, auth=world.operator)
    again = await world.good("POST", noun, auth=world.operator, json=body)
    assert again["revocation_id"] == revocation["id"]
    await world.good("POST", f"revocations/{revocation['id']}/lift", auth=world.operator)
    assert (await world.good("GET", path, auth=world.operator))["revocation_id"] is None
    # Its twin: once lifted, a new one of the name begins without.
    await world.good("DELETE", path, auth=world.operator)
    assert (await world.good("POST", noun, auth=world.operator, json=body))["revocation_id"] is None
