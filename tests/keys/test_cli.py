"""`tms-ca public-keys`: operators see plain keys and take them back."""

import json

from tests.keys.conftest import make_pair
from tests.ssh.conftest import initialised
from tests.ssh.conftest import service as real_service
from tests.ssh.service import People

__all__ = ["initialised", "real_service"]


def test_an_operator_lists_shows_and_deletes(real_service, tmp_path):
    people = People(real_service, "alice")
    people.furnish()
    pair = make_pair(tmp_path, "id")
    real_service.good("POST", "public-keys", people.client, people.body(pair.public))
    question = {"account": "alice", "fingerprint": pair.fingerprint, "key_type": pair.kind, "nonce": "0" * 32}
    host = f"Bearer {people.host}"
    assert real_service.call("POST", "hosts/h1/keys", host, question).status == 200
    assert pair.fingerprint in real_service.tms_ca("public-keys", "list", "--user", "alice").stdout
    assert pair.fingerprint not in real_service.tms_ca("public-keys", "list", "--user", "bob").stdout
    shown = json.loads(real_service.tms_ca("public-keys", "show", pair.fingerprint, "--json").stdout)
    assert shown["public_key"] == pair.public
    done = real_service.tms_ca("public-keys", "delete", pair.fingerprint)
    assert done.stdout == f"deleted public key {pair.fingerprint}\n"
    assert real_service.call("POST", "hosts/h1/keys", host, question).json["code"] == "public_key_unknown"
    again = real_service.tms_ca("public-keys", "delete", pair.fingerprint, check=False)
    assert (again.returncode, again.stdout) == (1, "")
    assert "public_key_unknown" in again.stderr
