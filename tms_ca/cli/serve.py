"""`tms-ca serve`: run the service in the foreground, in one process or in several workers.

Each process imports what its part needs: all of it, a worker's, takes a second and 25 MiB more.
"""

import argparse
import asyncio
import os
import resource
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tms_ca.cli.importing import importing
from tms_ca.observe import log_libraries_as_json
from tms_ca.serving.post import Post, Role
from tms_ca.serving.rundir import run_directory
from tms_ca.settings import Settings, SettingsError, load_settings
from tms_ca.store import migrate
from tms_ca.store.engine import database_url

BACKLOG = 1024


def add(commands: Any) -> None:
    """Add the command."""
    command = commands.add_parser(
        "serve", help="run the service in the foreground; SIGTERM ends it, SIGHUP restarts it without a failed request"
    )
    command.add_argument("--data", type=Path, default=Path("tms-ca-data"), help="the data directory")
    command.add_argument("--host", help="address to listen on (default: settings, else 127.0.0.1)")
    command.add_argument("--port", type=int, help="port to listen on, 0 for any (default: settings, else 8443)")
    command.add_argument("--workers", type=int, default=1, help="processes that share the port (default: 1)")
    command.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Serve until SIGTERM."""
    if arguments.workers < 1:
        raise ValueError(f"--workers is {arguments.workers}; expected 1 or more")
    log_libraries_as_json()
    _raise_descriptor_limit()
    post = Post.of_this_process()
    if post is not None and post.role is Role.WRITER:
        from tms_ca.serving.writer import run_writer

        run_writer(load_settings(arguments.data.absolute(), host=arguments.host, port=arguments.port), post)
        return 0
    if post is not None:  # a worker, or the process that has taken the place of one that served alone
        listener = socket.socket(fileno=post.listener)
        return _work(arguments, listener, post, announce=False)
    settings = load_settings(arguments.data.absolute(), host=arguments.host, port=arguments.port)
    migrate.require(database_url(settings.database_url))
    listener = _listen(settings.listen.host, settings.listen.port)
    if arguments.workers == 1:
        return _work(arguments, listener, Post(Role.ALONE, listener.fileno()), announce=True)
    from tms_ca.serving.generation import StartFailed
    from tms_ca.serving.supervisor import Supervisor

    with run_directory(settings.data) as directory:
        supervisor = Supervisor(listener, arguments.workers, directory, _loader(arguments, listener), _announce)
        try:
            asyncio.run(supervisor.run())
        except StartFailed as error:
            raise OSError(str(error)) from error
    return 0


def _work(arguments: argparse.Namespace, listener: socket.socket, post: Post, *, announce: bool) -> int:
    with importing():
        from tms_ca.serving.worker import Worker, run_loop

    worker = Worker(_loader(arguments, listener), listener, post, announce=announce)
    run_loop(worker.serve())
    if worker.again:  # the same process, port and queue, with the program and the settings of today
        os.set_inheritable(listener.fileno(), True)
        environment = {**os.environ, **Post(Role.ALONE, listener.fileno()).environment()}
        sys.stdout.flush()
        os.execve(sys.executable, [sys.executable, "-m", "tms_ca", *sys.argv[1:]], environment)  # noqa: S606 - no shell wanted
    return 0


def _announce(settings: Settings) -> None:
    print(f"tms-ca answers on {settings.listen.address}", flush=True)


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise OSError(f"cannot listen on {host} port {port}: {error.strerror}") from error


def _loader(arguments: argparse.Namespace, listener: socket.socket) -> Callable[[], Settings]:
    """Return what reads the settings, with the port that was really bound."""
    data = arguments.data.absolute()
    bound = listener.getsockname()[1]

    def load() -> Settings:
        listen = load_settings(data, host=arguments.host, port=arguments.port).listen
        if listen.port not in {0, bound}:
            raise SettingsError(
                f"listen.port is {listen.port}, and the service listens on {bound}; stop and start it to move it"
            )
        return load_settings(data, host=arguments.host, port=bound)

    return load


def _raise_descriptor_limit() -> None:
    """Take as many descriptors as the system gives: each connection needs one."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
