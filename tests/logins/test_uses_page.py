"""The number of logins on the page on which a user approves."""

import pytest

from tests.api.page_fixtures import ask, record, verified
from tests.world import World


async def test_the_number_that_is_asked_for_stands_on_the_page_and_can_be_lowered(world: World):
    path = await ask(world, host="h1", account="alice", constraints={"max_uses": 5})
    alice = await verified(world)
    page = await alice.get(path)
    assert "Log-ins at most 5" in " ".join(page.text.split())
    page = await alice.submit(page.form("/approve"), max_uses="3")
    assert "at most 3; 3 left" in " ".join(page.text.split())
    found = await record(world, path)
    assert (found["status"], found["constraints"]["max_uses"], found["uses_left"]) == ("approved", 3, 3)


@pytest.mark.parametrize("wish", ["6", "0", "-1", "٣", "many"])
async def test_a_number_that_is_higher_or_none_approves_nothing(world: World, wish):
    path = await ask(world, host="h1", account="alice", constraints={"max_uses": 5})
    alice = await verified(world)
    page = await alice.send((await alice.get(path)).form("/approve"), max_uses=wish)
    assert (page.status, (await record(world, path))["status"]) == (400, "pending")


async def test_an_empty_field_keeps_what_was_asked(world: World):
    path = await ask(world, host="h1", account="alice")
    alice = await verified(world)
    await alice.submit((await alice.get(path)).form("/approve"))
    found = await record(world, path)
    assert (found["status"], found["constraints"]["max_uses"], found["uses_left"]) == ("approved", None, None)
