"""The pages as people use them: what they show and what a decision on them does."""

import re
from html import unescape

import pytest

from tests.api.page_fixtures import Browser, ask, code_of, record, status_of, verified, wrong_code_of
from tests.world import PASSWORD, World

BACK = "https://portal.example.org/back?state=a%20b"


async def test_log_in_enrol_approve_narrowed_from_the_approval_url(world: World):
    await world.good("POST", "users", auth=world.operator, json={"user": "bob", "password": PASSWORD})
    await world.link("bob", "h1", "bob")
    path = await ask(world, user="bob", host="h*", account="*", constraints={"max_ttl_seconds": 28800})
    bob = Browser(world)
    page = await bob.open(path)
    assert page.path.startswith("/t/default/login?next=")
    page = await bob.submit(page.form("/login"), user="bob", password=PASSWORD)
    assert "Set up your second factor" in page.text
    page = await bob.submit(page.form("/mfa/enrol"))
    seed = re.search(r'class="seed"><code>([A-Z2-7 ]+)</code>', page.body)[1]
    assert re.fullmatch(r"([A-Z2-7]{4} ){7}[A-Z2-7]{4}", seed)
    assert f"secret={seed.replace(' ', '')}" in unescape(page.body)
    assert 'src="data:image/svg+xml' in page.body
    page = await bob.submit(page.form("/mfa"), code=f" {code_of(world, seed)[:3]} {code_of(world, seed)[3:]} ")
    assert page.path == path
    page = await bob.submit(
        page.form("/approve"), host="h1", account="bob", lifetime_seconds="86400", max_ttl_seconds="900"
    )
    assert page.path == path
    assert "approved" in page.text
    found = await record(world, path)
    assert (found["status"], found["host"], found["account"]) == ("approved", "h1", "bob")
    assert found["lifetime_seconds"] == 86400
    assert found["constraints"]["max_ttl_seconds"] == 900
    assert (await world.issue(user="bob", account="bob")).status == 201


async def test_what_is_asked_stands_on_the_page_in_plain_words(world: World):
    await world.good("PATCH", "clients/portal", auth=world.operator, json={"display_name": "Aurora Gateway"})
    asked = await world.delegate(
        "alice", "portal", "h*", "alice", approve=False, purpose="collect results", lifetime_seconds=36 * 3600,
        constraints={"source_address": ["10.1.2.0/24"], "force_command": "/usr/bin/rsync --server",
                     "extensions": ["permit-pty"], "max_ttl_seconds": 5400},
    )  # fmt: skip
    page = await (await verified(world)).get(f"/t/default/delegations/{asked['id']}")
    assert page.status == 200
    for words in (
        "May Aurora Gateway act for you?", "portal", "every host that fits h*", "alice", "collect results",
        "only /usr/bin/rsync --server", "10.1.2.0/24 only", "open a terminal", "1 day 12 hours", "1 hour 30 minutes",
        asked["user_code"], "The application shows the same code", "default",
    ):  # fmt: skip
        assert words in page.text, words
    buttons = [found for tag, found in page.read().tags if tag == "button"]
    assert [one.get("formaction", "approve").rpartition("/")[2] for one in buttons[-2:]] == ["approve", "deny"]
    assert [one["name"] for tag, one in page.read().tags if tag in {"input", "select"} and "id" in one] == [
        "host", "lifetime_seconds", "max_ttl_seconds", "max_uses",
    ]  # fmt: skip


async def test_approving_as_asked_leads_back_to_the_application_by_a_link(world: World):
    await world.good("PATCH", "clients/portal", auth=world.operator, json={"redirect_uris": [BACK]})
    path = await ask(world, redirect_uri=BACK)
    alice = await verified(world)
    page = await alice.submit((await alice.get(path)).form("/approve"))
    assert await status_of(world, path) == "approved"
    assert f"{BACK}&delegation_id={path.rpartition('/')[2]}&status=approved" in page.read().links
    assert page.path == path  # nobody was sent anywhere by themselves
    assert "Until" in page.text
    assert "Revoke" in page.text


async def test_deny(world: World):
    await world.good("PATCH", "clients/portal", auth=world.operator, json={"redirect_uris": [BACK]})
    path = await ask(world, redirect_uri=BACK)
    alice = await verified(world)
    form = (await alice.get(path)).form("/approve")
    page = await alice.open((await alice.post(form.other_actions[0], form.fields)).headers["Location"])
    assert await status_of(world, path) == "denied"
    assert "You denied" in page.text
    assert any(link.endswith("&status=denied") for link in page.read().links)


@pytest.mark.parametrize("start", ["/t/default/", "page"])
async def test_revoking_on_a_page_ends_the_certificates(world: World, start: str):
    issued = await world.issue()
    assert (await world.check(issued.json["certificate"])).status == 200
    path = f"/t/default/delegations/{world.delegation['id']}"
    alice = await verified(world)
    page = await alice.submit((await alice.get(path if start == "page" else start)).form("/revoke"))
    assert "may no longer act for you" in page.text
    assert await status_of(world, path) == "revoked"
    assert (await world.check(issued.json["certificate"])).status != 200
    assert (await world.issue()).status == 403


