"""hosts: addresses that are noted and no more, with every status and text."""

from tests.api.stores import events, query

NOTED = {"tenant": "default", "host": "h7", "addr": "192.0.2.7"}


async def test_addresses_are_noted_listed_and_forgotten(tms):
    said = await tms.good("POST", "hosts", tms.admin, NOTED, 201)
    assert said == {"result_code": "0", "result_msg": "success", **NOTED}
    for host, addr in (("h7", "[10.0.0.1, 10.0.0.9]"), ("h10", "10.1.*"), ("h7", "")):
        await tms.good("POST", "hosts", tms.admin, {**NOTED, "host": host, "addr": addr}, 201)
    whole = await tms.good("GET", "hosts/list", tms.admin)
    assert whole["num_mappings"] == 4
    assert [(one["host"], one["addr"]) for one in whole["users"]] == [
        ("h10", "10.1.*"), ("h7", ""), ("h7", "192.0.2.7"), ("h7", "[10.0.0.1, 10.0.0.9]")
    ]  # fmt: skip
    for listed in whole["users"]:
        one = await tms.good("GET", f"hosts/{listed['id']}", tms.admin)
        assert {name: one[name] for name in listed} == listed
        assert set(listed) == {"id", "tenant", "host", "addr", "created", "updated"}
    assert await query(tms.world, "SELECT * FROM hosts") == []  # nobody can log in because of an address
    said = await tms.good("DELETE", "hosts/del", tms.admin, NOTED)
    assert (said["num_deleted"], said["result_msg"]) == (1, "Host h7 -> 192.0.2.7 deleted in tenant default")
    said = await tms.good("DELETE", "hosts/del", tms.admin, NOTED)
    assert (said["num_deleted"], said["result_msg"]) == (
        0, "Host mapping h7 -> 192.0.2.7 NOT FOUND for tenant default - Nothing deleted"
    )  # fmt: skip
    for gone in (whole["users"][2]["id"], 2**31 - 1):
        assert await tms.no("GET", f"hosts/{gone}", tms.admin, None, 404) == "NOT_FOUND"
    assert [one["action"] for one in await events(tms.world, target="h7")].count("host-addresses.create") == 3
    assert len(await events(tms.world, action="host-addresses.delete")) == 1


async def test_what_cannot_be_noted_is_400_and_the_same_again_409(tms):
    for change, said in (
        ({"host": "H7"}, "host: 'H7' cannot be a host: 1-63 of a-z 0-9 . -"),
        ({"addr": "x" * 256}, f"addr: {'x' * 60!r} cannot be noted: at most 255 characters, each printable"),
        ({"addr": "a\nb"}, "addr: 'a\\nb' cannot be noted: at most 255 characters, each printable"),
    ):
        assert await tms.no("POST", "hosts", tms.admin, {**NOTED, **change}, 400) == f"ERROR: {said}"
        assert (await tms.good("DELETE", "hosts/del", tms.admin, {**NOTED, **change}))["num_deleted"] == 0
    await tms.good("POST", "hosts", tms.admin, {**NOTED, "addr": "x" * 255}, 201)  # the twin
    await tms.good("POST", "hosts", tms.admin, NOTED, 201)
    said = await tms.no("POST", "hosts", tms.admin, NOTED, 409)
    assert said == "ERROR: the address '192.0.2.7' of the host 'h7' is noted already"
