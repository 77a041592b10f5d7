"""Real logins at a real sshd that asks as tms_keycmd 0.1 does, with key pairs that the service made."""

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from deploy.sandbox_sshd import HelperFiles, SandboxSshd
from keycmd.config import LONGEST_TIMEOUT
from tests.hostd.conftest import until
from tests.keys.test_sshd import EXTRA, INSIDE, log_in
from tests.ssh.conftest import initialised
from tests.tms_v1 import old_keycmd
from tests.tms_v1.served import Served, served

__all__ = ["initialised"]
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="the accounts of the sandbox need root")
OURS = ("BindAddress=127.0.0.2",)  # from there, sshd asks our own helper
ASKED = (
    f"AuthorizedKeysCommand {INSIDE}/tms_keycmd/tms_keycmd.sh %u %U %f %t\n"
    f"AuthorizedKeysCommandUser nobody\nMatch Address 127.0.0.2\n{EXTRA}"
)
USER, HOST, ACCOUNT = "alice@tacc", "h1", "alice"


@dataclass
class Site:
    """A service, an sshd that asks with tms_keycmd (or with our own helper, see OURS), and a user."""

    tms: Served
    sshd: SandboxSshd
    directory: Path
    client: dict[str, str] = field(default_factory=dict)
    pairs: int = 0

    def admin(self, method: str, path: str, **members: Any) -> dict[str, Any]:
        return self.tms.good(method, path, self.tms.admin, {"tenant": "default", **members})

    def grant(self) -> None:
        """Make what a key rests on, as an administrator does; what is there stays."""
        never = {"ttl_minutes": -1}
        for path, members in (
            ("usermfa", {"tms_user_id": USER}),
            ("userhosts", {"tms_user_id": USER, "host": HOST, "host_account": ACCOUNT}),
            ("delegations", {"client_id": "portal", "client_user_id": USER}),
        ):
            body = {"tenant": "default", **members, **never}
            status, said = self.tms.call("POST", path, self.tms.admin, body)
            assert status in {201, 409}, said

    def creds(self, key_type: str = "ed25519", **more: Any) -> dict[str, Any]:
        """Have a key pair made; return the answer with `path`, where the private key is."""
        wish = {"client_user_id": USER, "host": HOST, "host_account": ACCOUNT, "num_uses": -1, "ttl_minutes": -1}
        made = self.tms.good("POST", "pubkeys/creds", self.client, {**wish, "key_type": key_type, **more})
        self.pairs += 1
        path = self.directory / f"id{self.pairs}"
        path.touch(0o600)
        path.write_text(made["private_key"])
        return {**made, "path": path}

    def change(self, method: str, path: str, pair: dict[str, Any], **more: int) -> int:
        """PATCH or DELETE the pair's key; return how much was done."""
        body = {"client_id": "portal", "tenant": "default", "host": HOST,
                "public_key_fingerprint": pair["public_key_fingerprint"], **more}  # fmt: skip
        said = self.tms.good(method, path, self.client, body)
        return said.get("fields_updated", said.get("num_deleted", 0))

    def login(self, pair: dict[str, Any], **more: Any) -> bool:
        return log_in(self.sshd, pair["path"], **more)

    def set(self, statement: str, *values: object) -> None:
        """Let time pass, as far as the database is concerned."""
        with closing(sqlite3.connect(self.tms.service.data / "tms.db", timeout=60)) as database, database:
            assert database.execute(statement, values).rowcount == 1


@pytest.fixture(scope="module")
def site(initialised, tmp_path_factory) -> Iterator[Site]:
    directory = tmp_path_factory.mktemp("sshd")
    with served(initialised) as tms:
        secret = tms.service.good("POST", "clients", tms.service.operator, {"client_id": "portal"})["secret"]
        host = tms.service.good("POST", "hosts", tms.service.operator, {"host": HOST})["secret"]
        helper = HelperFiles(None, tms.url, "default", HOST, host, timeout_seconds=LONGEST_TIMEOUT)
        ca = tms.service.call("GET", "ca/user.pub").body.decode()
        old_keycmd.install(directory / "old/helper/tms_keycmd", tms.url, HOST)
        with SandboxSshd(directory / "old", ca, helper, accounts=(ACCOUNT, "bob"), extra=ASKED) as sshd:
            made = Site(tms, sshd, directory)
            made.client = {
                "X-TMS-TENANT": "default", "X-TMS-CLIENT-ID": "portal", "X-TMS-CLIENT-SECRET": secret,
            }  # fmt: skip
            yield made


@pytest.fixture(autouse=True)
def granted(site: Site) -> None:
    site.grant()


@pytest.mark.parametrize("key_type", ["ed25519", "ecdsa", "rsa"])
def test_a_key_of_each_type_opens_its_account_until_it_is_deleted(site: Site, key_type):
    pair = site.creds(key_type)
    assert site.login(pair)
    assert site.change("DELETE", "pubkeys/del", pair) == 1
    assert not site.login(pair)


