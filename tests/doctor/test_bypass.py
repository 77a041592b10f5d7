"""A cert-authority line in a user's own key file is found where it is, and it really is a way round the helper."""

import pytest

from keycmd.doctor.ways_in import is_authority_line
from tests.doctor.host import INSIDE, Host
from tests.doctor.test_findings import A_KEY


@pytest.mark.parametrize(
    ("line", "is_one"),
    [
        (f"cert-authority {A_KEY}", True),
        (f'  Cert-Authority,principals="a b" {A_KEY}', True),
        (f'command="echo \\"x, y\\"",cert-authority {A_KEY}', True),
        (f'restrict,principals="x",cert-authority {A_KEY}', True),
        (A_KEY, False),
        (f"{A_KEY} cert-authority", False),
        (f"# cert-authority {A_KEY}", False),
        (f'command="cert-authority" {A_KEY}', False),
        (f'command="a,cert-authority,b" {A_KEY}', False),
        ("", False),
    ],
)
def test_a_line_is_a_ca_line_by_its_options(line, is_one):
    assert is_authority_line(line) is is_one


def test_a_users_ca_line_is_found_with_its_file_and_line(host: Host):
    keys = f"{INSIDE}/home/alice/.ssh/authorized_keys"
    write = f"mkdir home/alice/.ssh; (echo '{A_KEY}'; echo 'cert-authority {A_KEY}') >{keys}"
    seen = host.doctor(f"{write}; first AuthorizedKeysFile .ssh/authorized_keys")
    found = seen.one("authority_line")
    assert found["found"].startswith(f"{keys}:2:")
    assert f"sed -i 2d {keys}" in found["mend"]
    assert seen.status == 2
    # The twins: the same file where sshd does not read it, and a plain key where it does.
    assert "authority_line" not in host.doctor(write).codes
    plain = f"mkdir home/alice/.ssh; echo '{A_KEY}' >{keys}; first AuthorizedKeysFile .ssh/authorized_keys"
    assert "authority_line" not in host.doctor(plain).codes


def test_a_pipe_in_a_users_key_file_holds_nobody_up(host: Host):
    seen = host.doctor(
        "mkdir home/alice/.ssh; mkfifo home/alice/.ssh/authorized_keys; first AuthorizedKeysFile .ssh/authorized_keys"
    )
    assert "check_hung" not in seen.codes
    assert seen.json["seconds"] < 5
