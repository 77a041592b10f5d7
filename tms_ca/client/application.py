"""The commands of applications: ask for a delegation, get certificates under it, open sessions with them."""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tms_ca.client import config, protocol
from tms_ca.client.blocking import Service
from tms_ca.client.config import Config
from tms_ca.client.failures import Failure, TryAgain, Unreachable, Usage
from tms_ca.client.words import account_at_host, seconds, show

POLL_SECONDS = 2.0  # between two looks at a delegation that the user has not decided yet
_DELEGATION = (
    "id", "status", "user", "client_id", "account", "host", "purpose", "constraints", "uses_left", "restrictions",
    "expires_at",
)  # fmt: skip


def service(found: Config) -> Service:
    """Return the service, as the application."""
    credential = config.client_credential(found)
    if credential is None:
        raise Usage(
            "no application's credential: give --client-id or set TMS_CLIENT_ID, and set TMS_CLIENT_SECRET or "
            f"name a client_secret_file in {found.path}"
        )
    return Service(found.url, found.tenant, credential, found.ca_file)


def anyone(found: Config) -> Service:
    """Return the service as the application, else as the user who is logged in."""
    credential = config.client_credential(found) or config.user_credential(found)
    if credential is None:
        raise Usage("no credential: log in with `tms login USER`, or set TMS_CLIENT_ID and TMS_CLIENT_SECRET")
    return Service(found.url, found.tenant, credential, found.ca_file)


def _constraints(options: argparse.Namespace) -> dict[str, Any]:
    wishes = {
        "max_ttl_seconds": options.max_ttl,
        "source_address": options.source_address,
        "force_command": options.force_command,
        "extensions": options.extension,
        "max_uses": options.max_uses,
    }
    return {name: value for name, value in wishes.items() if value}


def delegate(options: argparse.Namespace, found: Config) -> int:
    """Ask a user for a delegation, and print where they approve it."""
    account, host = options.where
    with service(found) as at:
        asked = at.run(
            protocol.request_delegation(
                options.user, account, host, options.lifetime, options.purpose, _constraints(options)
            )
        )
    show(asked, ("id", "status", "approval_url", "user_code", "expires_at"), as_json=options.json)
    if not options.json:
        wait = f"tms delegation {asked.get('id')} --wait"
        print(f"send the user to approval_url, with user_code; then: {wait}", file=sys.stderr)
    return 0


def delegation(options: argparse.Namespace, found: Config) -> int:
    """Show a delegation; with --wait, once the user has decided. Exit 0 when it is approved, or was not waited for."""
    until = time.monotonic() + options.timeout
    with anyone(found) as at:
        while True:
            pause = POLL_SECONDS
            try:
                seen = at.run(protocol.delegation(options.id))
            except (TryAgain, Unreachable) as error:
                if not options.wait or time.monotonic() >= until:
                    raise
                asked = error.retry_after if isinstance(error, TryAgain) else None
                pause = max(pause, asked or 0)
            else:
                if not options.wait or seen.get("status") != "pending" or time.monotonic() >= until:
                    break
            time.sleep(min(pause, max(0.0, until - time.monotonic())))
    show(seen, _DELEGATION, as_json=options.json)
    if options.wait and seen.get("status") == "pending":
        raise Unreachable(f"the user has not decided within {options.timeout} seconds")
    return 0 if not options.wait or seen.get("status") == "approved" else 1


def _public_key(path: Path) -> str:
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise Usage(f"cannot read {path}: {getattr(error, 'strerror', error)}") from error
    if "PRIVATE KEY" in text:
        raise Usage(f"{path} is a private key, which never leaves your machine; give the public one, {path}.pub")
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    if len(lines) != 1:
        raise Usage(f"{path} has {len(lines)} lines; expected one public key, such as ssh-ed25519 AAAA...")
    return lines[0]


def _issue(options: argparse.Namespace, found: Config, public_key: str) -> protocol.Issued:
    account, host = options.where
    with service(found) as at:
        return at.run(
            protocol.issue(
                options.user,
                account,
                host,
                public_key,
                ttl_seconds=options.ttl,
                source_address=options.source_address,
                force_command=options.force_command,
                extensions=options.extension,
                reservation_id=options.reservation,
            )
        )


def cert(options: argparse.Namespace, found: Config) -> int:
    """Get a certificate for a public key and put it where ssh looks for it."""
    key: Path = options.key
    if options.out is None and key.suffix != ".pub":
        raise Usage(f"--key {key} does not end with .pub; give the public key, or say with --out where to write")
    out: Path = options.out or key.with_name(f"{key.stem}-cert.pub")
    issued = _issue(options, found, _public_key(key))
    config.write_whole(out, issued.certificate + "\n", mode=0o644)
    fields = {"file": str(out), **issued.fields}
    show(fields, ("file", "serial", "key_id", "principals", "valid_before", "limited_by"), as_json=options.json)
    return 0


