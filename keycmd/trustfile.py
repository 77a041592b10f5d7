"""The trust bundle: which CA keys and which KRL a host believes in, signed by the tenant's host CA.

A bundle is taken only whole: the signature is good and of a key that the host knows, every field is what it must be,
it is for this tenant, it has not ended, and it is not older than the one before. What it says is then true until the
next one; nothing else on the wire is.
"""

import binascii
import calendar
import json
import os
import subprocess
import time
from hashlib import sha256

TYPE = "tms-ca-trust/1"
NAMESPACE = "trust@tms-ca"
MOST_BUNDLE_CHARACTERS = 32768
MOST_SIGNATURE_CHARACTERS = 4096
MOST_KRL_BYTES = 64 * 1024 * 1024
MOST_KEYS = 8
LEAST_KRL_BYTES = 44  # its header
VERIFY_SECONDS = 5
KRL_SECONDS = 30  # a million entries take a while
_KEY_TYPES = frozenset(("ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521", "ssh-rsa"))
_FIELDS = ("epoch", "expires_at", "host_ca_keys", "issued_at", "krl", "tenant", "type", "user_ca_keys")
_KRL_FIELDS = ("bytes", "sha256", "version")
_HEX = frozenset("0123456789abcdef")
_DIGITS = frozenset("0123456789")
_TIME = "%Y-%m-%dT%H:%M:%SZ"


class TrustError(Exception):
    """A bundle that is not to be believed; the text says what is wrong and what to do."""


class Bundle:
    """What a bundle says, checked. Times are Unix seconds, keys are `TYPE BASE64`."""

    def __init__(self, text, signature, fields):
        self.text = text
        self.signature = signature
        self.tenant = fields["tenant"]
        self.epoch = _number(fields["epoch"], "epoch")
        self.issued_at = _when(fields["issued_at"], "issued_at")
        self.expires_at = _when(fields["expires_at"], "expires_at")
        self.user_ca_keys = _keys(fields["user_ca_keys"], "user_ca_keys")
        self.host_ca_keys = _keys(fields["host_ca_keys"], "host_ca_keys")
        krl = fields["krl"]
        if not isinstance(krl, dict) or tuple(sorted(krl)) != _KRL_FIELDS:
            raise TrustError("the bundle's krl is not {bytes, sha256, version}")
        self.krl_version = _number(krl["version"], "krl.version")
        self.krl_sha256 = krl["sha256"]
        self.krl_bytes = krl["bytes"]
        if not isinstance(self.krl_sha256, str) or len(self.krl_sha256) != 64 or not _HEX.issuperset(self.krl_sha256):
            raise TrustError("the bundle's krl.sha256 is not 64 hex digits")
        if type(self.krl_bytes) is not int or not LEAST_KRL_BYTES <= self.krl_bytes <= MOST_KRL_BYTES:
            raise TrustError("the bundle's krl.bytes is not a number from %d to %d" % (LEAST_KRL_BYTES, MOST_KRL_BYTES))

    @property
    def user_ca_file(self):
        """The bytes of sshd's TrustedUserCAKeys."""
        return _lines(self.user_ca_keys)

    @property
    def host_ca_file(self):
        """The bytes of host_ca.pub, the keys that may sign the next bundle."""
        return _lines(self.host_ca_keys)


