"""What stands in a certificate is what was granted: in the answer, in the bytes and in the database."""

import base64
import itertools
import re
import struct

from tests.api.certs import read
from tests.api.stores import query
from tests.world import basic

KEY_ID = re.compile(r"t=default;c=portal;u=alice;r=[0-9a-f]{13}")


def strings(blob):
    """Read the parts of an Ed25519 user certificate by hand (PROTOCOL.certkeys)."""
    at, parts = 0, []
    for kind in "ssssQIsssQQssssss"[:2] + "sQIssQQsssss":
        size = {"Q": 8, "I": 4}.get(kind)
        if size is None:
            size = struct.unpack(">I", blob[at : at + 4])[0]
            at += 4
        parts.append(blob[at : at + size])
        at += size
    assert at == len(blob)
    return parts


NAMES = (
    *("algorithm", "nonce", "public_key", "serial", "type", "key_id", "principals", "valid_after", "valid_before"),
    *("critical", "extensions", "reserved", "ca", "signature"),
)


def parsed(certificate):
    blob = base64.b64decode(certificate.split(" ")[1])
    assert len(blob) <= 8192
    return dict(zip(NAMES, strings(blob), strict=True))


async def test_B_05_B_06_B_09_the_answer_the_certificate_and_the_database_agree(world, tmp_path):
    nonces, serials = set(), set()
    for count in range(40):
        headers = {"X-Request-ID": f"evil;c=root;{count}", "X-Key-ID": "root"}
        issued = await world.call(
            "POST", "certificates", auth=world.clients["portal"], json=world.issue_body(), headers=headers
        )
        one = issued.json
        assert KEY_ID.fullmatch(one["key_id"]), one["key_id"]
        assert one["key_id"].endswith(issued.headers["X-Request-ID"])
        assert "evil" not in issued.headers["X-Request-ID"]
        assert isinstance(one["serial"], str)
        parts = parsed(one["certificate"])
        assert str(int.from_bytes(parts["serial"], "big")) == one["serial"] != "0"
        assert parts["reserved"] == b""
        assert parts["key_id"].decode() == one["key_id"]
        assert len(parts["nonce"]) == 32
        nonces.add(parts["nonce"])
        serials.add(one["serial"])
        if count % 10 == 0:
            seen = read(tmp_path, one["certificate"])
            assert (seen.type, seen.serial, seen.key_id) == (
                "ssh-ed25519-cert-v01@openssh.com",
                one["serial"],
                one["key_id"],
            )
            assert seen.valid == (one["valid_after"], one["valid_before"])
            assert seen.principals == one["principals"] == ["alice@h1"]
            assert (seen.public_key, seen.ca) == (one["public_key_fingerprint"], one["ca_fingerprint"])
    assert len(nonces) == len(serials) == 40
    assert {str(row[0]) for row in await query(world, "SELECT serial FROM certificates")} == serials


async def test_B_05_the_largest_serial_goes_through_everything(world, monkeypatch):
    monkeypatch.setattr(world.context.issuance, "_serials", itertools.repeat(2**63 - 1))
    one = (await world.issue()).json
    assert one["serial"] == str(2**63 - 1)
    record = await world.good("GET", f"certificates/{one['serial']}", auth=world.operator)
    assert record["serial"] == one["serial"]
    assert await query(world, "SELECT serial FROM certificates") == [(2**63 - 1,)]
    assert (await world.check(one["certificate"])).json["serial"] == one["serial"]
    made = await world.good("POST", "revocations", auth=world.operator, json={"serial": one["serial"], "reason": "x"})
    assert made["value"] == one["serial"]
    # A serial is unique: the same one is never issued again.
    assert (await world.issue()).status == 503


async def test_the_record_is_the_answer_without_the_certificate(world):
    issued = (await world.issue()).json
    assert issued.pop("certificate").startswith("ssh-ed25519-cert-v01@openssh.com AAAA")
    for auth in (world.operator, world.clients["portal"], world.sessions["alice"]):
        assert await world.good("GET", f"certificates/{issued['serial']}", auth=auth) == issued
    columns = await query(world, "SELECT * FROM certificates")
    assert b"PRIVATE" not in repr(columns).encode()


