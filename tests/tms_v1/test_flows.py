"""The shell flows of tms_keycmd, as its users run them, against a service process."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.ssh.conftest import initialised
from tests.tms_v1.served import Served, served

__all__ = ["initialised"]

# Each is curl with a body, as in the scripts: header names in small letters, certificate checking off.
CREATE_CLIENT = """
curl -s -k -X POST -H "content-type: application/json" $BASE/v1/tms/client \\
  -d '{"client_id": "tapis", "tenant": "default", "app_name": "tapis-app", "app_version": "0.1"}'
"""
ADMIN = '-H "X-TMS-TENANT: default" -H "X-TMS-ADMIN-ID: $ADMIN_ID" -H "X-TMS-ADMIN-SECRET: $ADMIN_SECRET"'
CREATE_USER_MFA = f"""
curl -s -k -X POST -H "content-type: application/json" {ADMIN} $BASE/v1/tms/usermfa \\
  -d '{{"tenant": "default", "tms_user_id": "scb@tacc", "ttl_minutes": 999999}}'
"""
CREATE_USERHOSTS = f"""
curl -s -k -X POST -H "content-type: application/json" {ADMIN} $BASE/v1/tms/userhosts \\
  -d '{{"tenant": "default", "tms_user_id": "scb@tacc", "host": "129.114.35.161",
        "host_account": "scblack", "ttl_minutes": 999999}}'
"""
CREATE_DELEGATIONS = f"""
curl -s -k -X POST -H "content-type: application/json" {ADMIN} $BASE/v1/tms/delegations \\
  -d '{{"tenant": "default", "client_id": "tapis", "client_user_id": "scb@tacc", "ttl_minutes": 999999}}'
