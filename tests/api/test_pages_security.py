"""Who may do what on a page, and every way in which a browser can be turned against its user."""

import base64
from dataclasses import replace
from urllib.parse import quote, urlsplit

import pytest
from aiohttp import web
from yarl import URL

from tests.api.page_fixtures import Browser, Form, Seen, ask, record, status_of, verified
from tests.world import PASSWORD, World
from tms_ca.app import build_app
from tms_ca.observe import Log

DECISIONS = ("approve", "deny")

XSS = [
    "<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "'><svg/onload=alert(1)>", "</title><script>1</script>",
    "javascript:alert(1)", "{{7*7}}", "{% raw %}", "${7*7}", "<!--", "]]>", "&lt;script&gt;", '" autofocus onfocus="alert(1)',
    "</dd></dl><form action=//evil.example>", "<base href=//evil.example>", "<style>*{display:none}</style>",
    "<meta http-equiv=refresh content=0;url=//evil.example>", "<a href=javascript:alert(1)>x</a>", "`onload=1`",
]  # fmt: skip

# None of them may leave the origin.
ELSEWHERE = [
    "//evil.example", "/\\evil.example", "\\\\evil.example", "https:evil.example", "https://evil.example/",
    "http:///evil.example", "///evil.example", "/t/default/@evil.example", "@evil.example", "javascript:alert(1)",
    "data:text/html,x", "/t/default/\r\nLocation: https://evil.example", "/t/default/%0d%0aX: y", "/%2f/evil.example",
    "/t/default/..//evil.example", "/t/default/../../evil", "/t//evil.example", "/t/default//evil.example",
    "/t/default/\n", "\t//evil.example", " //evil.example", "/t/default/?next=//evil.example", "/t/default/#//evil",
    "/t/default/delegations/dlg_a", "/t/other/", "//evil。example", "/\u2024/evil.example", "/t/default/logout",
    "http://127.0.0.1:1/t/default/", "/api/v1/tenants",
]  # fmt: skip


async def _decision(world: World, browser: Browser, **more: object) -> tuple[str, Form]:
    """Return the path of a fresh request and the form on its page."""
    path = await ask(world, **more)
    return path, (await browser.get(path)).form("/approve")


async def _refused(world: World, path: str, seen: Seen, status: int) -> None:
    assert seen.status == status, (seen.status, seen.text)
    assert seen.headers["Content-Type"].startswith("text/html")
    assert await status_of(world, path) == "pending"


@pytest.mark.parametrize("verb", DECISIONS)
async def test_deciding_needs_a_session(world: World, verb: str):
    path, form = await _decision(world, await verified(world))
    await _refused(world, path, await Browser(world).post(f"{path}/{verb}", form.fields), 401)
    page = await Browser(world).get(path)
    assert (page.status, page.headers["Location"]) == (303, f"/t/default/login?next={quote(path, safe='')}")


@pytest.mark.parametrize("verb", [*DECISIONS, "revoke"])
async def test_another_users_delegation_looks_like_none(world: World, verb: str):
    await world.add_user("mallory")
    path, form = await _decision(world, await verified(world))
    mallory = await verified(world, "mallory")
    token = (await mallory.get("/t/default/")).form("/logout").fields["csrf"]
    foreign = await mallory.post(f"{path}/{verb}", {**form.fields, "csrf": token})
    await _refused(world, path, foreign, 404)
    nowhere = path[:-20] + "a" * 20
    missing = await mallory.post(f"{nowhere}/{verb}", {**form.fields, "csrf": token})
    assert _without_id(foreign) == _without_id(missing)
    assert _without_id(await mallory.get(path)) == _without_id(await mallory.get(nowhere))


def _without_id(seen: Seen) -> tuple[int, str]:
    return seen.status, seen.text.partition(", request")[0]


