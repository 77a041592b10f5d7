"""The writer process: what store.writer does, with what a process needs around it."""

import signal
import socket

from tms_ca.observe import Log
from tms_ca.services.clock import SystemClock
from tms_ca.serving.post import READY, Post
from tms_ca.settings import Settings
from tms_ca.store.engine import database_url
from tms_ca.store.writer import GroupWriter, WriterServer
from tms_ca.vault import load_vault


def run_writer(settings: Settings, post: Post) -> None:
    """Write for the workers until the supervisor and they are gone.

    Raises:
        ValueError: the master key is not usable

    """
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):  # the last worker decides when it is over
        signal.signal(number, signal.SIG_IGN)
    log = Log()

    def failed(error: Exception) -> None:
        log.write(level="error", message="the database did not take a group", error=repr(error))

    vault = load_vault(settings.master_key)
    writer = GroupWriter(database_url(settings.database_url), vault.audit_key, SystemClock().now(), failed)
    with socket.socket(fileno=post.listener) as listener, socket.socket(fileno=post.control) as control:
        control.send(READY)
        WriterServer(listener, control, writer).run()
    writer.close()