def ssh(options: argparse.Namespace, found: Config) -> int:
    """Open a session with a key and a certificate that are gone afterwards."""
    account, host = options.where
    address = options.address or host
    if address.startswith("-"):
        raise Usage(f"--address is {address!r}; expected a host name or an address")
    runtime = os.environ.get("XDG_RUNTIME_DIR")  # in memory, where there is one
    with tempfile.TemporaryDirectory(
        prefix="tms-", dir=runtime if runtime and Path(runtime).is_dir() else None
    ) as made:
        key = Path(made) / "key"
        _run_keygen(key)
        issued = _issue(options, found, _public_key(key.with_name("key.pub")))
        certificate = key.with_name("key-cert.pub")
        config.write_whole(certificate, issued.certificate + "\n", mode=0o600)
        command = [
            "ssh", "-i", str(key), "-o", f"CertificateFile={certificate}", "-o", "IdentitiesOnly=yes",
            "-o", "IdentityAgent=none", "-o", "ControlPath=none", "-l", account,
        ]  # fmt: skip
        command += [] if options.port is None else ["-p", str(options.port)]
        command += [word for setting in options.setting for word in ("-o", setting)]
        return _run_ssh([*command, "--", address, *options.command])


def _run_keygen(key: Path) -> None:
    try:
        subprocess.run(  # noqa: S603 - a list of our own words
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "tms ssh", "-f", str(key)],  # noqa: S607 - the user's own
            check=True,
            stdin=subprocess.DEVNULL,
        )
    except FileNotFoundError as error:
        raise Usage("ssh-keygen is not there; install the OpenSSH client") from error
    except subprocess.CalledProcessError as error:
        raise Failure(f"ssh-keygen could not make a key (exit code {error.returncode})") from error


def _run_ssh(command: list[str]) -> int:
    """Run ssh to its end, whatever ends it; the key must be removed afterwards, so it is never exec'd."""
    previous = signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal gives it to ssh as well, which decides
    try:
        with subprocess.Popen(command, preexec_fn=_default_interrupt) as running:  # noqa: S603, PLW1509 - a list; one thread
            before = signal.signal(signal.SIGTERM, lambda *_: running.terminate())
            try:
                code = running.wait()
            finally:
                signal.signal(signal.SIGTERM, before)
    except FileNotFoundError as error:
        raise Usage("ssh is not there; install the OpenSSH client") from error
    finally:
        signal.signal(signal.SIGINT, previous)
    return code if code >= 0 else 128 - code


def _default_interrupt() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def add(commands: Any) -> None:
    """Add the commands of applications."""
    asks = commands.add_parser("delegate", help="ask a user to let this application act for them")
    _where(asks)
    asks.add_argument("--for", dest="lifetime", type=seconds, required=True, metavar="TIME", help="such as 8h or 30d")
    asks.add_argument("--purpose", required=True, metavar="TEXT", help="what for; the user reads it")
    asks.add_argument("--max-ttl", type=seconds, metavar="TIME", help="no certificate under it lives longer")
    asks.add_argument("--max-uses", type=int, metavar="N", help="no more than N logins (default: any number)")
    _options(asks)
    asks.set_defaults(run=delegate)
    shows = commands.add_parser("delegation", help="show a delegation, or wait until the user has decided")
    shows.add_argument("id", metavar="ID")
    shows.add_argument("--wait", action="store_true", help="until it is decided; exit 0 only when it is approved")
    shows.add_argument("--timeout", type=seconds, default=3600, metavar="TIME", help="of --wait (default: 1h)")
    shows.set_defaults(run=delegation)
    gets = commands.add_parser("cert", help="get a certificate for a public key")
    _where(gets)
    gets.add_argument("--key", type=Path, required=True, metavar="FILE", help="the public key, such as id_ed25519.pub")
    gets.add_argument(
        "--out", type=Path, metavar="FILE", help="where to write it (default: KEY-cert.pub beside the key)"
    )
    gets.add_argument("--ttl", type=seconds, metavar="TIME", help="how long it shall live, such as 1h")
    _reservation(gets)
    _options(gets)
    gets.set_defaults(run=cert)
    opens = commands.add_parser("ssh", help="open a session with a fresh key and certificate, gone afterwards")
    _where(opens)
    opens.add_argument("--port", type=int, metavar="N")
    opens.add_argument("--address", metavar="NAME", help="where the host answers (default: HOST)")
    opens.add_argument("--ttl", type=seconds, metavar="TIME", help="how long the certificate shall live, such as 5m")
    _reservation(opens)
    opens.add_argument("-o", dest="setting", action="append", default=[], metavar="OPTION", help="as ssh takes it")
    _options(opens)
    opens.usage = "tms ssh [options] USER ACCOUNT@HOST [-- COMMAND ...]"
    opens.set_defaults(run=ssh)


def _where(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("user", metavar="USER", help="the person to act for, as the service names them")
    parser.add_argument("where", type=account_at_host, metavar="ACCOUNT@HOST", help="the account, and the host")


def _reservation(parser: argparse.ArgumentParser) -> None:
    text = "go on under this one when the MFA window has ended"
    parser.add_argument("--reservation", metavar="ID", help=text)


def _options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("what a certificate may do (default: as the delegation says)")
    group.add_argument("--extension", action="append", metavar="NAME", help="such as permit-pty; may be repeated")
    group.add_argument("--source-address", action="append", metavar="CIDR", help="only from there; may be repeated")
    group.add_argument("--force-command", metavar="COMMAND", help="only to run this")