@pytest.mark.parametrize(
    "change",
    [
        {"host": "*"}, {"host": "other"}, {"host": "H1 <"}, {"lifetime_seconds": "999999999"},
        {"lifetime_seconds": "abc"}, {"lifetime_seconds": "-1"}, {"lifetime_seconds": str(31 * 86400)},
        {"max_ttl_seconds": "7200"}, {"max_ttl_seconds": "٣٦٠٠"}, {"account": "root"},
    ],
)  # fmt: skip
async def test_what_would_widen_is_refused_and_stays_pending(world: World, change: dict[str, str]):
    path = await ask(world, host="h*", account="a*", constraints={"max_ttl_seconds": 3600})
    alice = await verified(world)
    page = await alice.submit((await alice.get(path)).form("/approve"), **change)
    assert page.status == 400
    assert "Not approved" in page.text
    assert await status_of(world, path) == "pending"
    again = await alice.submit(
        page.form("/approve"), host="h1", account="alice", lifetime_seconds="", max_ttl_seconds=""
    )
    assert again.status == 200
    assert await status_of(world, path) == "approved"


async def test_my_page_says_where_i_stand(world: World):
    pending = await ask(world, purpose="another purpose")
    alice = await verified(world)
    page = await alice.get("/t/default/")
    for words in ("alice", "Waiting for you", "another purpose", "Approved", "counts until"):
        assert words in page.text
    assert pending in page.read().links
    world.clock.move(13 * 3600)
    later = Browser(world)
    await later.log_in("alice")
    page = await later.get("/t/default/")
    assert "enter a code" in page.text
    assert not [form for form in page.read().forms if form.action.endswith("/revoke")]


async def test_a_request_nobody_answered_has_expired(world: World):
    path = await ask(world)
    world.clock.move(25 * 3600)
    page = await (await verified(world)).get(path)
    assert page.status == 200
    assert "Nobody answered" in page.text
    assert not [form for form in page.read().forms if "delegations" in form.action]


async def test_a_wrong_first_code_can_be_mended(world: World):
    await world.good("POST", "users", auth=world.operator, json={"user": "bob", "password": PASSWORD})
    bob = Browser(world)
    await bob.log_in("bob")
    page = await bob.submit((await bob.get("/t/default/mfa")).form("/enrol"))
    seed = re.search(r'class="seed"><code>([A-Z2-7 ]+)</code>', page.body)[1]
    page = await bob.submit(page.form("/mfa"), code=wrong_code_of(world, seed))
    assert page.status == 401
    page = await bob.submit(page.form("/mfa"), code=code_of(world, seed))
    assert "counts until" in page.text


async def test_replacing_the_authenticator_needs_the_present_one(world: World):
    alice = await verified(world)
    form = (await alice.get("/t/default/mfa")).form("/enrol")
    world.clock.move(13 * 3600)
    again = Browser(world)
    await again.log_in("alice")
    token = (await again.get("/t/default/mfa")).form("/mfa").fields["csrf"]
    page = await again.post("/t/default/mfa/enrol", {**form.fields, "csrf": token})
    assert page.status == 409
    await again.submit((await again.get("/t/default/mfa")).form("/mfa"), code=world.code("alice"))
    page = await again.submit((await again.get("/t/default/mfa")).form("/enrol"))
    assert page.status == 200
    assert 'class="seed"' in page.body


async def test_the_reference_lists_every_endpoint(world: World):
    document = (await world.call("GET", "/openapi.json")).json
    page = await Browser(world).get("/docs")
    assert page.status == 200
    operations = [one for path in document["paths"].values() for one in path.values()]
    assert len(operations) > 40
    ids = {found.get("id") for tag, found in page.read().tags if tag == "article"}
    assert ids == {one["operationId"] for one in operations}
    for words in ("constraints.source_address", "items[].delegation_id", "own, MFA-current", "array of string"):
        assert words in page.text, words


async def test_the_front_page_leads_to_the_reference(world: World):
    page = await Browser(world).get("/")
    assert page.status == 200
    assert "/docs" in page.read().links


async def test_I_05_pages_need_no_script_and_label_every_field(world: World):
    path = await ask(world, host="h*", account="*")
    alice = await verified(world)
    pages = [await alice.get(one) for one in ("/", "/docs", "/t/default/", "/t/default/mfa", path, "/t/default/x")]
    pages.append(await Browser(world).get("/t/default/login"))
    pages.append(await alice.submit(pages[3].form("/enrol")))
    for page in pages:
        tags = page.read().tags
        assert "script" not in [tag for tag, _ in tags], page.path
        labelled = {found["for"] for tag, found in tags if tag == "label"}
        for tag, found in tags:
            assert not [name for name in found if name.startswith("on") or name == "style"], (page.path, tag, found)
            for name in ("src", "href"):
                if tag != "a" and found.get(name):
                    assert found[name].startswith(("/static/", "data:")), (page.path, found)
            if tag == "select" or (tag == "input" and found.get("type") != "hidden"):
                assert found["id"] in labelled, (page.path, found)
            assert tag != "html" or found["lang"] == "en"
