"""What a host needs to trust, in one text that a host CA key signs: the trust bundle, and lines for known_hosts.

docs/trust.md says what a host must check of it.
"""

import hashlib
import json
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from ipaddress import ip_address

from tms_ca.core.record import record

NAMESPACE = "trust@tms-ca"
BUNDLE_TYPE = "tms-ca-trust/1"
BUNDLE_SECONDS = 600  # from issued_at to expires_at
MOST_HOST_NAMES = 33  # a host's own name, and the 32 addresses that its record holds
# Lower case: ssh looks for the name in lower case, so that no other would ever match. No `*`: what it means differs
# from one version of ssh to another.
_NAME = re.compile(r"[a-z0-9]([a-z0-9._-]{0,126}[a-z0-9])?")


@record
class TrustBundle:
    """What is signed; times in Unix seconds."""

    tenant: str
    epoch: int
    issued_at: int
    user_ca_keys: tuple[str, ...]
    host_ca_keys: tuple[str, ...]
    krl_version: int
    krl: bytes

    @property
    def text(self) -> str:
        """Return the canonical JSON text: sorted keys, no blanks, ASCII."""
        fields = {
            "type": BUNDLE_TYPE,
            "tenant": self.tenant,
            "epoch": str(self.epoch),
            "issued_at": _rfc3339(self.issued_at),
            "expires_at": _rfc3339(self.issued_at + BUNDLE_SECONDS),
            "user_ca_keys": self.user_ca_keys,
            "host_ca_keys": self.host_ca_keys,
            "krl": {
                "version": str(self.krl_version),
                "sha256": hashlib.sha256(self.krl).hexdigest(),
                "bytes": len(self.krl),
            },
        }
        return json.dumps(fields, sort_keys=True, separators=(",", ":"))


def _rfc3339(moment: int) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def host_principal(text: str) -> str | None:
    """Return `text` as ssh would look for it in a host certificate; None where it is neither a name nor an address."""
    lowered = text.lower()
    if "%" in lowered:  # an address with a zone, which means something on one machine only
        return None
    try:
        return str(ip_address(lowered))
    except ValueError:
        return lowered if _NAME.fullmatch(lowered) and ".." not in lowered else None


def host_names(host: str, addresses: Sequence[str]) -> tuple[str, ...]:
    """Return the principals of a host's certificate: its name, then its addresses, each once.

    An address that ssh could not be asked for, such as a network, is left out.
    """
    found = (host_principal(name) for name in (host, *addresses))
    return tuple(dict.fromkeys(name for name in found if name is not None))[:MOST_HOST_NAMES]


def known_hosts_lines(names: Sequence[str], ca_keys: Sequence[str]) -> list[str]:
    """Return the lines of known_hosts that trust `ca_keys` for `names`, and for nothing else."""
    return [f"@cert-authority {','.join(names)} {key}\n" for key in ca_keys]