async def test_B_10_options_are_canonical_and_byte_exact(world, tmp_path):
    await world.good("POST", f"delegations/{world.delegation['id']}/revoke", auth=world.sessions["alice"])
    command = """/opt/run "a b" 'c' $(id) `id`; echo é \U0001f600 | tee \\x && true"""
    await world.delegate(
        "alice",
        "portal",
        "h1",
        "alice",
        constraints={
            "force_command": command,
            "source_address": ["2001:db8::/32", "192.0.2.7", "10.0.0.0/8", "10.0.0.0/8"],
            "extensions": ["permit-pty", "permit-X11-forwarding", "permit-pty"],
        },
    )
    one = (await world.issue(force_command=command)).json
    assert one["critical_options"] == {
        "force-command": command,
        "source-address": "10.0.0.0/8,192.0.2.7/32,2001:db8::/32",
    }
    assert one["extensions"] == ["permit-X11-forwarding", "permit-pty"]
    parts = parsed(one["certificate"])
    assert command.encode() in parts["critical"]
    seen = read(tmp_path, one["certificate"])
    assert list(seen.critical) == ["force-command", "source-address"]
    assert seen.extensions == one["extensions"]
    narrower = (await world.issue(force_command=command, source_address=["10.1.0.0/16"], extensions=[])).json
    assert narrower["critical_options"]["source-address"] == "10.1.0.0/16"
    assert narrower["extensions"] == []


BAD_OPTIONS = [
    ("source_address", ["127.0.0.1/0"]),
    ("source_address", ["10.0.0.1/8"]),
    ("source_address", ["10.0.0.0/255.0.0.0"]),
    ("source_address", ["example.org"]),
    ("source_address", ["!10.0.0.0/8"]),
    ("source_address", ["10.0.0.0/8,0.0.0.0/0"]),
    ("source_address", ["*"]),
    ("source_address", ["::ffff:10.0.0.0/104"]),
    ("source_address", [f"10.0.{n}.0/24" for n in range(33)]),
    ("force_command", "a\nb"),
    ("force_command", "a\0b"),
    ("force_command", "a\rb"),
    ("force_command", " "),
    ("force_command", ""),
    ("force_command", "x" * 4097),
    ("force_command", "a\u202eb"),
    ("extensions", ["permit-everything"]),
    ("extensions", ["force-command"]),
    ("extensions", ["permit-pty\0"]),
    ("extensions", ["login@github.com"]),
    ("critical_options", {"verify-required": ""}),
    ("principals", ["root"]),
    ("key_id", "root"),
    ("serial", "1"),
    ("valid_before", "2099-01-01T00:00:00Z"),
]


async def test_B_10_options_that_are_not_ours_are_refused_by_name(world):
    for field, bad in BAD_OPTIONS:
        refused = await world.issue(**{field: bad})
        assert (refused.status, refused.code) == (400, "invalid_request"), (field, bad)
        assert any(name.startswith(field) for name in refused.json["fields"]), (field, bad)
    assert (await world.issue()).status == 201


async def test_B_11_extensions_are_none_unless_the_delegation_grants_them(world, tmp_path):
    plain = (await world.issue()).json
    assert plain["extensions"] == []
    assert read(tmp_path, plain["certificate"]).extensions == []
    for name in (
        "permit-pty",
        "permit-agent-forwarding",
        "permit-X11-forwarding",
        "permit-port-forwarding",
        "permit-user-rc",
    ):
        assert (await world.issue(extensions=[name])).code == "extension_not_allowed"
    await world.delegate("alice", "portal", "h1", "alice", constraints={"extensions": ["permit-pty"]})
    assert (await world.issue()).json["extensions"] in ([], ["permit-pty"])
    assert (await world.issue(extensions=["permit-pty"])).json["extensions"] == ["permit-pty"]