@pytest.mark.parametrize("verb", DECISIONS)
async def test_another_tenants_session_is_none(world: World, verb: str):
    await world.good("POST", "/api/v1/tenants", auth=world.operator, json={"tenant": "other"})
    await world.good("POST", "users", auth=world.operator, tenant="other", json={"user": "alice", "password": PASSWORD})
    path, form = await _decision(world, await verified(world))
    elsewhere = Browser(world)
    assert (await elsewhere.log_in("alice", tenant="other")).status == 200
    assert (await elsewhere.get("/t/other/")).status == 200
    await _refused(world, path, await elsewhere.post(f"{path}/{verb}", form.fields), 401)
    assert (await elsewhere.get(path)).status == 303


@pytest.mark.parametrize("verb", DECISIONS)
async def test_deciding_needs_a_second_factor(world: World, verb: str):
    path, form = await _decision(world, await verified(world))
    world.clock.move(13 * 3600)  # the window has ended
    again = Browser(world)
    await again.log_in("alice")
    token = (await again.get("/t/default/")).form("/logout").fields["csrf"]
    await _refused(world, path, await again.post(f"{path}/{verb}", {**form.fields, "csrf": token}), 403)
    page = await again.get(path)
    assert page.headers["Location"].startswith("/t/default/mfa?next=")
    events = await world.good("GET", "audit-events?action=delegations.decide", auth=world.operator)
    assert [one["outcome"] for one in events["items"]] == ["mfa_required"]


async def test_the_second_factor_counts_until_its_last_second(world: World):
    """The session must outlive the window here, so the window is made short."""
    await world.good("PATCH", "/api/v1/tenants/default", auth=world.operator, json={"mfa_window_seconds": 600})
    alice = await verified(world)
    first, form = await _decision(world, alice)
    second, other = await _decision(world, alice)
    world.clock.move(599)
    assert (await alice.send(form)).status == 303
    assert await status_of(world, first) == "approved"
    world.clock.move(1)
    await _refused(world, second, await alice.send(other), 403)
    revoked = await alice.post(f"{first}/revoke", {"csrf": form.fields["csrf"]})
    assert revoked.status == 403
    assert await status_of(world, first) == "approved"


@pytest.mark.parametrize("verb", DECISIONS)
@pytest.mark.parametrize("token", ["none", "empty", "wrong", "of another session", "of before the log-in"])
async def test_I_02_a_form_without_this_sessions_token_changes_nothing(world: World, verb: str, token: str):
    alice, fresh = await verified(world), Browser(world)
    path, form = await _decision(world, alice)
    fields = dict(form.fields)
    good = fields.pop("csrf")
    if token == "of another session":
        fields["csrf"] = (await (await verified(world)).get("/t/default/")).form("/logout").fields["csrf"]
    elif token == "of before the log-in":
        fields["csrf"] = (await fresh.get("/t/default/login")).form("/login").fields["csrf"]
        alice.cookies["tms-before"] = fresh.cookies["tms-before"]
    elif token != "none":
        fields["csrf"] = {"empty": "", "wrong": good[:-1] + ("0" if good[-1] != "0" else "1")}[token]
    await _refused(world, path, await alice.post(f"{path}/{verb}", fields), 403)
    assert (await alice.post(f"{path}/{verb}", {**fields, "csrf": good})).status == 303


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}, {"Origin": "https://evil.example"},
        {"Origin": "null", "Sec-Fetch-Site": "cross-site"}, {"Origin": "null", "Sec-Fetch-Site": "none"},
        {"Content-Type": "text/plain"}, {"Content-Type": "application/json"},
        {"Content-Type": "multipart/form-data; boundary=x"},
    ],
)  # fmt: skip
async def test_I_02_a_form_from_elsewhere_changes_nothing(world: World, headers: dict[str, str]):
    alice = await verified(world)
    path, form = await _decision(world, alice)
    await _refused(world, path, await alice.post(form.action, form.fields, headers=headers), 403)
    own = {"Origin": world.context.public_url}
    assert (await alice.post(form.action, form.fields, headers=own)).status == 303


async def test_logging_in_and_out_need_the_token_too(world: World):
    browser = Browser(world)
    good = {"user": "alice", "password": PASSWORD}
    assert (await browser.post("/t/default/login", good)).status == 403
    form = (await Browser(world).get("/t/default/login")).form("/login")  # another browser's
    await browser.get("/t/default/login")
    assert (await browser.post("/t/default/login", {**form.fields, **good})).status == 403
    assert "tms" not in browser.cookies
    alice = await verified(world)
    for action in ("logout", "mfa", "mfa/enrol"):
        assert (await alice.post(f"/t/default/{action}", {"code": "1"})).status == 403
    assert (await alice.get("/t/default/")).status == 200


