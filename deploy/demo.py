"""`make demo`: the main job on this machine, for real, step by step.

A service, a host that joins it, a real sshd, a client, a user with a second factor: a certificate opens a session, a
revocation closes the door. Everything lives in build/demo-*/ and is removed at the end; as root, the host is a copy of
this machine, in namespaces of its own.
"""

import argparse
import contextlib
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import pyotp
from demo_host import RootHost, UserHost, demo_host

ROOT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent
HOST, CLIENT, USER, TENANT = "demo-host", "portal", "alice", "default"
PASSWORD = "a demo needs no secret"
ENDINGS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
COLOUR = sys.stdout.isatty() and "NO_COLOR" not in os.environ


class Ended(BaseException):
    """Somebody ended the demo: Ctrl-C, kill, or the terminal was closed."""


class ExpectationError(Exception):
    """Something was not as it must be."""


class Demo:
    """The story, and what it needs to tell it."""

    def __init__(self, work: Path) -> None:
        self.work = work
        self.data = work / "data"
        self.step = 0
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("TMS_")},
            "TMS_CA_DATA": str(self.data),
            "TMS_CONFIG": str(work / "tms.toml"),
            "PATH": f"{BIN}:{os.environ.get('PATH', '')}",
        }

    def say(self, text: str) -> None:
        """Print the next step."""
        self.step += 1
        print(f"\033[1m{self.step:2}. {text}\033[0m" if COLOUR else f"{self.step:2}. {text}", flush=True)

    def note(self, text: str) -> None:
        """Print how to look closer, or what was seen."""
        for line in text.strip().splitlines():
            print(f"\033[2m      {line}\033[0m" if COLOUR else f"      {line}", flush=True)

    def run(self, *command: str | Path, text_in: str = "", fails: bool = False, show: bool = True) -> str:
        """Run a command as a person would; insist on how it ends."""
        words = [str(word) for word in command]
        if show:
            self.note("$ " + shlex.join(words).replace(str(self.work), "."))
        done = subprocess.run(
            words, input=text_in, capture_output=True, text=True, env=self.environment, check=False, timeout=300
        )
        if (done.returncode != 0) is not fails:
            raise ExpectationError(
                f"{shlex.join(words)} ended with {done.returncode}:\n{done.stdout}{done.stderr}".replace(
                    PASSWORD, "***"
                )
            )
        return done.stderr if fails else done.stdout

    def operator(self, *command: str, text_in: str = "") -> dict[str, object]:
        """Run `tms-ca ... --json`; return what it made."""
        self.note("$ tms-ca " + shlex.join(command))
        made: dict[str, object] = json.loads(self.run("tms-ca", *command, "--json", text_in=text_in, show=False))
        return made


@contextlib.contextmanager
def served(demo: Demo):
    """Run `tms-ca serve`; yield its address."""
    log = (demo.work / "service.log").open("wb")
    process = subprocess.Popen(
        ["tms-ca", "serve", "--port", "0"], stdout=subprocess.PIPE, stderr=log, text=True, env=demo.environment,
        executable=BIN / "tms-ca",
    )  # fmt: skip
    try:
        assert process.stdout
        line = process.stdout.readline()
        if "http" not in line:
            raise ExpectationError(f"the service did not start:\n{(demo.work / 'service.log').read_text()}")
        yield line.split()[-1]
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        assert process.stdout
        process.stdout.close()
        log.close()


