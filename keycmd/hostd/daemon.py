"""The daemon itself: its configuration, its sockets, and the jobs that it keeps running.

A part of the daemon is a module with `register(daemon)`, which puts handlers into `daemon.ask.handlers` and
`daemon.session.handlers` and coroutine functions without arguments into `daemon.jobs`. What a part has to say for
`tms-host status` stands in `daemon.state` under the part's name.
"""

import asyncio
import fcntl
import os
import signal
import socket

from keycmd.config import ConfigError, load
from keycmd.hostd.journal import ERROR, INFO, NOTICE, log
from keycmd.hostd.listen import Listener
from keycmd.hostd.upstream import Upstream

SHORTEST_PAUSE, LONGEST_PAUSE = 1.0, 30.0  # before a job that died begins again
END_SECONDS = 1.5  # for jobs to end; systemd and tests expect the whole process to within two seconds


def session_mode(config):
    """Return the mode of session.sock: with the forced wrapper users ask themselves, else only root's hook does."""
    return 0o666 if config.sessions == "wrapper" else 0o600


class Daemon:
    """One daemon; made and run within its event loop.

    `path` is the configuration file, `config` what it said; `config` is another object after SIGHUP, so read it each
    time. `notify` is systemd's socket and `watchdog` the seconds in which it wants to hear from us; None for neither.
    """

    def __init__(self, path, config, notify=None, watchdog=None):
        self.path = path
        self.config = config
        self.upstream = Upstream(config)
        self.ask = Listener(os.path.join(config.run_dir, "ask.sock"), 0o600, owners_only=True)
        self.session = Listener(os.path.join(config.run_dir, "session.sock"), session_mode(config), owners_only=False)
        self.jobs = []
        self.state = {"configuration": {"reads": 1}}
        self._notify_path = notify
        self._watchdog = watchdog
        self._lock = None
        self._wakers = set()
        self._ending = None

    async def pause(self, seconds):
        """Wait that long, or until the configuration was read again."""
        waker = asyncio.get_event_loop().create_future()
        self._wakers.add(waker)
        try:
            await asyncio.wait_for(waker, seconds)
        except asyncio.TimeoutError:
            pass
        finally:
            self._wakers.discard(waker)

    def wake(self):
        """End every pause now."""
        for waker in self._wakers:
            if not waker.done():
                waker.set_result(None)

    def reload(self):
        """Read the configuration again; one that is not good changes nothing. Return whether it was taken."""
        if not self._read():
            return False
        self.state["configuration"]["reads"] += 1
        log(NOTICE, "the configuration was read again")
        self.wake()
        return True

    def _read(self):
        try:
            config = load(self.path)
            if config.run_dir != self.config.run_dir:
                raise ConfigError("run_dir changed: restart tms-hostd instead")
            self.upstream.configure(config)
        except (ConfigError, OSError, ValueError) as error:
            log(ERROR, "the configuration stays as it was reason=%s" % error)
            return False
        self.config = config
        try:
            self.session.set_mode(session_mode(config))
        except OSError as error:
            log(ERROR, "%s keeps its mode: restart tms-hostd reason=%s" % (self.session.path, error))
        return True

    def _credential_is_another(self):
        try:
            return load(self.path).token != self.config.token
        except (ConfigError, OSError, ValueError):
            return True  # whoever reads it says why

    async def run(self):
        """Serve until SIGTERM or SIGINT.

        Raises:
            OSError: another daemon runs here, or a socket cannot be made
        """
        loop = asyncio.get_event_loop()
        self._ending = loop.create_future()
        self._take_lock()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.end)
        loop.add_signal_handler(signal.SIGHUP, self.reload)
        tasks = []
        try:
            await self.ask.open()
            await self.session.open()
            # `tms-host rotate` tells who listens: a credential that is newer than what we read, but older than our
            # socket, was announced to nobody, and ours may have been dropped.
            if self._credential_is_another():
                self._read()
            tasks = [asyncio.ensure_future(self._supervise(job)) for job in [*self.jobs, self._feed_watchdog]]
            self._notify("READY=1")
            log(INFO, "started host=%s service=%s" % (self.config.host, self.upstream.address))
            await self._ending
        finally:
            self._notify("STOPPING=1")
            self.ask.close()
            self.session.close()
            for task in tasks:
                task.cancel()
            if tasks:
                await asyncio.wait(tasks, timeout=END_SECONDS)
            self.upstream.close()
        log(INFO, "ended host=%s" % self.config.host)

    def end(self):
        """Let `run` return."""
        if self._ending is not None and not self._ending.done():
            self._ending.set_result(None)

    async def _supervise(self, job):
        """Run a job for ever: one that dies is logged and begins again, later each time."""
        pause = SHORTEST_PAUSE
        loop = asyncio.get_event_loop()
        while True:
            began = loop.time()
            try:
                await job()
                return
            except asyncio.CancelledError:
                raise
            except Exception as error:  # whatever it is, the other jobs go on
                name = getattr(job, "__qualname__", "a job")
                log(ERROR, "job=%s died reason=%s: %s" % (name, type(error).__name__, error))
            if loop.time() - began > LONGEST_PAUSE:
                pause = SHORTEST_PAUSE
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    async def _feed_watchdog(self):
        """Tell systemd that the event loop still turns."""
        while self._watchdog is not None:
            self._notify("WATCHDOG=1")
            await asyncio.sleep(self._watchdog / 3)

    def _notify(self, text):
        if self._notify_path is None:
            return
        # sd_notify(3): a name that begins with @ is in the abstract namespace.
        path = "\0" + self._notify_path[1:] if self._notify_path.startswith("@") else self._notify_path
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.setblocking(False)
            try:
                sender.sendto(text.encode("ascii"), path)
            except OSError as error:
                log(ERROR, "systemd could not be told %s: %s" % (text, error))

    def _take_lock(self):
        """Be the only daemon here for as long as this process lives."""
        self._lock = os.open(os.path.join(self.config.run_dir, "lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise OSError("another tms-hostd runs in %s" % self.config.run_dir) from error