async def test_no_get_changes_anything(world: World):
    alice = await verified(world)
    path, form = await _decision(world, alice)
    for action in ("approve", "deny", "revoke"):
        query = "&".join(f"{name}={value}" for name, value in form.fields.items())
        assert (await alice.get(f"{path}/{action}?{query}")).status == 404
    assert await status_of(world, path) == "pending"
    for action in ("logout", "mfa/enrol"):
        assert (await alice.get(f"/t/default/{action}")).status == 404
    assert (await alice.get("/t/default/")).status == 200


@pytest.mark.parametrize("verb", DECISIONS)
async def test_a_form_sent_again_after_the_decision_is_a_conflict(world: World, verb: str):
    alice = await verified(world)
    path, form = await _decision(world, alice)
    assert (await alice.send(form)).status == 303
    before = await record(world, path)
    again = await alice.post(f"{path}/{verb}", form.fields)
    assert again.status == 409
    assert "text/html" in again.headers["Content-Type"]
    assert await record(world, path) == before


@pytest.mark.parametrize("verb", DECISIONS)
async def test_D_10_what_has_changed_since_it_was_shown_is_not_decided(world: World, verb: str):
    alice = await verified(world)
    path, form = await _decision(world, alice)
    await world.good("PATCH", "clients/portal", auth=world.operator, json={"display_name": "Your Bank"})
    page = await alice.post(f"{path}/{verb}", form.fields)
    await _refused(world, path, page, 409)
    assert path in page.read().links
    for shown in ("", "0" * 64, "é"):
        await _refused(world, path, await alice.post(f"{path}/{verb}", {**form.fields, "shown": shown}), 409)
    assert (await alice.send((await alice.get(path)).form("/approve"))).status == 303


async def test_D_10_the_form_of_one_request_does_not_decide_another(world: World):
    alice = await verified(world)
    _, form = await _decision(world, alice)
    other = await ask(world, host="*", account="*")
    await _refused(world, other, await alice.post(f"{other}/approve", form.fields), 409)


async def test_I_01_the_session_is_new_at_log_in_and_dead_after_log_out(world: World):
    alice = await verified(world)
    first = dict(alice.cookies)
    await alice.submit((await alice.get("/t/default/login")).form("/login"), user="alice", password=PASSWORD)
    assert alice.cookies["tms"] != first["tms"]
    assert (await Browser(world, first).get("/t/default/")).status == 303
    second = dict(alice.cookies)
    page = await alice.submit((await alice.get("/t/default/")).form("/logout"))
    assert "Log in" in page.text
    assert "tms" not in alice.cookies
    assert (await Browser(world, second).get("/t/default/")).status == 303


async def test_I_01_a_session_given_before_the_log_in_is_not_kept(world: World):
    victim = Browser(world, {"tms": "tms_s_" + "A" * 43})
    page = await victim.log_in("alice")
    assert page.status == 200
    assert victim.cookies["tms"] != "tms_s_" + "A" * 43


async def test_I_01_a_disabled_users_session_is_dead(world: World):
    alice = await verified(world)
    path, form = await _decision(world, alice)
    await world.good("PATCH", "users/alice", auth=world.operator, json={"enabled": False})
    await _refused(world, path, await alice.send(form), 403)
    assert "tms" not in alice.cookies


async def test_the_cookie_opens_no_api_and_a_clients_secret_no_page(world: World):
    alice = await verified(world)
    for path in ("delegations", "mfa", "users/alice"):
        assert (await alice.get(f"/api/v1/tenants/default/{path}")).status == 401
    assert (await alice.request("DELETE", "/api/v1/tenants/default/sessions/current")).status == 401
    secret = base64.b64decode(world.clients["portal"].removeprefix("Basic ")).decode().partition(":")[2]
    for token in (secret, world.hosts["h1"], "", "x", "tms_s_x", '"', "a" * 4000):
        assert (await Browser(world, {"tms": token}).get("/t/default/")).status == 303


