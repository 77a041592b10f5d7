"""`tms-ca serve`: run the service in the foreground, in one process or in several workers."""

import argparse
import asyncio
import contextlib
import gc
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from aiohttp import web

from tms_ca.app import SHUTDOWN_SECONDS, build_app, open_context, public_url
from tms_ca.http.protocol import Runner
from tms_ca.observe import Log, log_libraries_as_json
from tms_ca.settings import Settings, load_settings
from tms_ca.store import migrate
from tms_ca.store.engine import database_url

LISTEN_FD = "TMS_CA_LISTEN_FD"  # how a worker is told which inherited socket to accept from
BACKLOG = 1024
IDLE_SECONDS = 75.0
GC_ALLOCATIONS = 20_000  # the default of 700 costs a tenth of the throughput and most of the p99
RESTART_SECONDS = 1.0  # a worker that dies at once must not be restarted in a hot loop


def add(commands: Any) -> None:
    """Add the command."""
    command = commands.add_parser("serve", help="run the service in the foreground; SIGTERM ends it")
    command.add_argument("--data", type=Path, default=Path("tms-ca-data"), help="the data directory")
    command.add_argument("--host", help="address to listen on (default: settings, else 127.0.0.1)")
    command.add_argument("--port", type=int, help="port to listen on, 0 for any (default: settings, else 8443)")
    command.add_argument("--workers", type=int, default=1, help="processes that share the port (default: 1)")
    command.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Serve until SIGTERM."""
    if arguments.workers < 1:
        raise ValueError(f"--workers is {arguments.workers}; expected 1 or more")
    data = arguments.data.absolute()
    settings = load_settings(data, host=arguments.host, port=arguments.port)
    log_libraries_as_json()
    inherited = os.environ.get(LISTEN_FD)
    if inherited is not None:
        listener = socket.socket(fileno=int(inherited))
        return _run_loop(_serve(_on_port(settings, arguments, listener), listener, announce=False))
    listener = _listen(settings.listen.host, settings.listen.port)
    settings = _on_port(settings, arguments, listener)
    if arguments.workers == 1:
        return _run_loop(_serve(settings, listener, announce=True))
    return _supervise(settings, listener, arguments.workers)


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise OSError(f"cannot listen on {host} port {port}: {error.strerror}") from error


def _on_port(settings: Settings, arguments: argparse.Namespace, listener: socket.socket) -> Settings:
    """Return the settings with the port that was really bound."""
    return load_settings(settings.data, host=arguments.host, port=listener.getsockname()[1])


def _run_loop(main: Any) -> int:
    try:
        import uvloop
    except ImportError:
        asyncio.run(main)
    else:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(main)
    return 0


def _tls(settings: Settings) -> ssl.SSLContext | None:
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


async def _serve(settings: Settings, listener: socket.socket, *, announce: bool) -> None:
    log = Log()
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signal_ in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signal_, stop.set)
    async with open_context(settings) as context:
        runner = Runner(
            build_app(context, settings, log),
            access_log=None,
            auto_decompress=False,  # a small body must not unfold into a large one
            keepalive_timeout=IDLE_SECONDS,
            shutdown_timeout=SHUTDOWN_SECONDS,
            max_line_size=8190,
            max_field_size=16384,
        )
        await runner.setup()
        # What is here by now stays: the collector need not walk it again, and need not run for every few requests.
        gc.collect()
        gc.freeze()
        gc.set_threshold(GC_ALLOCATIONS, 20, 50)
        await web.SockSite(runner, listener, ssl_context=_tls(settings), backlog=BACKLOG).start()
        if announce:
            print(f"tms-ca answers on {public_url(settings)}", flush=True)
        log.write(level="info", message="serving", address=public_url(settings), pid=os.getpid())
        try:
            await stop.wait()
            log.write(level="info", message="stopping", pid=os.getpid())
        finally:
            await runner.cleanup()
            log.flush()


def _supervise(settings: Settings, listener: socket.socket, count: int) -> int:
    """Run workers that accept from one socket; restart those that die, end them all on SIGTERM."""
    url = database_url(settings.database_url)
    if url.get_backend_name() == "sqlite":  # once, before the workers would do it side by side
        asyncio.run(migrate.upgrade(url))
    stopping = False
    workers: dict[int, subprocess.Popen[bytes]] = {}

    def start() -> None:
        os.set_inheritable(listener.fileno(), True)
        worker = subprocess.Popen(  # noqa: S603 - the same program, with the same arguments
            [sys.executable, "-m", "tms_ca", *sys.argv[1:]],
            env={**os.environ, LISTEN_FD: str(listener.fileno())},
            pass_fds=[listener.fileno()],
        )
        workers[worker.pid] = worker

    def stop(*_: object) -> None:
        nonlocal stopping
        stopping = True
        for worker in workers.values():
            with contextlib.suppress(ProcessLookupError):
                worker.terminate()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    for _ in range(count):
        start()
    print(f"tms-ca answers on {public_url(settings)}", flush=True)
    last = time.monotonic()
    while workers:
        try:
            pid, status = os.wait()
        except InterruptedError:
            continue
        worker = workers.pop(pid, None)
        if worker is None or stopping:
            continue
        print(f"worker {pid} ended ({os.waitstatus_to_exitcode(status)}), starting another", file=sys.stderr)
        if time.monotonic() - last < RESTART_SECONDS:
            time.sleep(RESTART_SECONDS)
        last = time.monotonic()
        if not stopping:
            start()
    return 0