def parse(text, signature, tenant):
    """Return the Bundle that `text` is, not verified yet; `tenant` is ours, or None for whichever it names.

    Raises:
        TrustError: not a bundle, or another tenant's
    """
    if not isinstance(text, str) or not isinstance(signature, str):
        raise TrustError("bundle and signature are not texts")
    if len(text) > MOST_BUNDLE_CHARACTERS or len(signature) > MOST_SIGNATURE_CHARACTERS:
        raise TrustError("bundle or signature are longer than any true one")
    if not all(" " <= c <= "~" for c in text) or not all(" " <= c <= "~" or c == "\n" for c in signature):
        raise TrustError("bundle or signature hold something else than printable ASCII")
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise TrustError("the bundle is not JSON: %s" % error) from error
    if not isinstance(fields, dict) or tuple(sorted(fields)) != _FIELDS or fields["type"] != TYPE:
        raise TrustError("the bundle is not of type %s, or has other fields: update tms-host" % TYPE)
    if json.dumps(fields, sort_keys=True, separators=(",", ":")) != text:
        raise TrustError("the bundle is not written in the one way that it can be")  # a field twice, for one
    if not isinstance(fields["tenant"], str) or tenant not in (None, fields["tenant"]):
        raise TrustError("the bundle is of the tenant %.40r, expected %r" % (fields["tenant"], tenant))
    return Bundle(text, signature, fields)


def verify(bundle, signers):
    """Check the bundle's signature; `signers` are the keys (`TYPE BASE64`) of which one must have made it.

    Runs ssh-keygen, for 5 s at most, and writes no file: a full disk does not matter here.

    Raises:
        TrustError: another key, another namespace, another text, or ssh-keygen could not say
    """
    if not signers:
        raise TrustError("no host CA key is known here: run `tms-host join` again")
    allowed = "".join('tms-ca namespaces="%s" %s\n' % (NAMESPACE, key) for key in signers)
    descriptors = []
    try:
        descriptors = [_pipe(allowed), _pipe(bundle.signature)]
        paths = ["/proc/self/fd/%d" % descriptor for descriptor in descriptors]
        command = ["ssh-keygen", "-Y", "verify", "-n", NAMESPACE, "-I", "tms-ca", "-f", paths[0], "-s", paths[1]]
        done = subprocess.run(
            command, check=False, input=bundle.text.encode("ascii"), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            timeout=VERIFY_SECONDS, pass_fds=descriptors, env={"PATH": "/usr/bin:/bin"},
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError) as error:
        raise TrustError("ssh-keygen could not check the signature: %s" % error) from error
    finally:
        for descriptor in descriptors:
            os.close(descriptor)
    if done.returncode != 0:
        said = done.stdout.decode("ascii", "replace").strip().split("\n")[-1][:200]
        raise TrustError("the signature is not of a host CA key that is known here (%s)" % said)


def check_krl(path):
    """Refuse a KRL that sshd could not load, because sshd would then refuse everybody.

    Raises:
        TrustError: it is empty, cut short or garbage, or ssh-keygen could not say
    """
    try:
        size = os.stat(path).st_size
        command = ["ssh-keygen", "-Q", "-l", "-f", path]
        done = subprocess.run(
            command, check=False, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            timeout=KRL_SECONDS, env={"PATH": "/usr/bin:/bin"},
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError) as error:
        raise TrustError("ssh-keygen could not load the KRL: %s" % error) from error
    if size < LEAST_KRL_BYTES or done.returncode != 0:
        said = done.stderr.decode("ascii", "replace").strip()[-200:]
        raise TrustError("the KRL of %d bytes does not load (%s)" % (size, said))


def check_time(bundle, now):
    """Refuse a bundle that has ended.

    Raises:
        TrustError: with both times, because the clock may be at fault
    """
    if now >= bundle.expires_at:
        times = (_text(bundle.expires_at), _text(now))
        raise TrustError(
            "the bundle ended at %s and this machine's clock says %s: an old answer, or a wrong clock" % times
        )


def check_newer(bundle, last):
    """Refuse a bundle that is older than `last` (a Bundle or None) in any respect.

    Raises:
        TrustError: which number went back
    """
    if last is None:
        return
    for name in ("krl_version", "epoch", "issued_at"):
        if getattr(bundle, name) < getattr(last, name):
            numbers = (name, getattr(bundle, name), getattr(last, name))
            raise TrustError("the bundle is older than the last one: %s is %d after %d; if the service's database was "
                             "restored from a backup, run `tms-host join` again" % numbers)  # fmt: skip