def tell(demo: Demo) -> None:
    """Tell the whole story."""
    work = demo.work
    demo.say(f"A data directory is made in {work.relative_to(ROOT)}: settings, SQLite, a master key, CA keys")
    demo.run("tms-ca", "init", "--data", demo.data)
    with served(demo) as url:
        demo.say(f"The service starts and answers on {url}")
        demo.note(f"$ tms-ca serve     (look at {url}/docs; the log is ./service.log)")
        demo.say(f"The admin registers the application {CLIENT}; it gets a credential, shown once")
        client = demo.operator("clients", "create", CLIENT)
        host = demo_host(work, HOST)
        try:  # and not `with`: when the demo is ended while the host starts, it is stopped all the same
            _join(demo, host, url)
            _people(demo, url, host.account, str(client["secret"]))
            _job(demo, host)
        finally:
            host.stop()
    demo.say("Everything that happened stands in a hash-chained audit trail:")
    demo.note(demo.run("tms-ca", "audit", "verify"))


def _join(demo: Demo, host: RootHost | UserHost, url: str) -> None:
    demo.say(f"The admin registers the host {HOST} and invites it: a token that is good once, and what to trust")
    demo.operator("hosts", "create", HOST)
    invitation = demo.operator("hosts", "invite", HOST)
    pins = [str(pin) for pin in invitation["host_ca_fingerprints"]]  # type: ignore[attr-defined]
    demo.say("The host installs one package")
    demo.note(host.install())
    demo.say("It joins: it trusts what the host CA has signed, and has a credential that nobody else has ever seen")
    words = [word for pin in pins for word in ("--host-ca", pin)]
    demo.note(f"{host.prompt} tms-host join {url} tms_j_... {' '.join(words)}")
    demo.note(host.join(url, str(invitation["join_token"]), *words).partition("\n\n")[0].replace(str(demo.work), "."))
    host.start()
    demo.say(f"Its daemon keeps keys and revocations fresh; a real sshd listens on 127.0.0.1 port {host.port}")
    demo.note(f"{host.prompt} tms-host status")
    demo.note(host.status().partition("PROBLEM")[0].replace(str(demo.work), "."))
    with urllib.request.urlopen(f"{url}/api/v1/tenants/{TENANT}/known_hosts", timeout=60) as answer:
        (demo.work / "known_hosts").write_bytes(answer.read())


def _people(demo: Demo, url: str, account: str, secret: str) -> None:
    secret_file = demo.work / "portal.secret"
    secret_file.touch(0o600)
    secret_file.write_text(secret + "\n")
    (demo.work / "tms.toml").write_text(
        f'url = "{url}"\ntenant = "{TENANT}"\nclient_id = "{CLIENT}"\nclient_secret_file = "{secret_file}"\n'
    )
    demo.say(f"The admin registers {USER} and links her to the account {account} on {HOST}, for 30 days")
    demo.operator("users", "create", USER, "--password-stdin", text_in=PASSWORD + "\n")
    demo.operator("links", "create", USER, f"{account}@{HOST}", "--days", "30")
    demo.say(f"{USER} logs in, enrols a TOTP authenticator and proves it: her MFA window opens")
    demo.run("tms", "login", USER, "--password-stdin", text_in=PASSWORD + "\n")
    seed = json.loads(demo.run("tms", "mfa", "enrol", "--json"))["seed"]
    demo.run("tms", "mfa", "verify", pyotp.TOTP(seed).now())


