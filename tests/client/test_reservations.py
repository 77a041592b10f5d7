"""Reservations on the command lines of applications and operators."""

import subprocess

from tests.client.conftest import Machines


def test_from_a_reservation_to_a_certificate_and_its_end(machines: Machines):
    machines.running.user("rosa")
    person, portal = machines.person("laptop"), machines.application()
    person.log_in("rosa")
    asked = portal("delegate", "rosa", "rosa@h1", "--for", "8h", "--purpose", "nightly run")
    reserve = ("reserve", "rosa", "rosa@h1", "--purpose", "run 7")
    assert "(delegation_pending)" in portal(*reserve, "--for", "48h", code=1).err
    person("approve", asked.field("id"))
    assert "(invalid_request)" in portal(*reserve, "--for", "49h", code=1).err
    portal(*reserve, code=2)
    name = portal(*reserve, "--for", "48h").field("id")
    child = portal(*reserve, "--under", name)
    assert child.field("parent_id") == name
    key = portal.home / "id"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    cert = ("cert", "rosa", "rosa@h1", "--key", key.with_suffix(".pub"), "--reservation")
    issued = portal(*cert, child.field("id"), "--json").json
    assert issued["reservation_id"] == child.field("id")

    operator = machines.running.operator
    listed = operator.json("reservations", "list", "--user", "rosa")
    assert {one["id"] for one in listed} == {name, child.field("id")}
    assert operator.json("reservations", "list", "--user", "nobody") == []
    shown = operator.json("reservations", "show", child.field("id"))
    assert operator.json("reservations", "list", "--parent", name) == [shown]
    portal("unreserve", child.field("id"))
    assert "(reservation_unknown)" in portal(*cert, child.field("id"), code=1).err
    other = portal(*reserve, "--under", name).field("id")
    assert operator("reservations", "delete", name, "--related").out == f"took reservation {name} back\n"
    assert operator.json("reservations", "list", "--user", "rosa") == []
    for gone in (name, other):
        assert "(reservation_unknown)" in portal(*cert, gone, code=1).err
    assert "reservation_unknown" in operator("reservations", "delete", name, code=1).err
    last = portal(*reserve, "--for", "1h").field("id")
    person("unreserve", last)
    assert operator.json("reservations", "list", "--user", "rosa") == []
