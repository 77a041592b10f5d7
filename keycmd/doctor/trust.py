"""What this host believes: the CA keys of TrustedUserCAKeys, the list of RevokedKeys, and the bundle behind both."""

import hashlib
import json
import os
import time

from keycmd.doctor.place import read_bytes, read_text
from keycmd.doctor.running import run
from keycmd.hostd.trust import REFUSES_ALL
from keycmd.trustfile import TrustError, load_last, read_keys, verify

SIGNATURES = {"ssh-rsa": ("rsa-sha2-512", "rsa-sha2-256")}  # a CA key's type to what it signs with; else its own name
RESTART = "systemctl restart tms-hostd  # and read: journalctl -u tms-hostd -n 50"
KEY_TYPES = ("ssh-", "ecdsa-", "sk-")


def check(place, report):
    """Report what is wrong with the files that decide which certificates count."""
    bundle = _bundle(place, report)
    for account, settings in place.settings.items():
        _user_ca(place, account, settings, bundle, report)
        _revoked(place, account, settings, bundle, report)


def read_bundle(place):
    """Return the fields of the last verified bundle, or None."""
    try:
        outer = json.loads(read_text(place.file("trust.json")) or "")
        bundle = json.loads(outer["bundle"]) if isinstance(outer["bundle"], str) else outer["bundle"]
    except (ValueError, KeyError, TypeError):
        return None
    return bundle if isinstance(bundle, dict) else None


def key_lines(text):
    """Return the keys of a file, each as `TYPE BASE64`, whatever options and comments stand around them."""
    found = []
    for line in (text or "").split("\n"):
        words = line.split()
        for n, word in enumerate(words[:-1]):
            if word.startswith(KEY_TYPES) and not line.lstrip().startswith("#"):
                found.append("%s %s" % (word, words[n + 1]))
                break
    return found


def short(key):
    """Return a key's type and fingerprint, as ssh-keygen -l shows it."""
    import base64
    import binascii

    kind, _, blob = key.partition(" ")
    try:
        digest = hashlib.sha256(base64.b64decode(blob, validate=True)).digest()
    except (binascii.Error, ValueError):
        return kind + " (broken)"
    return "%s SHA256:%s" % (kind, base64.b64encode(digest).decode("ascii").rstrip("="))


def _bundle(place, report):
    path = place.file("trust.json")
    bundle = read_bundle(place)
    if bundle is None:
        report.add("bundle_missing", "%s is not there, or not whole" % path, RESTART)
        return None
    _signature(place, report)
    tenant = place.conf.get("tenant")
    if tenant and bundle.get("tenant") != tenant:
        found = "%s is of the tenant %s; %s says %s" % (path, bundle.get("tenant"), place.conf_path, tenant)
        report.add("bundle_foreign", found, "tms-host leave; tms-host join URL TOKEN")
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    until = str(bundle.get("expires_at"))
    if until[:19] < now[:19]:  # RFC 3339 in UTC sorts as text
        found = "%s ended at %s; it is %s" % (path, until, now)
        if place.conf.get("when_krl_stale") == "refuse":
            found += "; when_krl_stale = refuse, so sshd refuses every public key now"
        report.add("bundle_stale", found, RESTART)
    return bundle


def _signature(place, report):
    """Verify the bundle again: the file may have been changed since the daemon did."""
    try:
        bundle = load_last(read_bytes(place.file("trust.json")), None)
        verify(bundle, read_keys(read_bytes(place.file("host_ca.pub")) or b""))
    except TrustError as error:
        mend = "compare host_ca.pub with an admin (tms-ca ca export), then: tms-host leave; tms-host join URL TOKEN"
        report.add("bundle_broken", "%s: %s" % (place.file("trust.json"), error), mend)


