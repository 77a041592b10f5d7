"""`tms-host join`: a one-time token becomes a credential, trusted keys, a KRL and host certificates.

Everything that can be checked is checked before the token is used, and every file is whole on the disk before the
first takes its place: a join that fails leaves the host as it was. The old credential of a machine that joins again
works until the new one is in its place and drops it.
"""

import binascii
import os
import socket
import time
from hashlib import sha256

from keycmd import files, trustfile
from keycmd.admin import daemon, hostconf, service, sshd_lines
from keycmd.admin.places import AdminError, sentence
from keycmd.config import NOT_WRITABLE_BY_OTHERS, SYSTEM_CA, ConfigError, read_owned
from keycmd.hostcert import CertificateError, HostCertificate, check

OLDEST_OPENSSH = (8, 2)  # ssh-keygen -Y verify
MOST_CA_BYTES = 262144
ROOM_BYTES = 131072
IN_FLIGHT_SECONDS = 1.0  # for questions that are on their way with the old credential
_NODE = frozenset("abcdefghijklmnopqrstuvwxyz0123456789.-")
_TOKEN = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-")


class Joined:
    """What a join has brought: for the summary, and for the lines of sshd."""

    def __init__(self, answer, bundle, certificates, left_out, not_dropped):
        self.tenant = answer["tenant"]
        self.host = answer["host"]
        self.names = answer["names"]
        self.bundle = bundle
        self.certificates = certificates  # {path: HostCertificate}
        self.left_out = left_out  # names of host keys that nobody certifies
        self.not_dropped = not_dropped  # why an older credential may work still; None where none does


def new_credential():
    """Return (credential, its SHA-256 in hex): 256 random bits, of which the service gets the digest only."""
    credential = "tms_h_" + binascii.b2a_base64(os.urandom(32), newline=False).decode("ascii").rstrip("=").translate(
        {ord("+"): "-", ord("/"): "_"}
    )
    return credential, sha256(credential.encode("ascii")).hexdigest()


def node_name(wish=None):
    """Return this machine's own name among those that share the host's name.

    Raises:
        AdminError: the wish, or the machine's name, cannot be one
    """
    name = (wish or socket.gethostname().split(".")[0]).lower()
    if not 1 <= len(name) <= 63 or not _NODE.issuperset(name) or name[0] in ".-" or name[-1] in ".-":
        raise AdminError("this machine's name is %r, expected 1 to 63 of a-z 0-9 . -: say --name NODE" % name[:70])
    return name


def join(places, url, token, ca_file=SYSTEM_CA, host_ca=(), name=None, *, replace=False):
    """Enrol this machine; `host_ca` are fingerprints of which one must have signed what is trusted from now on.

    With `replace`, new host keys take the place of those that the service knows of this machine.

    Raises:
        AdminError: with what was found, what is there now and what to do
    """
    places.needs_root()
    node = node_name(name)
    if sshd_lines.keygen_version() < OLDEST_OPENSSH:
        raise AdminError("OpenSSH is %d.%d, expected %d.%d or newer" % (sshd_lines.keygen_version() + OLDEST_OPENSSH))
    host_keys, left_out = sshd_lines.host_keys(places)
    _check_words(token, host_ca)
    kept = hostconf.kept(places)
    ca_pem = _ca_pem(ca_file)
    config = service.configure(url, ca_file, places, node, kept)
    _make_directories(places)
    _check_room(places)
    with service.Service(config) as asked, files.NewFiles() as new:
        _check_clock(asked)
        credential, digest = new_credential()
        # Before the token is used: a full disk or a wrong right shows here.
        new.add(places.token, credential.encode("ascii") + b"\n", files.SECRET, places.uid, places.gid)
        answer = _use_token(asked, token, digest, node, list(host_keys.values()), replace)
        config.tenant, config.host = answer["tenant"], answer["host"]
        try:
            bundle = _krl(asked, places, new, _trusted(answer["trust"], answer["tenant"], host_ca), host_ca)
            certificates = _certificates(places, answer, bundle, host_keys)
            if ca_pem is not None:
                new.add(places.ca_file, ca_pem)
            _add_trust(places, new, bundle)
            for path, certificate in certificates.items():
                new.add(path, certificate.line.encode("ascii") + b"\n", files.READABLE, places.uid, places.gid)
                public = certificate.public_key.encode("ascii") + b"\n"
                new.add(path.replace("-cert.pub", ".pub"), public, files.READABLE, places.uid, places.gid)
            text = hostconf.text(places, url, config.tenant, config.host, node, ca_pem is not None, kept)
            new.add(places.config, text.encode("ascii"))
            new.put_in_place()
        except (AdminError, files.FilesError) as error:
            raise AdminError(
                "%s The token is used up: ask for another and run this again. A host that was joined before goes on "
                "with its old credential" % sentence(error)
            ) from error
        return Joined(answer, bundle, certificates, left_out, _drop_others(asked, places, config.host, credential))


def _check_words(token, host_ca):
    if not token.startswith("tms_j_") or not _TOKEN.issuperset(token) or len(token) > 200:
        raise AdminError("the token is not one: it begins with tms_j_, and `tms-ca hosts invite` prints it")
    for pin in host_ca:
        if not pin.startswith("SHA256:") or len(pin) != 50:
            raise AdminError(
                "--host-ca is %r, expected SHA256: and 43 characters, as ssh-keygen -l shows it" % pin[:60]
            )