"""
CLIENT = '-H "x-tms-tenant: default" -H "x-tms-client-id: tapis" -H "x-tms-client-secret: $CLIENT_SECRET"'
CREATE_KEYPAIR = f"""
curl -s -k -X POST -H "content-type: application/json" {CLIENT} $BASE/v1/tms/pubkeys/creds -d @$1 -o $2
"""
CREATE_KEYPAIR_TWO_SLASHES = CREATE_KEYPAIR.replace("$BASE/", "$BASE//").replace(" -k", "")
GET_PUBKEY = """
curl -s -k -X POST -H "content-type: application/json" $BASE/v1/tms/pubkeys/creds/retrieve -d @$1
"""
GET_VERSION = """
curl -s -k $BASE/v1/tms/version
"""


@pytest.fixture(scope="module")
def service(initialised) -> Iterator[Served]:
    with served(initialised, new_clients='"allow"') as running:
        yield running


def run(script: str, service: Served, *arguments: str, **variables: str) -> dict:
    """Run a script; return the JSON that it printed."""
    environment = {
        **os.environ, "BASE": service.url, "ADMIN_ID": service.admin["X-TMS-ADMIN-ID"],
        "ADMIN_SECRET": service.admin["X-TMS-ADMIN-SECRET"], **variables,
    }  # fmt: skip
    done = subprocess.run(
        ["/bin/bash", "-c", script, "script", *arguments], capture_output=True, text=True, check=True, env=environment
    )
    return json.loads(done.stdout) if done.stdout else {}


def test_the_whole_flow_of_the_scripts(service: Served, tmp_path: Path):
    assert run(GET_VERSION, service)["tms_version"] == "0.3.0"
    client = run(CREATE_CLIENT, service)
    assert (client["client_id"], len(client["client_secret"])) == ("tapis", 48)
    secret = client["client_secret"]
    wanted = {
        "client_user_id": "scb@tacc", "host": "129.114.35.161", "host_account": "scblack", "num_uses": -1,
        "ttl_minutes": -1, "key_type": "",
    }  # fmt: skip
    (tmp_path / "wanted.json").write_text(json.dumps(wanted))
    made = tmp_path / "made.json"

    def create(script: str = CREATE_KEYPAIR) -> dict:
        run(script, service, str(tmp_path / "wanted.json"), str(made), CLIENT_SECRET=secret)
        return json.loads(made.read_text())

    # Nothing works before what it rests on is there.
    assert run(CREATE_USERHOSTS, service)["result_code"] == "400"
    for script in (CREATE_USER_MFA, CREATE_USERHOSTS, CREATE_DELEGATIONS):
        assert create()["result_code"] == "403"
        assert run(script, service)["result_msg"] == "success"
        assert run(script, service)["result_code"] == "409"
    for script in (CREATE_KEYPAIR, CREATE_KEYPAIR_TWO_SLASHES):
        pair = create(script)
        assert (pair["result_code"], pair["max_uses"], pair["key_type"]) == ("0", "2147483647", "ed25519")
        assert pair["expires_at"] == "9999-12-31T23:59:59+00:00"
        private = tmp_path / "private"
        private.unlink(missing_ok=True)
        private.touch(0o600)
        private.write_text(pair["private_key"])
        said = subprocess.run(["ssh-keygen", "-y", "-f", private], capture_output=True, text=True, check=True)
        assert said.stdout.split()[:2] == pair["public_key"].split()
        question = {
            "user": "scblack", "user_uid": "2", "host": "129.114.35.161",
            "public_key_fingerprint": pair["public_key_fingerprint"],
        }  # fmt: skip
        (tmp_path / "question.json").write_text(json.dumps(question))
        found = run(GET_PUBKEY, service, str(tmp_path / "question.json"))
        assert found == {"result_code": "0", "result_msg": "success", "public_key": pair["public_key"]}
        (tmp_path / "question.json").write_text(json.dumps({**question, "user": "root", "key_type": "ed25519"}))
        found = run(GET_PUBKEY, service, str(tmp_path / "question.json"))
        assert found == {"result_code": "404", "result_msg": "NOT_FOUND"}
    secret = "0" * 48
    assert create()["result_code"] == "401"


def test_only_the_old_wire_takes_two_slashes(service: Served):
    def status(path: str) -> str:
        done = subprocess.run(
            ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "--path-as-is", service.url + path],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        return done.stdout

    assert status("//v1/tms/version") == "200"
    assert status("//v1/tms/nothing") == "404"
    assert status("/api/v1/tenants/default/krl") == "200"
    assert status("//api/v1/tenants/default/krl") == "404"
    assert status("///v1/tms/version") == "404"


def test_the_requests_of_the_load_tool_are_answered(service: Served):
    """Each scenario of tms_loadtest, body and headers as it sends them."""
    run(CREATE_USER_MFA.replace("scb@tacc", "testuser1"), service)
    run(CREATE_USERHOSTS.replace("scb@tacc", "testuser1").replace("129.114.35.161", "testhost1")
        .replace("scblack", "testhostaccount1"), service)  # fmt: skip
    made = run(CREATE_CLIENT.replace("tapis-app", "testapp1").replace('"tapis"', '"testclient1"'), service)
    run(CREATE_DELEGATIONS.replace("scb@tacc", "testuser1").replace('"tapis"', '"testclient1"'), service)
    headers = {
        "X-TMS-TENANT": "default", "X-TMS-CLIENT-ID": "testclient1", "X-TMS-CLIENT-SECRET": made["client_secret"],
        "Accept": "application/json",
    }  # fmt: skip
    assert service.good("GET", "version", {})["tms_version"] == "0.3.0"
    assert service.good("GET", "client/testclient1", headers)["client_id"] == "testclient1"
    wanted = {
        "client_user_id": "testuser1", "host": "testhost1", "host_account": "testhostaccount1", "num_uses": -1,
        "ttl_minutes": -1, "key_type": "",
    }  # fmt: skip
    pair = service.good("POST", "pubkeys/creds", headers, wanted)
    question = {
        "user": "testhostaccount1", "user_uid": "1000", "host": "testhost1",
        "public_key_fingerprint": pair["public_key_fingerprint"], "keytype": "ssh-ed25519",
    }  # fmt: skip
    assert service.good("POST", "pubkeys/creds/retrieve", {}, question)["public_key"] == pair["public_key"]
