"""One question to the service over HTTP/1.1, strictly: a whole, bound answer or an error.

A client of our own, because the standard library's takes longer to import than the question takes to ask. It follows
no redirect, uses no proxy, reads no environment and takes no answer that is not exactly as expected.
"""

import binascii
import posix
import time

try:
    import _socket as socket  # what `socket` is made of: half the helper's start is the rest of that module
except ImportError:
    import socket
try:
    from _sha256 import sha256  # `hashlib` loads OpenSSL, which costs more than one digest
except ImportError:
    from hashlib import sha256

CERTIFICATE_TYPES = frozenset(
    (
        "ssh-ed25519-cert-v01@openssh.com",
        "ecdsa-sha2-nistp256-cert-v01@openssh.com",
        "ecdsa-sha2-nistp384-cert-v01@openssh.com",
        "ecdsa-sha2-nistp521-cert-v01@openssh.com",
        "ssh-rsa-cert-v01@openssh.com",
        "sk-ssh-ed25519-cert-v01@openssh.com",
        "sk-ecdsa-sha2-nistp256-cert-v01@openssh.com",
    )
)
MOST_CERTIFICATE_CHARACTERS = 65536
MOST_ANSWER_BYTES = 65536
MOST_HEAD_BYTES = 16384
_ACCOUNT_FIRST = frozenset("abcdefghijklmnopqrstuvwxyz_")
_ACCOUNT = _ACCOUNT_FIRST | frozenset("0123456789.-")
_BASE64 = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=")
_CODE = frozenset(b"abcdefghijklmnopqrstuvwxyz0123456789_")
_ONCE = ("content-length", "content-type", "x-tms-answer")


class ServiceError(Exception):
    """No answer that can be believed."""


class Refused(Exception):
    """The service said no; the text is its code."""


class Plain(socket.socket):
    """A socket that TLS can refer to weakly, which the bare kind does not allow."""


class Question:
    """May the holder of this certificate open this account? All of it is checked before any of it is sent."""

    def __init__(self, account, certificate_type, certificate):
        """Take what sshd passed.

        Raises:
            ServiceError: an account or a certificate that cannot be one
        """
        if not valid_account(account):
            raise ServiceError("the account's name is not one that the service knows")
        if certificate_type not in CERTIFICATE_TYPES:
            raise ServiceError("not a certificate of a known type")
        self.account = account
        self.certificate = "%s %s" % (certificate_type, certificate)
        self.fingerprint = fingerprint(certificate)
        self.nonce = binascii.b2a_hex(posix.urandom(16)).decode("ascii")
        self.call = Call()

    def body(self):
        """Return the JSON that the service is sent."""
        # Every value was checked against an alphabet without quotes and backslashes.
        return '{"account":"%s","certificate":"%s","nonce":"%s"}' % (self.account, self.certificate, self.nonce)

    def ask(self, config, deadline):
        """Return the text of the service's yes, which is bound to this question; `deadline` is on time.monotonic().

        Raises:
            Refused: a clean no
            ServiceError: anything else
        """
        path = "/api/v1/tenants/%s/hosts/%s/principals" % (config.tenant, config.host)
        return self.judge(config, *self.call.send(config, path, self.body(), deadline))

    def judge(self, config, status, headers, answer):
        """Return the text of a yes, as `ask` does, of an answer that has come."""
        text = bound_answer(status, headers, answer, "%s %s %s" % (self.nonce, self.account, self.fingerprint))
        if "x-tms-uses" in headers and config.sessions != "pam":
            # Nobody here tells the service of every login (users can go round the wrapper): a number would be any.
            raise Refused("uses_not_counted_here")
        return text


class Call:
    """One request over one connection of its own; `stage` is what it is waiting for, for the log."""

    def __init__(self):
        self.stage = "starting"

    def send(self, config, path, body, deadline):
        """Return (status, headers, body) of the first address that answers; all of them share the deadline.

        An address that cannot be reached, talks nonsense or answers with 5xx is passed over for the next.

        Raises:
            ServiceError: none of them gave an answer that can be believed
        """
        for number, address in enumerate(config.addresses, 1):
            others = len(config.addresses) - number
            request = (
                "POST %s HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\nAccept: text/plain\r\n"
                "Content-Type: application/json\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s"
            ) % (path, address.authority, config.token, len(body), body)
            turn = time.monotonic() + _left(deadline) / (others + 1)
            try:
                answered = split_answer(self._exchange(config, address, request.encode("ascii"), turn))
            except ServiceError:
                if not others:
                    raise
                continue
            if answered[0] < 500 or not others:
                return answered
        raise ServiceError("no address to ask")

    def _exchange(self, config, address, request, deadline):
        """Send `request`; return all that comes until the service closes."""
        connection = None
        try:
            self.stage = "resolving %s" % address.name
            # Bytes, because a str makes Python import its IDNA tables first.
            found = socket.getaddrinfo(address.name.encode("ascii"), address.port, 0, socket.SOCK_STREAM)
            connection = self._connect(found, deadline)
            if address.secure:
                self.stage = "in the TLS handshake"
                connection.settimeout(_left(deadline))
                from keycmd.tls import secured  # OpenSSL is the most expensive import of all

                connection = secured(connection, config.ca_pem, address.name)
            self.stage = "waiting for the answer"
            connection.settimeout(_left(deadline))
            connection.sendall(request)
            received = b""
            while True:
                connection.settimeout(_left(deadline))
                piece = connection.recv(65536)
                if not piece:
                    return received
                received += piece
                if len(received) > MOST_HEAD_BYTES + MOST_ANSWER_BYTES:
                    raise ServiceError("the answer is larger than any true one")
        except (OSError, ValueError) as error:
            raise ServiceError("%s: %s" % (self.stage, error)) from error
        finally:
            if connection is not None:
                connection.close()

    def _connect(self, found, deadline):
        """Return a socket to the first address that takes one; all of them share the deadline."""
        last = None
        for family, kind, protocol, _, address in found:
            self.stage = "connecting to %s port %d" % address[:2]
            connection = Plain(family, kind, protocol)
            try:
                connection.settimeout(_left(deadline))
                connection.connect(address)
                return connection
            except OSError as error:
                connection.close()
                last = error
        raise ServiceError("%s: %s" % (self.stage, last))