def load_last(content, tenant):
    """Return the Bundle of trust.json's bytes; it was verified when it was written.

    Raises:
        TrustError: not what `as_file` wrote
    """
    try:
        fields = json.loads(content.decode("ascii"))
        text, signature = fields["bundle"], fields["signature"]
    except (ValueError, KeyError, TypeError) as error:
        raise TrustError("trust.json does not hold a bundle: run `tms-host join` again") from error
    return parse(text, signature, tenant)


def as_file(bundle):
    """Return trust.json's bytes."""
    return json.dumps({"bundle": bundle.text, "signature": bundle.signature}, sort_keys=True).encode("ascii") + b"\n"


def read_keys(content):
    """Return the keys (`TYPE BASE64`) of a file of public keys; comments behind them do not matter.

    Raises:
        TrustError: a line is not a public key
    """
    try:
        lines = content.decode("ascii").split("\n")
    except UnicodeDecodeError as error:
        raise TrustError("a file of public keys holds something else than ASCII") from error
    return [_key(" ".join(line.split(" ")[:2]), "a line") for line in lines if line.strip() and line[0] != "#"]


def digest(content):
    """Return the SHA-256 of a KRL's bytes as the bundle has it; None of None."""
    return None if content is None else sha256(content).hexdigest()


def fingerprint(key):
    """Return SHA256:... of a key (`TYPE BASE64`), as ssh-keygen -l shows it."""
    digest = sha256(binascii.a2b_base64(key.split(" ")[1])).digest()
    return "SHA256:" + binascii.b2a_base64(digest, newline=False).decode("ascii").rstrip("=")


def _pipe(text):
    """Return a descriptor to read `text` from; it fits into a pipe, so nobody has to feed it."""
    reading, writing = os.pipe()
    try:
        os.write(writing, text.encode("ascii"))
    finally:
        os.close(writing)
    return reading


def _lines(keys):
    return "".join(key + "\n" for key in keys).encode("ascii")


def _keys(found, name):
    if not isinstance(found, list) or not 1 <= len(found) <= MOST_KEYS:
        raise TrustError("the bundle's %s are not 1 to %d keys" % (name, MOST_KEYS))
    return [_key(key, name) for key in found]


def _key(text, name):
    """Check `TYPE BASE64`: a known type, and a blob that says the same type of itself."""
    kind, _, blob = text.partition(" ") if isinstance(text, str) else ("", "", "")
    try:
        raw = binascii.a2b_base64(blob.encode("ascii"))
    except ValueError:
        raw = b""
    said = kind.encode("ascii", "replace")
    whole = binascii.b2a_base64(raw, newline=False).decode("ascii") == blob
    fields = _strings(raw)
    if kind not in _KEY_TYPES or not whole or len(fields) < 2 or fields[0] != said:
        raise TrustError("%s: %.60r is not a public key (TYPE BASE64)" % (name, text))
    return text


def _strings(raw):
    """Return the strings that a blob consists of (RFC 4251 section 5); none where something is left over."""
    found, at = [], 0
    while at < len(raw):
        size = int.from_bytes(raw[at : at + 4], "big")
        if at + 4 + size > len(raw):
            return []
        found.append(raw[at + 4 : at + 4 + size])
        at += 4 + size
    return found


def _number(text, name):
    """Check a string of decimal digits, up to 63 bits."""
    if not isinstance(text, str) or not 1 <= len(text) <= 19 or not _DIGITS.issuperset(text) or int(text) >> 63:
        raise TrustError("the bundle's %s is %.30r, expected a string of digits" % (name, text))
    return int(text)


def _when(text, name):
    try:
        seconds = calendar.timegm(time.strptime(text, _TIME))
    except (ValueError, TypeError) as error:
        raise TrustError("the bundle's %s is not a time like 2026-01-31T12:00:00Z" % name) from error
    if _text(seconds) != text:
        raise TrustError("the bundle's %s is not a time like 2026-01-31T12:00:00Z" % name)
    return seconds


def _text(seconds):
    return time.strftime(_TIME, time.gmtime(seconds))
