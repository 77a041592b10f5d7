"""Find an escrowed key for a host that may not say who it is: decided, counted and recorded as for one that does."""

import re
from dataclasses import replace

from tms_ca.core.access import Role
from tms_ca.core.errors import NotFound
from tms_ca.core.keylogin import KeyGrant
from tms_ca.core.model import Caller
from tms_ca.core.names import valid_account, valid_host
from tms_ca.services.authentication import ChangedMeanwhile
from tms_ca.services.plainkeys import Judge, PlainKeys
from tms_ca.store.retrieval import HostFinder

_FINGERPRINT = re.compile(r"SHA256:[A-Za-z0-9+/]{43}")  # as sshd writes %f


class Retrieval:
    """The answer to tms_keycmd."""

    def __init__(self, hosts: HostFinder, keys: PlainKeys, judge: Judge) -> None:
        self._hosts = hosts
        self._keys = keys
        self._judge = judge

    async def retrieve(self, caller: Caller, host: str, account: str, fingerprint: str) -> KeyGrant:
        """Return the line that opens `account` on `host` to a key, now.

        `caller` is that host, or anyone: then the host is that of the tenant which had the name first.

        Raises:
            NotFound: nobody has such a key there; sshd asks about every key in an agent, so nothing is on record
            Denied: the key does not open the account; the refusal is on record
            ChangedMeanwhile: something in the tenant changed meanwhile; it says in which

        """
        found = None
        if valid_host(host) and valid_account(account) and _FINGERPRINT.fullmatch(fingerprint):
            found = await self._hosts.get(host, fingerprint, caller.tenant)
        if found is None or not found.has_key:
            raise NotFound("public_key_unknown", f"no such public key is escrowed for host {host[:64]!r}")
        if caller.role is Role.ANYONE:
            caller = replace(caller, tenant=found.tenant, id=host, epoch=found.epoch)
        try:
            return await self._keys.check(caller, account, fingerprint, None, self._judge)
        except ChangedMeanwhile as changed:
            raise ChangedMeanwhile(found.tenant) from changed
