"""`tms-ca delegations|certificates|revocations|ca|krl ...`: what was trusted, and what no longer is; declared."""

from pathlib import Path
from typing import Any

from schemas.base import Shape, text_field
from schemas.delegations import DelegationShape
from schemas.directory import CA_ALGORITHMS
from tms_ca.cli import files
from tms_ca.cli.frame import Noun, Verb, deed
from tms_ca.cli.hosts_machines import ACTIVATE, ENFORCEMENT
from tms_ca.cli.inputs import constant, option, positional
from tms_ca.cli.restrictions import RESTRICT_DELEGATION
from tms_ca.core.access import Action
from tms_ca.core.errors import Unavailable
from tms_ca.core.model import DelegationStatus, KeyPurpose, Selector
from tms_ca.http.endpoint import Call
from tms_ca.http.routes import ca_keys, certificates, delegations, revocations


class _Reason(Shape):
    reason = text_field(300, least=1, load_default="revoked by an operator")


async def _revoke_delegation(call: Call[dict[str, Any]]) -> dict[str, Any]:
    """Take an approval back; the certificates that rest on it are refused from now on."""
    delegation_id = call.path["delegation_id"]
    await call.context.revocations.revoke(
        call.caller, call.tenant, Selector.DELEGATION, delegation_id, call.body["reason"]
    )
    return delegations.shown(call, await call.context.delegations.get(call.caller, call.tenant, delegation_id))


_DELEGATION = positional("delegation_id", "its id", metavar="DELEGATION")
_OF_USER = option("--user", "user", "only of this user")
_OF_CLIENT = option("--client", "client_id", "only of this client", metavar="CLIENT")
_STATUSES = [str(status) for status in DelegationStatus if status is not DelegationStatus.EXPIRED]

DELEGATIONS = Noun(
    "delegations",
    "what users allowed which clients to do for them",
    (
        Verb(name="list", does=delegations.list_delegations,
             columns=("id", "user", "client_id", "account", "host", "status", "expires_at", "purpose"),
             arguments=(_OF_USER, _OF_CLIENT, option("--status", "status", "only these", choices=_STATUSES))),
        Verb(name="show", does=delegations.get_delegation, arguments=(_DELEGATION,)),
        Verb(name="revoke", arguments=(_DELEGATION, option("--reason", "reason", "why", metavar="TEXT")),
             does=deed(_revoke_delegation, Action.REVOCATION_CREATE, path="{delegation_id}", body=_Reason(),
                       returns=DelegationShape())),
        RESTRICT_DELEGATION,
    ),
    "  tms-ca delegations list --user alice --status approved\n"
    "  tms-ca delegations revoke dlg_... --reason 'left the project'\n"
    "Only the user can approve: tms approve.\n",
)  # fmt: skip

CERTIFICATES = Noun(
    "certificates",
    "what was issued",
    (
        Verb(name="list", does=certificates.list_certificates,
             columns=("serial", "user", "client_id", "account", "host", "valid_after", "valid_before", "limited_by",
                      "revocation_id"),
             arguments=(_OF_USER, _OF_CLIENT, option("--host", "host", "only for this host"),
                        option("--delegation", "delegation_id", "only under this one", metavar="DELEGATION"))),
        Verb(name="show", does=certificates.get_certificate, arguments=(positional("serial", "its serial"),)),
    ),
    "  tms-ca certificates list --user alice --host stampede3\n  tms-ca certificates show 5093142857120398422\n",
)  # fmt: skip

_SELECT = {
    "--serial": (Selector.SERIAL, "one certificate"),
    "--key-id": (Selector.KEY_ID, "certificates of this key ID"),
    "--public-key-fingerprint": (Selector.PUBLIC_KEY, "a user's key, SHA256:..., for good"),
    "--user": (Selector.USER, "a user, until lifted"),
    "--client": (Selector.CLIENT, "a client, until lifted"),
    "--delegation": (Selector.DELEGATION, "a delegation"),
    "--host": (Selector.HOST, "a host, until lifted"),
    "--ca-fingerprint": (Selector.CA_KEY, "a CA key, SHA256:..., for good"),
}

