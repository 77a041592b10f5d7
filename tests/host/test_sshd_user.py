"""The sandbox as an ordinary user: sshd on a high port, the helper and the session all belong to that user."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from deploy.build_host import stage
from tests.host.conftest import TOKEN
from tests.host.liar import Liar, answer
from tests.host.namespaces import UNSHARE, need_namespaces
from tests.host.sshd import Authority
from tests.host.test_faults import true_answer

ROOT = Path(__file__).parents[2]
LOGIN = """
import sys
from pathlib import Path
place, url, token = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
sys.path.insert(0, str(place))
from sandbox_sshd import HelperFiles, SandboxSshd
files = HelperFiles(place / "usr/libexec/tms/tms-principals", url, "default", "h1", token)
with SandboxSshd(place / "sshd", (place / "ca.pub").read_text(), files) as sshd:
    done = sshd.ssh(place / "erin", place / "erin-cert.pub", "id -un")
    sys.stdout.write(done.stdout)
    sys.stderr.write(done.stderr + sshd.log)
    raise SystemExit(done.returncode)
"""


@pytest.fixture
def place():
    """A directory that another user can reach (pytest's own are 0700), with all that a login needs."""
    where = Path(tempfile.mkdtemp(prefix="tms-user-", dir="/tmp"))
    where.chmod(0o755)
    authority = Authority(where)
    authority.issue("erin", "alice@h1")
    stage(Path("/"), str(where / "usr"))
    shutil.copy(ROOT / "deploy" / "sandbox_sshd.py", where)
    (where / "login.py").write_text(LOGIN)
    (where / "passwd").write_text(f"{Path('/etc/passwd').read_text()}erin:x:12345:12345::{where}:/bin/sh\n")
    (where / "sshd").mkdir()
    for path in (where / "sshd", where / "erin"):
        os.chown(path, 12345, 12345)
    yield where
    shutil.rmtree(where)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_an_ordinary_user_s_sshd_asks_too(place):
    need_namespaces()
    script = 'mount --bind $1 /etc/passwd; shift; exec setpriv --reuid=erin --regid=12345 --clear-groups "$@"'
    with Liar(true_answer) as service:
        command = [*UNSHARE, "sh", "-euc", script, "sh", place / "passwd", "/usr/bin/python3", "-I", place / "login.py",
                   place, f"http://127.0.0.1:{service.port}", TOKEN]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300, cwd="/")
        assert (done.returncode, done.stdout) == (0, "erin\n"), done.stderr
        service.reply = lambda q: answer(bound=q.bound.replace("erin", "alice"))
        assert subprocess.run(command, capture_output=True, check=False, timeout=300, cwd="/").returncode == 255
