"""TLS of the listening socket. The supervisor checks it before a restart, without all that a worker imports."""

import ssl

from tms_ca.settings import Settings


def tls_context(settings: Settings) -> ssl.SSLContext | None:
    """Return what TLS is spoken with, None for plain HTTP.

    Raises:
        OSError: certificate or key cannot be loaded

    """
    listen = settings.listen
    if listen.tls_certificate is None or listen.tls_key is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(listen.tls_certificate, listen.tls_key)
    except (OSError, ssl.SSLError) as error:
        raise OSError(f"cannot load {listen.tls_certificate} with {listen.tls_key}: {error}") from error
    return context