async def test_a_wrong_code_at_log_in_leaves_no_session(world: World):
    browser = Browser(world)
    page = await browser.log_in("alice", code=world.wrong_code("alice"))
    assert page.status == 401
    assert "code is wrong" in page.text
    assert "tms" not in browser.cookies
    events = await world.good("GET", "audit-events?action=sessions.end", auth=world.operator)
    assert len(events["items"]) == 1


async def test_C_05_unknown_users_and_wrong_passwords_read_alike(world: World):
    browser = Browser(world)
    form = (await browser.get("/t/default/login")).form("/login")
    answers = [
        await browser.send(form, user=user, password="wrong wrong wrong")
        for user in ("alice", "nobody", "no such user!", "é", "a" * 100)
    ]
    assert {page.status for page in answers} == {401}
    assert len({page.text for page in answers}) == 1


async def test_C_04_too_many_failures_say_when_to_come_back(world: World):
    browser = Browser(world)
    form = (await browser.get("/t/default/login")).form("/login")
    for _ in range(5):
        assert (await browser.send(form, user="alice", password="wrong wrong wrong")).status == 401
    page = await browser.send(form, user="alice", password=PASSWORD)
    assert page.status == 429
    assert int(page.headers["Retry-After"]) > 0
    assert f"try again in {page.headers['Retry-After']} seconds" in page.text
    assert "tms" not in browser.cookies
    world.clock.move(int(page.headers["Retry-After"]))
    assert (await browser.send(form, user="alice", password=PASSWORD)).status == 303


async def test_I_04_what_a_client_writes_is_shown_as_text(world: World):
    alice = await verified(world)
    for payload in XSS:
        await world.good("PATCH", "clients/portal", auth=world.operator, json={"display_name": payload})
        path = await ask(world, purpose=payload, constraints={"force_command": payload})
        pages = [await alice.get(path), await alice.get("/t/default/")]
        pages.append(await alice.submit(pages[0].form("/approve"), host=payload))
        pages.append(await alice.submit(pages[0].form("/approve")))
        pages.append(await alice.get(f"/t/default/mfa?next={quote(payload, safe='')}"))
        form = (await alice.get("/t/default/login")).form("/login")
        pages.append(await alice.send(form, user=payload, password="wrong"))
        for page in pages:
            reader = page.read()
            assert {tag for tag, _ in reader.tags}.isdisjoint({"script", "svg", "base", "style", "img"}), page.body
            assert not [name for _, found in reader.tags for name in found if name.startswith("on")], page.body
            assert all(link.startswith(("/", "#")) for link in reader.links)
            assert all(one.action.startswith("/t/default/") for one in reader.forms)
        assert " ".join(payload.split()) in pages[0].text


async def test_I_04_a_link_back_is_of_the_web_or_none(world: World):
    """The API lets no other redirect_uri in; the page does not rely on that."""
    from sqlalchemy import update

    from tms_ca.store.tables import delegations

    alice = await verified(world)
    path, form = await _decision(world, alice)
    await alice.send(form)
    async with world.context.delegations._database.change("default") as transaction:
        await transaction.connection.execute(update(delegations).values(redirect_uri="javascript:alert(1)//x"))
    page = await alice.get(path)
    assert page.status == 200
    assert "javascript:" not in page.body


async def test_D_11_no_log_in_leads_elsewhere(world: World):
    for wanted in ELSEWHERE:
        browser = Browser(world)
        page = await browser.get(f"/t/default/login?next={quote(wanted, safe='')}")
        form = page.form("/login")
        assert form.fields["next"] == "/t/default/", wanted
        world.clock.move(30)
        tried = [await browser.send(form, user="alice", password=PASSWORD, next=wanted)]
        page = await browser.get(f"/t/default/mfa?next={quote(wanted, safe='')}")
        form = next(one for one in page.read().forms if one.action.endswith("/mfa"))
        assert form.fields["next"] == "/t/default/", wanted
        tried.append(await browser.send(form, code=world.code("alice"), next=wanted))
        assert [(seen.status, seen.headers["Location"]) for seen in tried] == [(303, "/t/default/")] * 2, wanted