REVOCATIONS = Noun(
    "revocations",
    "what is trusted no more; effective at the next login",
    (
        Verb(name="create", does=revocations.revoke, arguments=(
            *(option(flag, name, text, one_of="selector", metavar=name.upper())
              for flag, (name, text) in _SELECT.items()),
            option("--reason", "reason", "why, for the record", required=True, metavar="TEXT"))),
        Verb(name="list", does=revocations.list_revocations,
             columns=("id", "selector", "value", "reason", "actor", "certificates", "created_at", "lifted_at"),
             arguments=(option("--selector", "selector", "only of this kind", choices=[str(one) for one in Selector]),
                        option("--value", "value", "only of this thing"))),
        Verb(name="lift", does=revocations.lift_revocation,
             arguments=(positional("revocation_id", "its id", metavar="REVOCATION"),)),
        ENFORCEMENT,
    ),
    "  tms-ca revocations create --user alice --reason 'laptop stolen'\n"
    "  tms-ca revocations create --serial 5093142857120398422 --reason test\n"
    "  tms-ca revocations list --selector user\n"
    "  tms-ca revocations lift rev_...\n"
    "  tms-ca revocations enforcement rev_...    which machines have it in their KRL, and how fast they had it\n",
)  # fmt: skip


async def _export(call: Call[None]) -> list[str]:
    """Print every trusted public key, a line each: for TrustedUserCAKeys, or with --host for known_hosts."""
    purpose = KeyPurpose(call.path.get("purpose", KeyPurpose.USER))
    keys = await call.context.cakeys.trusted(call.tenant, purpose)
    if not keys:
        raise Unavailable("ca_key_missing", f"tenant {call.tenant!r} has no trusted {purpose} CA key; make one first")
    return [f"{key.public_key} tms-{call.tenant}-{purpose}-ca-{key.state}" for key in keys]


_FINGERPRINT = positional("fingerprint", "SHA256:..., as `ca list` shows it")

CA = Noun(
    "ca",
    "CA keys: next, then active, then retiring, then retired",
    (
        Verb(name="list", does=ca_keys.list_ca_keys,
             columns=("fingerprint", "purpose", "algorithm", "state", "created_at", "revocation_id")),
        Verb(name="create", does=ca_keys.create_ca_key, arguments=(
            option("--purpose", "purpose", "what it signs", choices=[str(one) for one in KeyPurpose], required=True),
            option("--algorithm", "algorithm", "(default: ed25519)", choices=CA_ALGORITHMS))),
        ACTIVATE,
        Verb(name="retire", does=ca_keys.retire_ca_key, arguments=(
            _FINGERPRINT, constant("--force", "force", True, "even while certificates of it are valid: ends them"))),
        Verb(name="export", say=lambda lines: "".join(f"{line}\n" for line in lines),
             does=deed(_export, Action.CA_KEY_READ, path="{purpose}"),
             arguments=(constant("--host", "purpose", "host", "the keys that sign host certificates"),)),
    ),
    "  tms-ca ca export >/etc/ssh/tms_user_ca.pub\n"
    "  tms-ca ca create --purpose user           a new key that hosts can learn before it signs\n"
    "  tms-ca ca activate SHA256:...             once every host has it\n"
    "  tms-ca ca retire SHA256:...               the old one, once its certificates have ended\n",
)  # fmt: skip


async def _write_krl(call: Call[None]) -> dict[str, Any]:
    """Write the key revocation list to a file, as a whole or not at all, for RevokedKeys of sshd."""
    krl = await call.context.krls.get(call.tenant)
    path = Path(call.path["file"])
    if not krl.blob:
        raise Unavailable("krl_empty", f"the key revocation list is empty, which sshd refuses; {path} was left alone")
    files.replace(path, krl.blob, mode=0o644)
    return {"file": str(path), "version": krl.version, "bytes": len(krl.blob)}


KRL = Noun(
    "krl",
    "the key revocation list",
    (
        Verb(name="write", does=deed(_write_krl, Action.PUBLIC, path="{file}"),
             arguments=(positional("file", "where to"),),
             say=lambda made: f"wrote {made['file']}: version {made['version']}, {made['bytes']} bytes\n"),
    ),
    "  tms-ca krl write /var/lib/tms-ca/default.krl && ssh-keygen -Q -l -f /var/lib/tms-ca/default.krl\n",
)  # fmt: skip

NOUNS = (DELEGATIONS, CERTIFICATES, REVOCATIONS, CA, KRL)
