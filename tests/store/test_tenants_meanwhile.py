"""Two change a tenant at once: what it is then fits together."""

from tests.overtaking import Beside, once_read
from tms_ca.store.rows import Shelf


async def test_of_two_changes_that_do_not_fit_together_one_is_refused(world, monkeypatch):
    tenant = "/api/v1/tenants/default"

    async def change(**values):
        return await world.call("PATCH", tenant, auth=world.operator, json=values)

    assert (await change(default_ttl_seconds=600, max_ttl_seconds=3600)).status == 200
    shorter = Beside(lambda: change(max_ttl_seconds=900))

    async def the_tenant_is_there():
        once_read(monkeypatch, Shelf, "get", shorter.begin)

    once_read(monkeypatch, Shelf, "get", the_tenant_is_there)
    longer = await change(default_ttl_seconds=1800)
    answers = {longer.status, (await shorter.done()).status}
    assert answers == {200, 400}
    now = await world.good("GET", tenant, auth=world.operator)
    assert now["default_ttl_seconds"] <= now["max_ttl_seconds"]