def _left(deadline):
    left = deadline - time.monotonic()
    if left <= 0:
        raise ServiceError("no answer in time")
    return left


def valid_account(account):
    """Tell whether this may be the name of an account."""
    return 1 <= len(account) <= 32 and account[0] in _ACCOUNT_FIRST and _ACCOUNT.issuperset(account)


def fingerprint(certificate):
    """Return SHA256:... of a whole certificate in base64, as the service computes it.

    Raises:
        ServiceError: too long, or not base64 in the one way that sshd writes it
    """
    if not 1 <= len(certificate) <= MOST_CERTIFICATE_CHARACTERS or not _BASE64.issuperset(certificate):
        raise ServiceError("the certificate is not base64, or too long")
    try:
        blob = binascii.a2b_base64(certificate)
    except ValueError:
        blob = b""
    if binascii.b2a_base64(blob, newline=False) != certificate.encode("ascii"):
        raise ServiceError("the certificate is not base64 as sshd writes it")
    return "SHA256:" + binascii.b2a_base64(sha256(blob).digest(), newline=False).decode("ascii").rstrip("=")


def split_answer(received):
    """Return (status, headers, body) of one whole HTTP/1.1 answer.

    Raises:
        ServiceError: not one, cut short, longer than it says, or of a length that it does not say
    """
    head, separator, body = received.partition(b"\r\n\r\n")
    if not separator:
        raise ServiceError("the answer has no end of its head")
    status, headers, length = read_head(head)
    if length != len(body):
        raise ServiceError("the answer is not as long as it says")
    if len(body) > MOST_ANSWER_BYTES:
        raise ServiceError("the answer is larger than any true one")
    return status, headers, body


def read_head(head):
    """Return (status, headers with lower-case names, length of the body) of an HTTP/1.1 answer's head.

    Raises:
        ServiceError: not one, or of a length that it does not say
    """
    if len(head) > MOST_HEAD_BYTES:
        raise ServiceError("the answer has no end of its head")
    lines = head.decode("latin-1").split("\r\n")
    if not all(" " <= character <= "~" for line in lines for character in line):
        raise ServiceError("the answer's head holds something else than printable ASCII")
    version, _, rest = lines[0].partition(" ")
    if version != "HTTP/1.1" or not rest[:3].isdigit() or len(rest[:3]) != 3 or rest[3:4] not in ("", " "):
        raise ServiceError("the answer is not HTTP/1.1")
    status = int(rest[:3])
    headers = {}
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        name = name.lower()
        if not colon or not name or " " in name or (name in _ONCE and name in headers):
            raise ServiceError("the answer's head has a bad line, or one of its own twice")
        headers[name] = value.strip(" ")
    length = headers.get("content-length", "0" if status in (204, 304) else "")
    if "transfer-encoding" in headers or not length.isdigit() or len(length) > 9:
        raise ServiceError("the answer is not as long as it says")
    return status, headers, 0 if status in (204, 304) else int(length)


def bound_answer(status, headers, answer, bound):
    """Return the text of a yes that names the question: its X-TMS-Answer is `bound`.

    Raises:
        Refused: a clean no
        ServiceError: anything else
    """
    kind = headers.get("content-type", "").partition(";")[0].rstrip(" ")
    if status == 403 and kind == "application/problem+json":
        raise Refused(refusal_code(answer))
    if status == 401:
        raise ServiceError("the service does not take this host's credential (401): tms-host join again")
    if status != 200 or kind != "text/plain":
        raise ServiceError("the service answered %d %s" % (status, kind[:40]))
    if headers.get("x-tms-answer") != bound:
        raise ServiceError("the answer belongs to another question")
    try:
        return answer.decode("ascii")
    except UnicodeDecodeError as error:
        raise ServiceError("the answer is not ASCII") from error


def refusal_code(body):
    """Return the `code` of a problem document, as far as it is surely one; for the log only."""
    words = body.partition(b'"code"')[2].split(b'"', 2)  # the colon, the code, the rest
    if len(words) != 3 or words[0].strip() != b":" or not 1 <= len(words[1]) <= 64 or not _CODE.issuperset(words[1]):
        return "refused"
    return words[1].decode("ascii")
