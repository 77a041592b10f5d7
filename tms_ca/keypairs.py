"""Key pairs that the service makes for clients of key mode: made, handed out once, kept nowhere."""

import asyncio
import os
import sys
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import field
from enum import StrEnum

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from tms_ca.core.errors import Unavailable
from tms_ca.core.record import record

MOST_OF_ONE = 4  # RSA keys of one client, so that it does not take every place
MOST_WAITING = 32  # RSA keys; at one or two seconds each, whoever comes later has given up before his turn
_THREADS = 2
_NICENESS = 10
_COLUMNS = 70  # of base64, as ssh-keygen writes it
Owner = tuple[str, str]  # tenant and client_id
_PrivateKey = ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


class KeyKind(StrEnum):
    """What can be made, each in one size."""

    ED25519 = "ed25519"
    ECDSA = "ecdsa"
    RSA = "rsa"

    @property
    def bits(self) -> int:
        """Return the size."""
        return _BITS[self]


_BITS = {KeyKind.ED25519: 256, KeyKind.ECDSA: 521, KeyKind.RSA: 4096}
_MAKE: dict[KeyKind, Callable[[], _PrivateKey]] = {
    KeyKind.ED25519: ed25519.Ed25519PrivateKey.generate,
    KeyKind.ECDSA: lambda: ec.generate_private_key(ec.SECP521R1()),
    KeyKind.RSA: lambda: rsa.generate_private_key(65537, _BITS[KeyKind.RSA]),
}


@record
class KeyPair:
    """A pair as OpenSSH has it; the private half shows in no repr, so in no log."""

    kind: KeyKind
    public_key: str  # `type base64`, without a comment
    private_key: str = field(repr=False)  # the file, unencrypted, with an empty comment


def make_pair(kind: KeyKind) -> KeyPair:
    """Return a new pair; an RSA key takes a second or more."""
    key = _MAKE[kind]()
    public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    file = key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()).decode()
    first, *lines, last = file.splitlines()
    text = "".join(lines)
    wrapped = [text[at : at + _COLUMNS] for at in range(0, len(text), _COLUMNS)]
    return KeyPair(kind, public, "\n".join([first, *wrapped, last, ""]))


class KeyPairs:
    """Where pairs are made: what is dear, in threads that give way to everything else."""

    def __init__(self, most_waiting: int = MOST_WAITING, most_of_one: int = MOST_OF_ONE) -> None:
        self._threads = ThreadPoolExecutor(_THREADS, "key-pairs", initializer=_give_way)
        self._most = most_waiting
        self._most_of_one = most_of_one
        self._waiting: Counter[Owner] = Counter()
        self._lock = threading.Lock()

    async def make(self, kind: KeyKind, owner: Owner, gone: Callable[[], bool]) -> KeyPair:
        """Return a new pair for `owner`, a client; `gone` tells, from any thread, that nobody waits for it any more.

        Raises:
            Unavailable: too many wait for theirs, or the owner waits for too many; or nobody waits for this one

        """
        if kind is not KeyKind.RSA:
            return make_pair(kind)  # less than a millisecond
        with self._lock:
            if self._waiting[owner] >= self._most_of_one:
                raise _busy(f"of this client {self._most_of_one} RSA key pairs are being made or waited for already")
            if self._waiting.total() >= self._most:
                raise _busy(f"{self._most} RSA key pairs are being made or waited for already")
            self._waiting[owner] += 1
        made = self._threads.submit(_make_unless, gone, kind)
        made.add_done_callback(lambda _: self._done(owner))
        return await asyncio.wrap_future(made)  # cancelled, it leaves the queue

    def _done(self, owner: Owner) -> None:
        # Not where `make` ends: whoever went away in the meantime may still have a thread at work.
        with self._lock:
            self._waiting[owner] -= 1
            if not self._waiting[owner]:
                del self._waiting[owner]

    def close(self) -> None:
        """Make no more; whoever waits is told so."""
        self._threads.shutdown(wait=False, cancel_futures=True)


class OnePair:
    """The pair of one request: made at most once, however often the request must be decided anew."""

    def __init__(self, kind: KeyKind, gone: Callable[[], bool]) -> None:
        self.kind = kind
        self._gone = gone  # tells that whoever asked has hung up
        self._made: KeyPair | None = None

    async def get(self, pairs: KeyPairs, owner: Owner) -> KeyPair:
        """Return the pair, made for `owner`.

        Raises:
            Unavailable: see KeyPairs.make

        """
        if self._made is None:
            self._made = await pairs.make(self.kind, owner, self._gone)
        return self._made


def _make_unless(gone: Callable[[], bool], kind: KeyKind) -> KeyPair:
    if gone():
        raise _busy("nobody waits for this RSA key pair any more")
    return make_pair(kind)


def _busy(why: str) -> Unavailable:
    return Unavailable("key_pairs_busy", f"{why}; ask again, or for ED25519", retry_after=5)


def _give_way() -> None:
    if sys.platform == "linux":  # where a thread has a niceness of its own
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)