def test_its_time_and_its_uses_end_and_can_be_given_again(site: Site):
    pair, other = site.creds(ttl_minutes=5, num_uses=2), site.creds()
    assert site.login(pair)
    for end, again in ({"ttl_minutes": 0}, {"ttl_minutes": 5}), ({"max_uses": 0}, {"max_uses": 9}):
        assert site.change("PATCH", "pubkeys", pair, **end) == 1
        site.set("UPDATE public_keys SET used_at = NULL WHERE fingerprint = ?", pair["public_key_fingerprint"])
        assert not site.login(pair), end
        assert site.change("PATCH", "pubkeys", pair, **again) == 1
        assert site.login(pair), again
    assert site.login(other)


def test_both_helpers_find_a_key_for_its_account_and_no_other(site: Site):
    pair, log = site.creds(), site.tms.service.data / "serve.log"
    both = ((), "tms_v1.retrieve_key"), (OURS, "check_key")
    for asked, endpoint in both:
        size = log.stat().st_size
        assert site.login(pair, options=asked)
        until(lambda at=size, name=endpoint: f'"endpoint":"{name}"' in log.read_text()[at:], 60, endpoint)
        assert not site.login(pair, options=asked, account="bob")
    assert site.change("DELETE", "pubkeys/del", pair) == 1
    assert not any(site.login(pair, options=asked) for asked, _ in both)


def test_two_uses_are_two_logins(site: Site):
    pair = site.creds(num_uses=2)
    for expected in (True, True, False):
        assert site.login(pair) is expected
        # Half a minute later: a login within it is part of the use before.
        site.set("UPDATE public_keys SET used_at = used_at - 30 WHERE fingerprint = ?", pair["public_key_fingerprint"])


def test_the_end_of_the_mfa_window_closes_it_and_a_reservation_carries_it_past(site: Site):
    pair, reserved = site.creds(), site.creds()
    wish = {"client_user_id": USER, "host": HOST, "ttl_minutes": 60,
            "public_key_fingerprint": reserved["public_key_fingerprint"]}  # fmt: skip
    reservation = site.tms.good("POST", "reservations", site.client, wish)
    site.set("UPDATE users SET mfa_until = ? WHERE user = ?", int(time.time()) - 1, USER)
    try:
        for asked in ((), OURS):
            assert not site.login(pair, options=asked)
            assert site.login(reserved, options=asked)
        # It carries past the window, and past nothing else.
        site.admin("PATCH", "usermfa/upd", tms_user_id=USER, enabled=False)
        assert not site.login(reserved)
        site.admin("PATCH", "usermfa/upd", tms_user_id=USER, enabled=True)
        assert site.login(reserved)
        site.tms.good("DELETE", f"reservations/del/portal/{reservation['resid']}", site.client)
        assert not site.login(reserved)
    finally:
        site.set("UPDATE users SET mfa_until = ? WHERE user = ?", int(time.time()) + 86400 * 365, USER)
    assert site.login(pair)


def test_whoever_is_disabled_gets_in_nowhere_until_enabled(site: Site):
    pair = site.creds()
    for path, how in (("client/upd/portal", "?enabled={}"), ("usermfa/upd", None)):
        for enabled in (False, True):
            if how is None:
                site.admin("PATCH", path, tms_user_id=USER, enabled=enabled)
            else:
                site.tms.good("PATCH", path + how.format(str(enabled).lower()), site.tms.admin)
            assert site.login(pair) is enabled, (path, enabled)


@pytest.mark.parametrize(
    ("path", "members"),
    [
        ("userhosts/del", {"tms_user_id": USER, "host": HOST, "host_account": ACCOUNT}),
        ("delegations/del", {"client_id": "portal", "client_user_id": USER}),
        (f"usermfa/del/{USER}", None),
    ],
)
def test_what_it_rests_on_takes_it_along(site: Site, path, members):
    pair = site.creds()
    assert site.login(pair)
    body = None if members is None else {"tenant": "default", **members}
    assert site.tms.good("DELETE", path, site.tms.admin, body)["num_deleted"] == 1
    assert not site.login(pair)
    site.grant()
    assert not site.login(pair)  # what is made anew brings nothing back


def test_a_deleted_client_takes_its_keys_along(site: Site):
    pair = site.creds()
    assert site.login(pair)
    assert site.tms.good("DELETE", "client/del/portal", site.client)["num_deleted"] == 1
    assert not site.login(pair)
    secret = site.tms.service.good("POST", "clients", site.tms.service.operator, {"client_id": "portal"})["secret"]
    site.client["X-TMS-CLIENT-SECRET"] = secret
    site.grant()
    assert not site.login(pair)
    assert site.login(site.creds())