async def test_a_log_in_leads_where_one_was_going(world: World):
    path = await ask(world)
    browser = Browser(world)
    page = await browser.open(path)
    assert page.form("/login").fields["next"] == path


async def test_I_03_every_page_has_the_headers(world: World):
    path = await ask(world)
    alice, stranger = await verified(world), Browser(world)
    pages = [await alice.get(one) for one in ("/", "/docs", "/t/default/", "/t/default/mfa", path, "/t/default/nope")]
    pages += [
        await stranger.get(one) for one in ("/t/default/login", path, "/t/nope/login", "/t/a%00b/", "/t/", "/t/x/y")
    ]
    pages += [await stranger.post(f"{path}/approve", {}), await alice.post(f"{path}/approve", {})]
    pages.append(await alice.post("/t/default/login", {"a": "x" * 70_000}))
    pages.append(await stranger.request("DELETE", path))
    assert [page.status for page in pages] == [
        200,
        200,
        200,
        200,
        200,
        404,
        200,
        303,
        404,
        404,
        404,
        404,
        401,
        403,
        413,
        404,
    ]
    for page in pages:
        policy = dict(part.strip().partition(" ")[::2] for part in page.headers["Content-Security-Policy"].split(";"))
        assert policy == {
            "default-src": "'none'", "style-src": "'self'", "img-src": "'self' data:", "form-action": "'self'",
            "frame-ancestors": "'none'", "base-uri": "'none'",
        }  # fmt: skip
        assert page.headers["Cache-Control"] == "no-store"
        assert page.headers["X-Content-Type-Options"] == "nosniff"
        assert page.headers["Referrer-Policy"] == "no-referrer"
        assert page.headers["Cross-Origin-Opener-Policy"] == "same-origin"
        assert page.status == 303 or page.headers["Content-Type"] == "text/html; charset=utf-8"
        assert "Traceback" not in page.body


@pytest.mark.parametrize(
    "body",
    [b"csrf=%ff%fe", b"\xff\xfe=1", b"csrf=1&csrf=2", b"&".join(b"a%d=1" % i for i in range(99)), b"=", b"%", b"a=%00"],
)
async def test_a_form_that_is_none_is_refused(world: World, body: bytes):
    alice = await verified(world)
    kind = {"Content-Type": "application/x-www-form-urlencoded; charset=bogus", "Sec-Fetch-Site": "same-origin"}
    page = await alice.request("POST", "/t/default/logout", data=body, headers=kind)
    assert page.status in {400, 403}
    assert "text/html" in page.headers["Content-Type"]
    assert (await alice.get("/t/default/")).status == 200


async def test_I_01_over_tls_the_cookies_are_bound_to_the_host(world: World):
    context = replace(world.context, public_url="https://tms.example.org")
    runner = web.AppRunner(build_app(context, world.settings, Log()), access_log=None)
    runner.app.on_cleanup.clear()  # the services belong to the other application
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        tls = Browser(replace(world, base=URL(f"http://127.0.0.1:{runner.addresses[0][1]}/")))
        page = await tls.get("/t/default/login")
        seen = await tls.send(page.form("/login"), user="alice", password=PASSWORD)
        for answer in (page, seen):
            for line in answer.headers.getall("Set-Cookie"):
                attributes = {part.strip() for part in line.split(";")[1:]}
                assert line.startswith("__Host-tms")
                assert {"Secure", "HttpOnly", "Path=/", "SameSite=Lax"} <= attributes
                assert not [one for one in attributes if one.startswith("Domain")]
        assert (await tls.get("/t/default/")).status == 200
        bare = Browser(tls.world, {"tms": tls.cookies["__Host-tms"]})
        assert (await bare.get("/t/default/")).status == 303
        assert urlsplit(seen.headers["Location"]).netloc == ""
        assert (await tls.get("/t/default/")).headers["Strict-Transport-Security"]
    finally:
        await runner.cleanup()
