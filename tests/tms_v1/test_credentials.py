"""Secrets of a TMS server, kept as SHA-512 without salt: good as they are, and kept in our way from their first use."""

import hashlib

import pytest

from tests.api.stores import events, query
from tests.tms_v1.wire import Tms
from tests.world import at_once, basic
from tms_ca.cli.init import local_operator
from tms_ca.core.access import Role
from tms_ca.core.errors import Conflict, TooMany
from tms_ca.services.guesses import MOST_A_MINUTE, MOST_NAMES, Guesses
from tms_ca.services.registration import put_digest
from tms_ca.store.tables import credentials

CLIENT, ADMIN = "0123456789abcdef" * 3, "fedcba9876543210" * 3


def sha512(secret):
    return hashlib.sha512(secret.encode()).digest()


def sha256(secret):
    return hashlib.sha256(secret.encode()).digest()


async def give(tms: Tms, role: Role, subject, secret, tenant="default"):
    """Put an old secret into the database, as the import does."""
    async with tms.world.context.directory._database.change(tenant) as transaction:
        await put_digest(transaction, tms.clock, local_operator(), role, tenant, subject, sha512(secret))


async def digests(tms, secret):
    """Return how a secret is kept."""
    rows = await query(tms.world, f"SELECT {credentials.c.digest.name}, subject FROM credentials")
    return {
        subject: len(bytes(digest)) for digest, subject in rows if bytes(digest) in {sha256(secret), sha512(secret)}
    }


def headers(client_id, secret, tenant="default"):
    return {"X-TMS-TENANT": tenant, "X-TMS-CLIENT-ID": client_id, "X-TMS-CLIENT-SECRET": secret}


async def test_an_old_secret_is_good_and_kept_as_sha_256_from_its_first_use(tms):
    await give(tms, Role.CLIENT, "portal", CLIENT)
    await give(tms, Role.ADMIN, "boss", ADMIN)
    old_admin = tms.admin | {"X-TMS-ADMIN-SECRET": ADMIN}
    assert await digests(tms, CLIENT) == {"portal": 64}
    # The twins: each with one thing wrong, and nothing is rewritten for them.
    wrong = (
        headers("portal", CLIENT[:-1]), headers("portal2", CLIENT), headers("boss", CLIENT),
        headers("portal", ADMIN), headers("portal", sha512(CLIENT).hex()), headers("portal", CLIENT.upper()),
    )  # fmt: skip
    for one in wrong:
        assert (await tms.call("GET", "client/list", one)).status == 401
    assert (await digests(tms, CLIENT), await digests(tms, ADMIN)) == ({"portal": 64}, {"boss": 64})
    await tms.world.good("POST", "/api/v1/tenants", auth=tms.world.operator, json={"tenant": "other"})

    for good, secret, subject in ((headers("portal", CLIENT), CLIENT, "portal"), (old_admin, ADMIN, "boss")):
        for _ in range(2):
            await tms.good("GET", "client/list", good)
        assert await digests(tms, secret) == {subject: 32}
    rehashed = await events(tms.world, action="secrets.rehash")
    assert [(one["actor"], one["target"]) for one in rehashed] == [
        ("client:portal", "client:portal"), ("admin:boss", "admin:boss"),
    ]  # fmt: skip
    for one in (*wrong, headers("boss", ADMIN), headers("portal", CLIENT, "other")):
        assert (await tms.call("GET", "client/list", one)).status == 401
    await tms.good("PATCH", "client/secret/portal", headers("portal", CLIENT))
    assert (await tms.call("GET", "client/list", headers("portal", CLIENT))).status == 401
    assert await digests(tms, CLIENT) == {}


async def test_an_old_secret_is_good_for_the_other_api_with_its_name_only(tms):
    await give(tms, Role.CLIENT, "portal", "secret1")
    # A word that people chose may be guessed, so it opens nothing by itself.
    assert (await tms.world.call("GET", "clients", auth="secret1")).status == 401
    assert (await tms.world.call("GET", "clients", auth=basic("portal2", "secret1"))).status == 401
    assert await digests(tms, "secret1") == {"portal": 64}
    listed = await tms.world.good("GET", "clients", auth=basic("portal", "secret1"))
    assert [one["client_id"] for one in listed["items"]] == ["portal"]
    assert await digests(tms, "secret1") == {"portal": 32}


async def test_one_secret_of_two_holders_is_good_for_both_and_never_for_a_third(tms):
    await tms.new_client("second")
    await give(tms, Role.CLIENT, "portal", CLIENT)
    with pytest.raises(Conflict, match="the secret of client 'second' is another's, too"):
        await give(tms, Role.CLIENT, "second", CLIENT)
    await tms.good("GET", "client/list", headers("portal", CLIENT))
    await give(tms, Role.CLIENT, "second", CLIENT)
    for _ in range(2):
        assert (await tms.good("GET", "client/list", headers("second", CLIENT)))["clients"][0]["client_id"] == "second"
    await tms.good("GET", "client/list", headers("portal", CLIENT))
    assert await digests(tms, CLIENT) == {"portal": 32, "second": 64}
    assert (await tms.call("GET", "client/list", headers("third", CLIENT))).status == 401


async def test_an_old_secret_of_a_disabled_client_is_refused_and_left_as_it_is(tms):
    await give(tms, Role.CLIENT, "portal", CLIENT)
    await tms.good("PATCH", "client/upd/portal?enabled=false", tms.admin)
    await tms.no("GET", "client/list", headers("portal", CLIENT), None, 403)
    assert await digests(tms, CLIENT) == {"portal": 64}
    await tms.good("PATCH", "client/upd/portal?enabled=true", tms.admin)
    await tms.good("GET", "client/list", headers("portal", CLIENT))


