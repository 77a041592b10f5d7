"""The user's own page shows what is reserved, and ends it."""

from tests.api.page_fixtures import Browser, verified
from tests.reservations.test_reservations import HOUR, child_of, reserve


async def test_my_page_shows_what_is_reserved_and_ends_it(world):
    assert "Reserved" not in (await (await verified(world)).get("/t/default/")).text
    parent = (await reserve(world, purpose="a long <run>")).json["id"]
    other = (await reserve(world, lifetime_seconds=HOUR)).json["id"]
    child = (await child_of(world, parent)).json["id"]
    await world.add_user("mallory")
    assert "Reserved" not in (await (await verified(world, "mallory")).get("/t/default/")).text
    alice = await verified(world)
    page = await alice.get("/t/default/")
    for words in ("Reserved", "portal", "a long <run>", f"{child[:8]} , part of {parent[:8]} ,"):
        assert words in page.text, words
    assert page.text.count("part of") == 1  # the other two are nobody's
    assert all(f"{name[:8]} ," in page.text for name in (parent, other, child))
    ends = [form for form in page.read().forms if form.action.endswith("/end")]
    assert {form.action.split("/")[4] for form in ends} == {parent, child, other}
    page = await alice.submit(page.form(f"/{parent}/end"))
    assert [form.action.split("/")[4] for form in page.read().forms if form.action.endswith("/end")] == [other]
    for name in (parent, child):
        assert (await world.issue(reservation_id=name)).code == "reservation_unknown"
    assert (await world.issue(reservation_id=other)).status == 201


async def test_ending_needs_my_own_session_its_token_and_a_second_factor(world):
    name = (await reserve(world)).json["id"]
    await world.add_user("mallory")
    mallory, alice = await verified(world, "mallory"), await verified(world)
    path = f"/t/default/reservations/{name}/end"
    token = (await mallory.get("/t/default/")).form("/logout").fields["csrf"]
    mine = (await alice.get("/t/default/")).form("/logout").fields["csrf"]
    assert (await mallory.post(path, {"csrf": token})).status == 404
    assert (await mallory.post(path.replace(name, "x"), {"csrf": token})).status == 404
    assert (await Browser(world).post(path, {"csrf": mine})).status == 401
    assert (await alice.post(path, {"csrf": token})).status == 403
    assert (await alice.post(path, {})).status == 403
    world.clock.move(13 * HOUR)
    again = Browser(world)
    await again.log_in("alice")
    page = await again.get("/t/default/")
    assert "Reserved" in page.text
    assert not [form for form in page.read().forms if form.action.endswith("/end")]
    assert (await again.post(path, {"csrf": page.form("/logout").fields["csrf"]})).status == 403
    assert (await world.issue(reservation_id=name)).status == 201
