"""TLS towards the service: the chain and the name are always checked, the CA is the one that was named.

Most of what a helper costs over HTTPS would be the import of `ssl`, so one question goes over what that module itself
is made of. The two differ in comfort alone: the checks are OpenSSL's. Where `_ssl` is not as expected, `ssl` does it.
"""

_CERT_REQUIRED = 2
_TLS_1_2 = 0x0303
_EOF = 8  # the code of an SSLError: the peer ended without saying so


def tls_context(ca_pem):
    """Return an ssl.SSLContext that checks chain and name; `ca_pem` None takes the system's CAs.

    Raises:
        OSError, ValueError: the text holds no certificate (an ssl.SSLError is an OSError)
    """
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # checks the chain and the name
    if hasattr(context, "minimum_version"):  # Python 3.7
        context.minimum_version = ssl.TLSVersion.TLSv1_2  # novermin
    else:  # Python 3.6
        context.options |= ssl.OP_NO_SSLv3 | ssl.OP_NO_TLSv1 | ssl.OP_NO_TLSv1_1
    if ca_pem is None:
        context.load_default_certs()
    else:
        context.load_verify_locations(cadata=ca_pem)
    return context


def secured(plain, ca_pem, name):
    """Return a connection to `name` over a keycmd.service.Plain, after the handshake; its timeout goes on to count.

    Raises:
        OSError, ValueError: no handshake, another chain or name, or no certificate in `ca_pem`
    """
    context = _bare_context()
    if context is None:
        return tls_context(ca_pem).wrap_socket(plain, server_hostname=name)
    if ca_pem is None:
        context.set_default_verify_paths()
    else:
        context.load_verify_locations(cadata=ca_pem)
    session = context._wrap_socket(plain, False, name)  # noqa: SLF001 - as SSLContext.wrap_socket does
    session.do_handshake()
    return Secured(plain, session)


def _bare_context():
    """Return a context of `_ssl` that surely checks chain and name, or None."""
    try:
        import _ssl

        context = _ssl._SSLContext(_ssl.PROTOCOL_TLS_CLIENT)  # noqa: SLF001 - what ssl.SSLContext is made of
        context.minimum_version = _TLS_1_2  # Python 3.6 has no such thing, and its names are checked by `ssl` itself
        sure = context.minimum_version == _TLS_1_2 and context.verify_mode == _CERT_REQUIRED and context.check_hostname
    except (ImportError, AttributeError, TypeError, ValueError):
        return None
    return context if sure is True else None


class Secured:
    """A TLS connection with what a question needs of a socket."""

    def __init__(self, plain, session):
        self._plain = plain
        self._session = session

    def settimeout(self, seconds):
        """Let each operation from now on take that long."""
        self._plain.settimeout(seconds)

    def sendall(self, content):
        """Send all of it."""
        sent = 0
        while sent < len(content):
            sent += self._session.write(content[sent:])

    def recv(self, most):
        """Return what has come, or nothing at the end: whether that is all, the answer's length says."""
        try:
            return self._session.read(most)
        except OSError as error:
            if error.args[:1] == (_EOF,) and type(error).__name__ == "SSLEOFError":
                return b""
            raise

    def close(self):
        """End it."""
        self._session = None
        self._plain.close()