def _ca_pem(ca_file):
    """Return the bytes of the service's CA, None where the machine's own are trusted."""
    if ca_file == SYSTEM_CA:
        return None
    try:
        return read_owned(ca_file, NOT_WRITABLE_BY_OTHERS, MOST_CA_BYTES, "--ca-file").encode("ascii")
    except ConfigError as error:
        raise AdminError(str(error)) from error


def _make_directories(places):
    try:
        files.make_directory(places.etc)
        for directory in (places.state, places.certificates, places.spool, places.run):
            files.make_directory(directory, 0o755, places.uid, places.gid)
    except files.FilesError as error:
        raise AdminError(str(error)) from error


def _check_room(places):
    """Refuse a full disk before the token is used; what is written for it is gone again."""
    with files.NewFiles() as new:
        try:
            for directory in (places.etc, places.state, places.certificates):
                new.add(directory + "/room", b"\0" * ROOM_BYTES)
        except files.FilesError as error:
            raise AdminError(str(error)) from error


def _check_clock(asked):
    asked.call("GET", "/healthz")
    offset = asked.clock_offset_seconds
    if offset is None or abs(offset) > service.MOST_CLOCK_OFFSET_SECONDS:
        said = "is unknown" if offset is None else "is %+d s from the service's" % offset
        raise AdminError("this machine's clock %s: set it (chrony, timesyncd) and run this again" % said)


def _drop_others(asked, places, host, credential):
    """End the older credentials of this machine, when everything is in its place; return why not, or None."""
    asked.use_token(credential)
    try:
        if daemon.reload(places.run):  # with the old credential it would be refused as soon as that is dropped
            time.sleep(IN_FLIGHT_SECONDS)
        asked.good("DELETE", "hosts/%s/credential" % host)
    except AdminError as error:
        return str(error)
    return None


def _use_token(asked, token, digest, node, host_keys, replace):
    body = {"join_token": token, "credential_sha256": digest, "node": node, "ssh_host_keys": host_keys}
    if replace:
        body["replace"] = True
    try:
        answer = asked.good("POST", "/api/v1/join", body)
    except service.Refusal:
        raise
    except AdminError as error:
        raise AdminError(
            "%s The token may be used up: ask for another if it is refused now" % sentence(error)
        ) from error
    expected = {"tenant": str, "host": str, "names": list, "trust": dict, "host_certificates": list}
    for key, kind in expected.items():
        if not isinstance(answer.get(key), kind):
            raise AdminError("the service's answer has no %s: is tms-host as new as the service?" % key)
    return answer


def _trusted(trust, tenant, host_ca):
    """Return the bundle of an answer, signed by one of the pinned keys where any is pinned."""
    try:
        bundle = trustfile.parse(trust.get("bundle"), trust.get("signature"), tenant)
        signers = [key for key in bundle.host_ca_keys if not host_ca or trustfile.fingerprint(key) in host_ca]
        if not signers:
            shown = ", ".join(trustfile.fingerprint(key) for key in bundle.host_ca_keys)
            raise AdminError("the service's host CA keys are %s, none is the --host-ca that was given: "
                             "is this the right service?" % shown)  # fmt: skip
        trustfile.verify(bundle, signers)
        trustfile.check_time(bundle, time.time())
    except trustfile.TrustError as error:
        raise AdminError(str(error)) from error
    return bundle


def _krl(asked, places, new, bundle, host_ca):
    """Fetch the KRL that the bundle names; it waits beside its place. Return the bundle, or a newer one."""
    for turn in range(3):
        if turn:  # something was revoked in between
            bundle = _trusted(asked.good("GET", "trust"), bundle.tenant, host_ca)
        status, _, content = asked.call("GET", "krl", most=trustfile.MOST_KRL_BYTES, accept="application/octet-stream")
        if status == 200 and trustfile.digest(content) == bundle.krl_sha256:
            break
    else:
        raise AdminError("the KRL (status %d, %d bytes) is not the one of the trust bundle" % (status, len(content)))
    try:
        trustfile.check_krl(new.add(places.krl, content, files.READABLE, places.uid, places.gid))
    except trustfile.TrustError as error:
        raise AdminError(str(error)) from error
    return bundle


def _certificates(places, answer, bundle, host_keys):
    """Return {path: HostCertificate}, one for each host key, each checked."""
    if len(answer["host_certificates"]) != len(host_keys):
        raise AdminError(
            "the service sent %d certificates for %d host keys" % (len(answer["host_certificates"]), len(host_keys))
        )
    found = {}
    for number, (name, public_key) in enumerate(host_keys.items()):
        text = answer["host_certificates"][number]
        try:
            certificate = HostCertificate(text if isinstance(text, str) else "")
            check(certificate, public_key, bundle.host_ca_keys, time.time())
        except CertificateError as error:
            raise AdminError("the certificate for %s: %s" % (name, error)) from error
        found["%s/%s-cert.pub" % (places.certificates, name)] = certificate
    return found


def _add_trust(places, new, bundle):
    for path, content in (
        (places.user_ca, bundle.user_ca_file),
        (places.host_ca, bundle.host_ca_file),
        (places.trust, trustfile.as_file(bundle)),
    ):
        new.add(path, content, files.READABLE, places.uid, places.gid)