def _job(demo: Demo, host: RootHost | UserHost) -> None:
    work, target = demo.work, f"{host.account}@{HOST}"
    key, certificate = work / "job", work / "job-cert.pub"
    demo.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", key, show=False)
    ask = ("tms", "cert", USER, target, "--key", f"{key}.pub", "--out", certificate)
    demo.say(f"{CLIENT} makes a key pair and asks for a certificate: refused, for {USER} has not agreed to anything")
    refused = demo.run(*ask, fails=True)
    if "delegation_missing" not in refused:
        raise ExpectationError(f"expected delegation_missing, got: {refused}")
    demo.note(refused)

    demo.say(f"{CLIENT} asks {USER} for a delegation: this host, this account, 8 hours, and why")
    wish = ("tms", "delegate", USER, target, "--for", "8h", "--purpose", "the nightly simulation")
    asked = json.loads(demo.run(*wish, "--json"))
    demo.note(f"her page: {asked['approval_url']}   code to compare: {asked['user_code']}")
    demo.say(f"{USER} approves with her second factor, and gives 4 hours instead of 8")
    demo.note(demo.run("tms", "approve", asked["id"], "--for", "4h"))

    demo.say(f"{CLIENT} asks again and receives a short-lived certificate for the key that it made itself")
    demo.note(demo.run(*ask))
    shown = demo.run("ssh-keygen", "-L", "-f", certificate)
    demo.note(shown.partition("\n")[2])

    demo.say("ssh opens a session with it, and knows the host by the host CA alone:")
    login = host.ssh(key, certificate, "echo I am $(id -un), in $(pwd)")
    if login.returncode != 0 or "I am" not in login.stdout:
        raise ExpectationError(f"the login failed:\n{login.stderr}\n{host.log()[-2000:]}")
    options = f"-o CertificateFile=job-cert.pub -o HostKeyAlias={HOST}"
    demo.note(f"$ ssh -p {host.port} -i job {options} {host.account}@127.0.0.1\n{login.stdout}")

    demo.say(
        "The admin revokes the certificate: the same ssh with the same certificate, valid for an hour, is refused:"
    )
    serial = next(line.split()[1] for line in shown.splitlines() if line.strip().startswith("Serial:"))
    demo.operator("revocations", "create", "--serial", serial, "--reason", "the demo ends")
    begun = time.monotonic()
    again = host.ssh(key, certificate, "true")
    seconds = time.monotonic() - begun
    if again.returncode == 0:
        raise ExpectationError("a REVOKED certificate opened a session")
    if "Permission denied" not in again.stderr:
        raise ExpectationError(f"expected sshd to refuse, got: {again.stderr}")
    demo.note(f"{again.stderr.strip()}   ({seconds:.1f} s after the revocation)")

    demo.say("Hosts that are cut off from the service have the key revocation list, and it names the certificate:")
    demo.run("tms-ca", "krl", "write", work / "krl")
    query = subprocess.run(
        ["ssh-keygen", "-Q", "-f", work / "krl", certificate], capture_output=True, text=True, check=False
    )
    if query.returncode != 1 or "REVOKED" not in query.stdout:
        raise ExpectationError(f"the KRL does not list the certificate: {query.stdout}{query.stderr}")
    demo.note(f"$ ssh-keygen -Q -f krl job-cert.pub\n{query.stdout.replace(str(work) + '/', '')}")


def _end(number: int, _: object) -> None:
    """Turn a signal into an exception, once: what follows is the cleaning up, which must not be cut short."""
    for ending in ENDINGS:
        signal.signal(ending, signal.SIG_IGN)
    raise Ended(128 + number)


def main() -> int:
    """Run the demo; 0 only when everything was as it must be."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", action="store_true", help="keep build/demo-*/ to look around in")
    keep = parser.parse_args().keep
    for ending in ENDINGS:
        if signal.getsignal(ending) is not signal.SIG_IGN:  # nohup means it
            signal.signal(ending, _end)
    (ROOT / "build").mkdir(exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix="demo-", dir=ROOT / "build"))
    work.chmod(0o755)
    try:
        tell(Demo(work))
    except (ExpectationError, RuntimeError, OSError, subprocess.SubprocessError) as error:
        print(f"\nthe demo FAILED: {error}", file=sys.stderr)
        return 1
    except Ended as ended:
        with contextlib.suppress(OSError):  # the terminal may be gone
            print("\nstopped", file=sys.stderr)
        return int(ended.args[0])
    finally:
        if keep:
            print(f"kept: {work}")
        else:
            shutil.rmtree(work, ignore_errors=True)
    kept = "is still there to look at" if keep else "is gone again (deploy/demo.py --keep leaves it)"
    print(f"\nAll of it was real, and all of it {kept}. `make test` runs the tests; docs/ says how it works.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
