"""tms-hostd: read the configuration, put the parts together, run."""

import asyncio
import os
import sys

from keycmd.config import DEFAULT_PATH, ConfigError, load
from keycmd.hostd import answers, certificates, keys, report, sessions, trust
from keycmd.hostd.daemon import Daemon
from keycmd.hostd.journal import ERROR, log

PARTS = (answers, keys, sessions, trust, report, certificates)  # each has register(daemon)
USAGE = "usage: tms-hostd [--config PATH]"
_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"  # for the few programs that parts run


def clean_environment():
    """Return (NOTIFY_SOCKET, seconds of the watchdog) and forget the rest of the environment.

    SSL_CERT_FILE, OPENSSL_CONF or LOCALDOMAIN would have a say in whom the daemon believes otherwise; call this
    before OpenSSL is loaded.
    """
    notify, micros = os.environ.get("NOTIFY_SOCKET"), os.environ.get("WATCHDOG_USEC", "")
    os.environ.clear()
    os.environ["PATH"] = _PATH
    return notify or None, int(micros) / 1e6 if micros.isdigit() and int(micros) else None


async def serve(path, notify, watchdog):
    """Run a daemon until it is told to end."""
    daemon = Daemon(path, load(path), notify, watchdog)
    for part in PARTS:
        part.register(daemon)
    await daemon.run()


def main(arguments=None):
    """Run tms-hostd; the process ends here, also when a name server still holds one of its threads."""
    arguments = sys.argv[1:] if arguments is None else arguments
    notify, watchdog = clean_environment()
    path = DEFAULT_PATH
    if len(arguments) == 2 and arguments[0] == "--config":
        path = arguments[1]
    elif arguments:
        sys.stderr.write(USAGE + "\n")
        os._exit(2)
    status = 0
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    try:
        loop.run_until_complete(serve(path, notify, watchdog))
    except (ConfigError, OSError, ValueError) as error:
        sys.stderr.write("tms-hostd: %s\n" % error)
        log(ERROR, "not started reason=%s" % error)
        status = 1
    sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    main()
