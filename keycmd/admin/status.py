"""`tms-host status`: what this host trusts and enforces now, as the daemon says it, or as the files show it."""

import time

from keycmd import files, hostcert, trustfile
from keycmd.admin import daemon
from keycmd.admin.places import AdminError
from keycmd.config import ConfigError, load_without_token
from keycmd.hostd.certificates import certificate_path, due, public_keys
from keycmd.hostd.trust import REFUSES_ALL

OFFSET_MS = 30000
_MOST_FILE_BYTES = 65536


def status(places, now):
    """Return what `tms-host status --json` shows; `problems` is empty where all is well.

    Raises:
        AdminError: this host is not joined
    """
    try:
        config = load_without_token(places.config)
    except ConfigError as error:
        raise AdminError("%s; is this host joined?" % error) from error
    shown = {"host": config.host, "tenant": config.tenant, "node": config.node, "problems": []}
    problems = shown["problems"]
    try:
        said, shown["daemon_pid"] = daemon.ask_status(config.run_dir)
    except AdminError as error:
        said, shown["daemon_pid"] = None, None
        problems.append(str(error))
    else:
        if said is None:
            problems.append("tms-hostd does not run: systemctl start tms-hostd; systemctl status tms-hostd")
    shown["daemon"] = said
    _from_files(config, now, shown, problems)
    _from_daemon(said or {}, problems)
    return shown


def _from_files(config, now, shown, problems):
    """Look at what sshd reads, whatever the daemon believes."""
    try:
        content = files.read(config.state_dir + "/trust.json", _MOST_FILE_BYTES)
        if content is None:
            raise trustfile.TrustError("there is no trust.json: run `tms-host join`")
        bundle = trustfile.load_last(content, config.tenant)
        shown["krl_version"], shown["epoch"] = str(bundle.krl_version), str(bundle.epoch)
        shown["trust_expires_at"] = bundle.expires_at
        shown["user_ca_fingerprints"] = [trustfile.fingerprint(key) for key in bundle.user_ca_keys]
        if now >= bundle.expires_at:
            text = "the KRL was confirmed last %d s ago and that has ended: revocations may be missing"
            problems.append(text % (now - bundle.issued_at))
        if files.read(config.state_dir + "/user_ca.pub", _MOST_FILE_BYTES) != bundle.user_ca_file:
            problems.append("user_ca.pub is not what the service signed")
        _krl(config, bundle, problems)
    except (trustfile.TrustError, files.FilesError) as error:
        problems.append(str(error))
    shown["host_certificates"] = _certificates(config, now, problems)


def _krl(config, bundle, problems):
    krl = files.read(config.state_dir + "/krl", trustfile.MOST_KRL_BYTES)
    if krl == REFUSES_ALL:
        problems.append("sshd refuses all keys: the last signed bundle has ended, and when_krl_stale is refuse")
    elif krl is None:
        problems.append("there is no KRL: sshd refuses all keys where RevokedKeys names it")
    elif trustfile.digest(krl) != bundle.krl_sha256:
        problems.append("the KRL is not the one that the service signed")


def _certificates(config, now, problems):
    """Return one entry for each host key that was certified."""
    found = []
    for path in public_keys(config.state_dir + "/host-certs"):
        try:
            text = (files.read(certificate_path(path), _MOST_FILE_BYTES) or b"").decode("ascii", "replace")
            certificate = hostcert.HostCertificate(text)
        except (hostcert.CertificateError, files.FilesError) as error:
            problems.append("%s: %s" % (certificate_path(path), error))
            continue
        if now >= certificate.valid_before:
            problems.append("%s has ended: who connects is asked about the host key" % certificate_path(path))
        found.append({
            "file": certificate_path(path),
            "names": certificate.principals,
            "valid_before": certificate.valid_before,
            "renewed_from": due(certificate),
        })  # fmt: skip
    return found


def _from_daemon(said, problems):
    for part in ("trust", "report", "certificates"):
        problem = (said.get(part) or {}).get("problem")
        if problem:
            problems.append("%s: %s" % (part, problem))
    if (said.get("certificates") or {}).get("sshd"):
        problems.append("sshd may offer old host certificates: %s" % said["certificates"]["sshd"])
    offset = said.get("clock_offset_ms")
    if isinstance(offset, int) and abs(offset) >= OFFSET_MS:
        problems.append("this machine's clock is %+d s from the service's" % (offset // 1000))
    if said.get("service_error"):
        problems.append("the service: %s" % said["service_error"])


def as_text(shown):
    """Return what a person reads."""
    said = shown["daemon"] or {}
    lines = ["host          %s (tenant %s, node %s)" % (shown["host"], shown["tenant"], shown["node"])]
    running = "runs, pid %s" % shown["daemon_pid"] if shown["daemon"] else "does not run"
    lines.append("daemon        %s" % running)
    if "service" in said:
        lines.append("service       %s" % said["service"])
    if "krl_version" in shown:
        lines.append(
            "KRL           version %s, confirmed until %s" % (shown["krl_version"], _when(shown["trust_expires_at"]))
        )
        lines += ["user CA key   %s" % key for key in shown["user_ca_fingerprints"]]
    for entry in shown["host_certificates"]:
        names = ", ".join(entry["names"])
        lines.append("certificate   %s until %s, for %s" % (entry["file"], _when(entry["valid_before"]), names))
    lines += ["PROBLEM       %s" % problem for problem in shown["problems"]]
    lines.append("all is well" if not shown["problems"] else "problems: %d" % len(shown["problems"]))
    return "\n".join(lines) + "\n"


def _when(seconds):
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
