"""What operators see of reservations on the command line."""

import asyncio

from tests.reservations.test_reservations import reserve
from tms_ca.cli.main import main


async def test_the_list_says_which_are_for_a_key(world, capsys):
    kept = await world.good("POST", "public-keys", auth=world.clients["portal"], json=world.issue_body())
    of_key = (await reserve(world, public_key_fingerprint=kept["fingerprint"])).json["id"]
    of_none = (await reserve(world)).json["id"]
    capsys.readouterr()
    where = ["--data", str(world.settings.data)]
    assert await asyncio.to_thread(main, ["reservations", "list", *where]) == 0
    head, *lines = capsys.readouterr().out.splitlines()
    assert "public_key_fingerprint" in head
    assert {line.split()[0]: kept["fingerprint"] in line for line in lines} == {of_key: True, of_none: False}
