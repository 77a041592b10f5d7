"""What sshd's helper asks."""

from schemas.tms_v1.base import Text, V1Shape, required


class ReqRetrieveKey(V1Shape):
    """A key that was offered for an account; `user` is the account, and two members are only for logs."""

    user = required(Text)
    user_uid = Text(load_default=None, allow_none=True)
    host = required(Text)
    public_key_fingerprint = required(Text)
    key_type = Text(load_default=None, allow_none=True)
