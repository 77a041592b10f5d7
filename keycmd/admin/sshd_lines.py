"""The lines that sshd needs, and what sshd itself says about its configuration and its host keys."""

import binascii
import glob
import os
import re
import subprocess
import tempfile

from keycmd import files
from keycmd.admin.places import USER, AdminError

HELPER = "/usr/libexec/tms/tms-principals"
SSHD_SECONDS = 10
MOST_HOST_KEYS = 8
LEAST_RSA_BITS = 3072
_CERTIFIED = ("ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521")
_SIGNATURES = {"ssh-rsa": "rsa-sha2-512,rsa-sha2-256"}
_MOST_KEY_BYTES = 16384


def lines(places, user_ca_keys, certificates, sessions="off"):
    """Return the text for sshd_config.d; `certificates` are the paths of the host certificates."""
    types = ["ssh-ed25519"] + [key.split(" ")[0] for key in user_ca_keys]
    algorithms = ",".join(_SIGNATURES.get(kind, kind) for kind in sorted(set(types), key=types.index))
    found = [
        "# sshd and TMS-CA: written by `tms-host join`, described in docs/hosts.md",
        "TrustedUserCAKeys %s" % places.user_ca,
        "RevokedKeys %s" % places.krl,
        "AuthorizedPrincipalsCommand %s %%u %%t %%k" % HELPER,
        "AuthorizedPrincipalsCommandUser %s" % USER,
        "AuthorizedPrincipalsFile none",
        "CASignatureAlgorithms %s" % algorithms,
    ]
    found += ["HostCertificate %s" % path for path in certificates]
    found.append("LogLevel VERBOSE")
    if sessions != "off":
        found.append("ExposeAuthInfo yes")
    return "\n".join(found) + "\n"


def sshd_program():
    """Return sshd's path, or None."""
    for directory in ("/usr/sbin", "/usr/local/sbin", "/sbin"):
        path = os.path.join(directory, "sshd")
        if os.access(path, os.X_OK):
            return path
    return None


def effective(config):
    """Return what sshd says (`sshd -T`) its configuration is, as (keyword in lower case, value) pairs; None if not.

    sshd says so only to root, and only where it could start.
    """
    program = sshd_program()
    if program is None:
        return None
    status, text = _run([program, "-T", "-f", config])
    if status != 0:
        return None
    return [(line.partition(" ")[0].lower(), line.partition(" ")[2]) for line in text.split("\n") if line]


def host_keys(places):
    """Return ({name: public key as TYPE BASE64}, [names that cannot be certified]) of the host's keys.

    They are those that sshd uses, else those that are there.

    Raises:
        AdminError: none, more than the service takes, or one that cannot be read
    """
    said = [] if places.root else effective(places.sshd_config) or []
    paths = [value + ".pub" for keyword, value in said if keyword == "hostkey"]
    # sshd's defaults are listed whether they are there or not.
    paths = [path for path in paths if os.path.exists(path)] or sorted(glob.glob(places.ssh + "/ssh_host_*_key.pub"))
    found, left_out = {}, []
    for path in paths:
        try:
            words = (files.read(path, _MOST_KEY_BYTES) or b"").decode("ascii").split()
            name = os.path.basename(path)[: -len(".pub")]
            if _certifiable(words):
                found[name] = " ".join(words[:2])
            else:
                left_out.append(name)
        except (files.FilesError, ValueError) as error:
            text = "%s does not hold a public key (%s): `ssh-keygen -y -f %s >%s`"
            raise AdminError(text % (path, error, path[:-4], path)) from error
    if not 1 <= len(found) <= MOST_HOST_KEYS:
        text = "%d usable host keys were found in %s, expected 1 to %d: `ssh-keygen -A` makes them"
        raise AdminError(text % (len(found), places.ssh, MOST_HOST_KEYS))
    return found, left_out


def _certifiable(words):
    """Tell whether the service certifies a key: Ed25519, ECDSA, RSA of 3072 bits and more.

    Raises:
        ValueError: not a public key
    """
    if len(words) < 2:
        raise ValueError("it has no two words")
    if words[0] != "ssh-rsa":
        return words[0] in _CERTIFIED
    blob = binascii.a2b_base64(words[1])
    # RFC 4253 section 6.6: "ssh-rsa", e, n; n last, with a leading zero byte where its first bit is set.
    at = 11 + 4 + int.from_bytes(blob[11:15], "big")
    return int.from_bytes(blob[at + 4 :], "big").bit_length() >= LEAST_RSA_BITS


def keygen_version():
    """Return OpenSSH's (major, minor) as `ssh -V` tells it.

    Raises:
        AdminError: not installed, or not to be understood
    """
    try:
        _, text = _run(["ssh", "-V"])
    except AdminError:
        text = ""
    found = re.search(r"OpenSSH_(\d+)\.(\d+)", text)
    if found is None:
        raise AdminError("ssh and ssh-keygen are not installed: install OpenSSH's client, 8.2 or newer")
    return int(found.group(1)), int(found.group(2))


def write_snippet(places, text):
    """Put `text` into sshd_config.d, if sshd takes its configuration with it; sshd is not reloaded.

    Raises:
        AdminError: sshd does not take it (then nothing was changed), or takes no notice of it
    """
    program = sshd_program()
    if program is None:
        raise AdminError("sshd is not installed; nothing was written to %s" % places.snippet)
    with tempfile.TemporaryDirectory() as directory:
        for name, content in (
            ("new.conf", text),
            ("sshd_config", "Include %s/new.conf\n" % directory + _config(places)),
        ):
            with open(os.path.join(directory, name), "w") as file:
                file.write(content)
        # Ours before all others, as an Include at the beginning of sshd_config puts it.
        status, said = _run([program, "-t", "-f", os.path.join(directory, "sshd_config")])
    if status != 0:
        raise AdminError(
            "sshd does not take these lines, nothing was written to %s: %s" % (places.snippet, said.strip()[-500:])
        )
    try:
        files.make_directory(os.path.dirname(places.snippet))
        files.write(places.snippet, text.encode("ascii"))
    except files.FilesError as error:
        raise AdminError("%s; sshd's configuration is as it was" % error) from error
    found = dict(effective(places.sshd_config) or [])
    if found.get("trustedusercakeys") != places.user_ca:
        raise AdminError(
            "%s is written, but sshd takes no notice of it: `Include /etc/ssh/sshd_config.d/*.conf` must stand "
            "at the beginning of %s (OpenSSH older than 8.2: copy the lines there)"
            % (places.snippet, places.sshd_config)
        )


def _config(places):
    try:
        with open(places.sshd_config, encoding="utf-8", errors="surrogateescape") as file:
            return file.read()
    except OSError as error:
        raise AdminError("cannot read %s: %s" % (places.sshd_config, error.strerror)) from error


def _run(command):
    """Return (status, what it said); a program that hangs is ended.

    Raises:
        AdminError: it cannot be run, or hangs
    """
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
            timeout=SSHD_SECONDS, universal_newlines=True, errors="replace",
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError) as error:
        raise AdminError("cannot run %s: %s" % (command[0], error)) from error
    return done.returncode, done.stdout
