"""`tms-ca public-keys ...`: the keys that are escrowed instead of certified; declared."""

from tms_ca.cli.frame import Noun, Verb
from tms_ca.cli.inputs import option, positional
from tms_ca.http.routes import plainkeys

_FINGERPRINT = positional("fingerprint", "SHA256:..., as `public-keys list` shows it")

PUBLIC_KEYS = Noun(
    "public-keys",
    "plain keys, for hosts and clients that cannot use certificates",
    (
        Verb(name="list", does=plainkeys.list_public_keys,
             columns=("fingerprint", "user", "client_id", "account", "host", "expires_at", "uses_left",
                      "revocation_id"),
             arguments=(option("--user", "user", "only of this user"),
                        option("--client", "client_id", "only of this client", metavar="CLIENT"),
                        option("--host", "host", "only for this host"),
                        option("--delegation", "delegation_id", "only under this one", metavar="DELEGATION"))),
        Verb(name="show", does=plainkeys.get_public_key, arguments=(_FINGERPRINT,)),
        Verb(name="delete", does=plainkeys.delete_public_key, arguments=(_FINGERPRINT,),
             done="deleted public key {fingerprint}"),
    ),
    "  tms-ca public-keys list --user alice\n"
    "  tms-ca public-keys delete SHA256:...\n"
    "A key that leaked is revoked for good: tms-ca revocations create --public-key-fingerprint SHA256:...\n",
)  # fmt: skip

NOUNS = (PUBLIC_KEYS,)