HOSTILE = [
    *("", " ", "root,alice", "alice,root", "alice root", "alice\troot", "alice\nroot", "alice\rroot", "alice\0root"),
    *("#alice", '"alice"', "'alice'", "*", "al*ce", "alice?", "!alice", "a\\lice", "a/lice", "/alice", "-alice", ".alice"),
    *("älice", "аlice", "alice\u200b", "alice\u2028", "\ufeffalice", "ALICE\u0130", "alice;id", "$(id)", "`id`", "a|b", "a&b"),
    *("alice@h1", "alice@", "@h1", "root@h1,alice", "alice@h2", "alice@h1@h1", "a=b", "a:b", "alice:", "%u", "~alice", "{}"),
    *("alice\x1b[2J", "alice\x7f", "alice\x85", "x" * 33, "x" * 129, "x" * 5000, "..", "../root", "alice ", " alice", "a(b)"),
    *("alice<", "alice>", "alice^", "[a]", "a]b", "0", "1alice", "+alice", "=alice", "alice\x0b", "alice\x0c", "ａlice"),
    *(f"alice{chr(code)}" for code in range(1, 32)),
    *(f"{chr(code)}alice" for code in (*range(33, 43), 47, *range(58, 65), *range(91, 95), 96, *range(123, 127))),
    *("alice\u00a0", "alice\u3000", "alice\u0000", "root\u0000", "alice\uffff", "\U0001f600", "alice\u0301", "cert-authority"),
]  # fmt: skip


async def test_B_02_no_hostile_string_reaches_a_principal(world):
    assert len(set(HOSTILE)) >= 120
    for bad in HOSTILE:
        for surface in ("account", "user", "host"):
            refused = await world.issue(**{surface: bad})
            assert refused.status in {400, 403}, (surface, bad)
        link = {"user": "alice", "host": "h1", "account": bad, "expires_at": "2099-01-01T00:00:00Z"}
        made = await world.call("POST", "account-links", auth=world.operator, json=link)
        named = re.fullmatch(r"[a-z_][a-z0-9_.-]{0,31}", bad) is not None
        assert made.status == (201 if named else 400), bad
        wish = {"user": "alice", "host": "h1", "lifetime_seconds": 600, "purpose": "x", "account": bad}
        asked = await world.call("POST", "delegations", auth=world.clients["portal"], json=wish)
        assert asked.status == (201 if named or bad in {"*", "al*ce", "*alice"} else 400), bad
        host = await world.call("POST", "hosts", auth=world.operator, json={"host": bad})
        assert host.status in ({201} if re.fullmatch(r"[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?", bad) else {400}), bad
        if bad:
            yes = await world.call(
                "POST", "hosts/h1/principals", auth=world.hosts["h1"], json={"account": bad, "certificate": "x"}
            )
            assert yes.status == 400
    principals = await query(world, "SELECT principals FROM certificates")
    assert principals == []


async def test_certificates_are_listed_to_those_whose_they_are(world):
    await world.add_client("batch")
    await world.add_user("bob")
    await world.link("bob", "h1", "bob")
    await world.delegate("bob", "batch", "h1", "bob")
    mine = [(await world.issue()).json["serial"] for _ in range(3)]
    theirs = (await world.issue(client_id="batch", user="bob", account="bob")).json["serial"]
    made = await world.good("POST", "admins", auth=world.operator, json={"admin_id": "boss"})
    seen = {
        "portal": (world.clients["portal"], mine),
        "batch": (world.clients["batch"], [theirs]),
        "alice": (world.sessions["alice"], mine),
        "bob": (world.sessions["bob"], [theirs]),
        "admin": (basic("boss", made["secret"]), [*mine, theirs]),
        "operator": (world.operator, [*mine, theirs]),
    }
    for who, (auth, serials) in seen.items():
        found = [one["serial"] for one in (await world.good("GET", "certificates", auth=auth))["items"]]
        assert found == serials[::-1], who
        for serial in [*mine, theirs]:
            status = (await world.call("GET", f"certificates/{serial}", auth=auth)).status
            assert status == (200 if serial in serials else 404), (who, serial)
        # A filter narrows further and never widens.
        other = await world.good("GET", "certificates?user=bob&client_id=batch&host=h1", auth=auth)
        assert [one["serial"] for one in other["items"]] == [theirs] * (theirs in serials)
