"""The question about a plain key, and what may come back: for the helper without a daemon, and for the daemon."""

import binascii
import os

from keycmd.keylines import KEY_TYPES, MOST_LINES, valid_fingerprint, valid_line
from keycmd.service import Call, ServiceError, bound_answer, valid_account

_USER_CA = "/user_ca.pub"
_MOST_BYTES = 262144


class KeyQuestion:
    """Which line opens this account to this key? All of it is checked before any of it is sent."""

    def __init__(self, account, fingerprint, key_type):
        """Take what sshd passed.

        Raises:
            ServiceError: an account, a fingerprint or a type that cannot be one
        """
        if not valid_account(account):
            raise ServiceError("the account's name is not one that the service knows")
        if not valid_fingerprint(fingerprint):
            raise ServiceError("the fingerprint is not SHA256:...; sshd_config needs `FingerprintHash sha256`")
        if key_type not in KEY_TYPES:
            raise ServiceError("not a key of a known type")
        self.account = account
        self.fingerprint = fingerprint
        self.key_type = key_type
        self.nonce = binascii.b2a_hex(os.urandom(16)).decode("ascii")
        self.call = Call()

    @property
    def about(self):
        """Return who asks for what, for a log line."""
        return "account=%s key=%s type=%s" % (self.account, self.fingerprint, self.key_type)

    def path(self, config):
        """Return where this is asked."""
        return "/api/v1/tenants/%s/hosts/%s/keys" % (config.tenant, config.host)

    def body(self, *, reports_logins=False):
        """Return the JSON that the service is sent; `reports_logins`: each login is announced, and counted then."""
        # Every value was checked against an alphabet without quotes and backslashes.
        parts = (self.account, self.fingerprint, self.key_type, self.nonce, ',"reports_logins":true' * reports_logins)
        return '{"account":"%s","fingerprint":"%s","key_type":"%s","nonce":"%s"%s}' % parts

    def ask(self, config, deadline):
        """Return the checked lines of the service's yes, without the daemon; `deadline` is on time.monotonic().

        Raises:
            Refused: a clean no
            ServiceError: anything else
        """
        if config.sessions == "pam":
            # Nobody would note the key for the session's hook: the login would go uncounted, or be counted twice.
            raise ServiceError("tms-hostd does not answer, and with sessions = pam it has to announce each login")
        answered = self.call.send(config, self.path(config), self.body(), deadline)
        return self.judge(config, *answered)

    def judge(self, config, status, headers, answer):
        """Return the lines of an answer that has come, as `ask` does."""
        bound = "%s %s %s" % (self.nonce, self.account, self.fingerprint)
        return self.checked(bound_answer(status, headers, answer, bound), config)

    def checked(self, answer, config):
        """Return the lines of a text, each of which may be printed.

        Raises:
            ServiceError: none, too many, one that may not be printed, or a last line that was cut
        """
        lines = answer.split("\n")
        if lines.pop() != "" or not 1 <= len(lines) <= MOST_LINES:
            raise ServiceError("the answer holds no line, too many, or one that was cut")
        allowed = ca_keys(config)
        if not all(valid_line(line, self.fingerprint, self.key_type, allowed) for line in lines):
            raise ServiceError("the answer holds a line that may not be printed, or another key")
        return lines


def ca_keys(config):
    """Return the CA keys (TYPE BASE64) that may stand behind `cert-authority`: none, unless `ca_lines = yes`.

    Raises:
        ServiceError: they cannot be read
    """
    if not config.ca_lines:
        return frozenset()
    try:
        with open(config.state_dir + _USER_CA, "rb") as file:
            lines = file.read(_MOST_BYTES).decode("ascii").split("\n")
    except (OSError, ValueError) as error:
        raise ServiceError("cannot read the CA keys that this host trusts: %s" % error) from error
    return frozenset(" ".join(line.split(" ")[:2]) for line in lines if line and line[0] != "#")