async def test_the_work_for_a_wrong_secret_is_the_same_whether_or_not_its_holder_exists(tms, database_kind):
    if database_kind != "sqlite":
        pytest.skip("statements are counted where SQLite traces them")
    asked = []
    reader = tms.world.context.authentication._facts._reader
    driver = type(reader._driver)
    before = driver.fetch

    async def fetch(self, prepared, args):
        asked.append(prepared)
        return await before(self, prepared, args)

    driver.fetch = fetch
    try:
        counts = []
        for client_id in ("portal", "nobody"):
            asked.clear()
            assert (await tms.call("GET", "client/list", headers(client_id, CLIENT))).status == 401
            counts.append(len(asked))
    finally:
        driver.fetch = before
    assert counts[0] == counts[1] == 3


async def test_without_its_name_no_secret_of_the_wire_s_form_is_good_kept_in_our_way_or_not(tms):
    ours = (await tms.good("PATCH", "client/secret/portal", tms.admin))["client_secret"]
    await give(tms, Role.CLIENT, "portal", "sunshine1")
    await tms.world.good("GET", "clients", auth=basic("portal", "sunshine1"))
    assert await digests(tms, "sunshine1") == {"portal": 32}
    for secret in ("sunshine1", ours):
        assert (await tms.world.call("GET", "clients", auth=secret)).code == "credential_not_good"
        await tms.world.good("GET", "clients", auth=basic("portal", secret))
    # The twin: one that says by its beginning that it was made here needs no name.
    made = await tms.world.good("POST", "clients", auth=tms.world.operator, json={"client_id": "second"})
    await tms.world.good("GET", "clients", auth=made["secret"])


@pytest.mark.parametrize("stored_anew", [False, True])
async def test_beyond_ten_wrong_words_a_minute_the_right_one_is_refused_too(tms, stored_anew):
    new = (await tms.good("PATCH", "client/secret/portal", tms.admin))["client_secret"]
    await give(tms, Role.CLIENT, "portal", "sunshine1")
    right, ours = headers("portal", "sunshine1"), headers("portal", new)
    if stored_anew:
        await tms.good("GET", "client/list", right)
    for nth in range(5):
        assert (await tms.call("GET", "client/list", headers("portal", f"guess{nth}"))).status == 401
        assert (await tms.world.call("GET", "clients", auth=basic("portal", f"guess{nth}"))).status == 401
    racing = [tms.call("GET", "client/list", headers("portal", f"word{nth}")) for nth in range(20)]
    assert {reply.status for reply in await at_once(*racing)} == {429}
    refused = await tms.call("GET", "client/list", right)
    assert (refused.status, refused.json["result_code"]) == (429, "429")
    assert 1 <= int(refused.headers["Retry-After"]) <= 60
    for path in ("clients", "public-keys"):
        assert (await tms.world.call("GET", path, auth=basic("portal", "sunshine1"))).code == "too_many_requests"
    assert len(await digests(tms, "sunshine1")) == 1
    limits = await events(tms.world, action="credentials.limit")
    assert [(one["actor"], one["target"], one["outcome"]) for one in limits] == [("anyone", "portal", "too_many")]
    # The twins: a secret that is no word, another name, another credential of the request, and the next minute.
    await tms.good("GET", "client/list", ours)
    await tms.world.good("GET", "clients", auth=basic("portal", ours["X-TMS-CLIENT-SECRET"]))
    await tms.good("GET", "client/list", right | tms.admin)
    assert (await tms.call("GET", "client/list", headers("second", "guess"))).status == 401
    tms.clock.move(60)
    await tms.good("GET", "client/list", right)


async def test_no_word_is_tried_under_the_name_of_another_tenant(tms):
    """The number of guesses is one tenant's and name's; under other tenants a word is wrong, also where it is right."""
    await give(tms, Role.CLIENT, "portal", "sunshine1")
    await tms.good("PATCH", "client/upd/portal?enabled=false", tms.admin)
    await tms.world.good("POST", "/api/v1/tenants", auth=tms.world.operator, json={"tenant": "other"})
    body = {"client_id": "portal", "tenant": "other", "host": "h1", "public_key_fingerprint": "SHA256:x"}
    reply = await tms.call("DELETE", "pubkeys/del", headers("portal", "sunshine1", "other"), body)
    assert reply.status == 401
    reply = await tms.world.call("GET", "clients", auth=basic("portal", "sunshine1"), tenant="other")
    assert (reply.status, reply.code) == (401, "credential_not_good")
    assert await digests(tms, "sunshine1") == {"portal": 64}
    await tms.good("PATCH", "client/upd/portal?enabled=true", tms.admin)
    await tms.world.good("GET", "clients", auth=basic("portal", "sunshine1"))


def test_whose_wrong_words_are_counted_is_bounded(clock):
    guesses = Guesses(clock)
    for nth in range(MOST_NAMES + 10):
        guesses.wrong("default", f"n{nth}" + "x" * 1000)
    assert len(guesses._wrong) == MOST_NAMES
    for _ in range(MOST_A_MINUTE):
        guesses.check("default", "portal")
        guesses.wrong("default", "portal")
    for tenant, name in (("other", "portal"), ("default", "portal2")):
        guesses.check(tenant, name)
    with pytest.raises(TooMany) as refused:
        guesses.check("default", "portal")
    clock.move(refused.value.retry_after)
    guesses.check("default", "portal")
