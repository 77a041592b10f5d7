"""What the real ssh-keygen reads out of a certificate."""

import re
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime


@dataclass(frozen=True)
class Seen:
    """A certificate as `ssh-keygen -L` shows it."""

    type: str
    public_key: str
    ca: str
    key_id: str
    serial: str
    valid: tuple[str, str]
    principals: list[str]
    critical: dict[str, str]
    extensions: list[str]


def rfc3339(local):
    return datetime.fromisoformat(local).replace(tzinfo=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def read(directory, certificate):
    """Write the certificate to a file and read what ssh-keygen says; times in UTC."""
    path = directory / "seen-cert.pub"
    path.write_text(certificate + "\n")
    done = subprocess.run(
        ["ssh-keygen", "-L", "-f", path],
        capture_output=True,
        text=True,
        check=True,
        env={"TZ": "UTC", "PATH": "/usr/bin"},
    )
    fields, blocks, block = {}, {}, None
    for line in done.stdout.splitlines()[1:]:
        if line.startswith(" " * 16):
            blocks[block].append(line[16:])
            continue
        block, _, value = line.strip().partition(":")
        fields[block], blocks[block] = value.strip(), []
    first, last = re.fullmatch(r"from (\S+) to (\S+)", fields["Valid"]).groups()
    return Seen(
        type=fields["Type"].split(" ")[0],
        public_key=fields["Public key"].split(" ")[-1],
        ca=fields["Signing CA"].split(" ")[1],
        key_id=fields["Key ID"].strip('"'),
        serial=fields["Serial"],
        valid=(rfc3339(first), rfc3339(last)),
        principals=blocks["Principals"],
        critical=dict(line.split(" ", 1) for line in blocks["Critical Options"]),
        extensions=blocks["Extensions"],
    )