def _user_ca(place, account, settings, bundle, report):
    path = settings.one("trustedusercakeys")
    where = place.sshd.where("trustedusercakeys", path)
    ours = place.file("user_ca.pub")
    if not path:
        found = "%s: TrustedUserCAKeys none" % where
        report.add("user_ca_none", found, "TrustedUserCAKeys %s" % ours, [account])
        return
    found = "%s: TrustedUserCAKeys %s" % (where, path)
    if os.path.realpath(path) != os.path.realpath(ours):
        report.add("user_ca_other", "%s, not %s" % (found, ours), "TrustedUserCAKeys %s" % ours, [account])
    keys = key_lines(read_text(path))
    if not keys:
        report.add("user_ca_missing", found + ": no key in it", RESTART, [account])
        return
    listed = key_lines("\n".join(map(str, (bundle or {}).get("user_ca_keys", []))))
    if listed:
        for key in keys:
            if key not in listed:
                said = "%s has %s, which %s does not list" % (path, short(key), place.file("trust.json"))
                report.add("user_ca_extra_key", said, "take the line out of %s" % path, [account])
        for key in listed:
            if key not in keys:
                report.add("user_ca_absent_key", "%s has not %s" % (path, short(key)), RESTART, [account])
    _ca_types(place, account, settings, listed or keys, report)


def _ca_types(place, account, settings, keys, report):
    taken = settings.one("casignaturealgorithms").split(",")
    where = place.sshd.where("casignaturealgorithms")
    for kind in sorted({key.split()[0] for key in keys}):
        if taken != [""] and not set(SIGNATURES.get(kind, (kind,))) & set(taken):
            found = "%s: CASignatureAlgorithms %s; a CA key is %s" % (where, ",".join(taken), kind)
            mend = "CASignatureAlgorithms %s" % ",".join([*taken, *SIGNATURES.get(kind, (kind,))])
            report.add("algorithms_no_ca_type", found, mend, [account])
    if "ssh-rsa" in taken:
        mend = "CASignatureAlgorithms %s" % (",".join(one for one in taken if one != "ssh-rsa") or "ssh-ed25519")
        found = "%s: CASignatureAlgorithms %s" % (where, ",".join(taken))
        report.add("algorithms_ssh_rsa", found, mend, [account])


def _revoked(place, account, settings, bundle, report):
    ours = place.file("krl")
    paths = settings.one("revokedkeys").split()  # one file before OpenSSH 10.3, then several
    where = place.sshd.where("revokedkeys")
    if not paths:
        report.add("krl_none", "%s: RevokedKeys none" % where, "RevokedKeys %s" % ours, [account])
        return
    if os.path.realpath(ours) not in map(os.path.realpath, paths):
        found = "%s: RevokedKeys %s, not %s" % (where, " ".join(paths), ours)
        report.add("krl_other", found, "RevokedKeys %s" % ours, [account])
    for path in paths:
        found = "%s: RevokedKeys %s" % (where, path)
        raw = read_bytes(path)
        if raw is None:
            report.add("krl_missing", found + ": not there, or not readable", RESTART, [account])
        elif not raw:
            report.add("krl_empty", found + ": 0 bytes", RESTART, [account])
        elif raw == REFUSES_ALL:
            mend = "mend bundle_stale; sooner, and less safe: when_krl_stale = keep  # in %s" % place.conf_path
            report.add("krl_closed", found + ": closed on purpose", mend, [account])
        else:
            _list_itself(place, account, path, found, bundle, report)


def _list_itself(place, account, path, found, bundle, report):
    status, out, err = run(["ssh-keygen", "-Q", "-l", "-f", path])
    if status != 0:
        # It says why on whichever of the two streams; the last line is the reason.
        said = ((err or out).strip().split("\n") or [""])[-1]
        report.add(
            "krl_broken", "%s: %d bytes, ssh-keygen -Q says: %s" % (found, _size(path), said), RESTART, [account]
        )
        return
    wanted = (bundle or {}).get("krl")
    if isinstance(wanted, dict) and os.path.realpath(path) == os.path.realpath(place.file("krl")):
        digest = _digest(path)
        if digest != wanted.get("sha256"):
            said = "%s: SHA-256 %s..., the bundle says %s..." % (found, digest[:12], str(wanted.get("sha256"))[:12])
            report.add("krl_differs", said, RESTART, [account])


def _digest(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for piece in iter(lambda: file.read(65536), b""):
            digest.update(piece)
    return digest.hexdigest()


def _size(path):
    try:
        return os.stat(path).st_size
    except OSError:
        return 0
