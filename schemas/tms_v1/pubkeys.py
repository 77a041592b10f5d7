"""Bodies of the calls for key pairs and their public keys."""

from schemas.tms_v1.base import UINT32, Number, Text, V1Shape, required


class ReqNewSshKeys(V1Shape):
    """A key pair to make."""

    client_user_id = required(Text)
    host = required(Text)
    host_account = required(Text)
    num_uses = required(Number)
    ttl_minutes = required(Number)
    key_type = Text(load_default=None, allow_none=True)


class ReqUpdatePubkey(V1Shape):
    """A key's uses and its end; a member that is not there leaves what it would set."""

    client_id = required(Text)
    tenant = required(Text)
    host = required(Text)
    public_key_fingerprint = required(Text)
    max_uses = Number(UINT32, load_default=None, allow_none=True)
    ttl_minutes = Number(UINT32, load_default=None, allow_none=True)


class ReqDeletePubkey(V1Shape):
    """A key to take back."""

    client_id = required(Text)
    tenant = required(Text)
    host = required(Text)
    public_key_fingerprint = required(Text)
