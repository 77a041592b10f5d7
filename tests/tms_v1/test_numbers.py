"""The numbers by which the wire names things: each is given once."""

from tests.tms_v1.wire import Tms


async def test_a_number_of_what_was_deleted_is_not_given_again(tms: Tms):
    given = []
    for turn in range(3):
        host = {"tenant": "default", "host": "h1", "addr": f"192.0.2.{turn}"}
        await tms.good("POST", "hosts", tms.admin, host, 201)
        ((one),) = (await tms.good("GET", "hosts/list", tms.admin))["users"]
        given.append(one["id"])
        assert (await tms.good("GET", f"hosts/{one['id']}", tms.admin))["addr"] == host["addr"]
        assert (await tms.good("DELETE", "hosts/del", tms.admin, host))["num_deleted"] == 1
        await tms.no("GET", f"hosts/{one['id']}", tms.admin, None, 404)
    assert given == sorted(set(given))
    assert len(given) == 3
