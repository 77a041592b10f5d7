"""Where metrics are kept: in memory for a process alone, in files of the run directory for workers.

prometheus_client chooses when it is imported, by PROMETHEUS_MULTIPROC_DIR; so only `Registry` imports it, once it has
set that. What a worker has counted stays in the sum when the worker is gone; what it was at the moment does not.
"""

import fcntl
import logging
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from prometheus_client import Counter, Gauge, Histogram

RUN_DIR = "TMS_CA_RUN_DIR"
_FOLDER = "metrics"
_LOG = logging.getLogger(__name__)

# The files are mapped into memory, and a page that the disk has no room for ends the process that touches it
# (SIGBUS). So all of it is taken beforehand, several times what the names and labels of all metrics need.
_ROOM = {
    "counter": 1 << 20, "histogram": 4 << 20, "gauge_livesum": 1 << 18, "gauge_livemax": 1 << 18,
    "gauge_livemin": 1 << 18, "gauge_livemostrecent": 1 << 18,
}  # fmt: skip
_ADDED_UP = ("counter", "histogram")  # kinds of which something stays when a worker is gone


class Registry:
    """Makes metrics, and writes all of them in Prometheus' text format."""

    def __init__(self) -> None:
        run_directory = os.environ.get(RUN_DIR)
        self._directory = None if run_directory is None else Path(run_directory) / _FOLDER
        if self._directory is not None and not _take_room(self._directory):
            self._directory = None
        if self._directory is None:
            os.environ.pop("PROMETHEUS_MULTIPROC_DIR", None)
        else:
            os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(self._directory)
        import prometheus_client
        from prometheus_client.exposition import CONTENT_TYPE_LATEST

        # A second series for each, which nothing here asks for.
        prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call] # it has no hints
        self._prometheus = prometheus_client
        self._registry = prometheus_client.CollectorRegistry()
        self.media_type = CONTENT_TYPE_LATEST

    def counter(self, name: str, text: str, *labels: str) -> "Counter":
        """Return a number that grows; with several workers, the sum of all that ever ran."""
        return self._prometheus.Counter(name, text, labels, registry=self._registry)

    def gauge(self, name: str, text: str, *labels: str, mode: Any = "livesum") -> "Gauge":
        """Return a number that changes; `mode` says what is made of those of several workers."""
        return self._prometheus.Gauge(name, text, labels, registry=self._registry, multiprocess_mode=mode)

    def histogram(self, name: str, text: str, bounds: tuple[float, ...], *labels: str) -> "Histogram":
        """Return counts of observations by size."""
        return self._prometheus.Histogram(name, text, labels, buckets=bounds, registry=self._registry)

    def text(self) -> bytes:
        """Return every metric."""
        if self._directory is None:
            return self._prometheus.generate_latest(self._registry)
        from prometheus_client.multiprocess import MultiProcessCollector

        registry = self._prometheus.CollectorRegistry()
        MultiProcessCollector(registry, str(self._directory))  # type: ignore[no-untyped-call] # it has no hints
        with _locked(self._directory, fcntl.LOCK_SH):
            return self._prometheus.generate_latest(registry)


def _take_room(directory: Path) -> bool:
    """Make this worker's files as large as they may become; False, and a line in the log, where there is no room."""
    try:
        directory.mkdir(mode=0o700, exist_ok=True)
        for kind, size in _ROOM.items():
            _reserve(directory / f"{kind}_{os.getpid()}.db", size)
    except OSError as error:
        _LOG.error("no room for metrics in %s (%s): this worker shows only its own until it is started again",
                   directory, error.strerror)  # fmt: skip
        for kind in _ROOM:
            (directory / f"{kind}_{os.getpid()}.db").unlink(missing_ok=True)
        return False
    return True


def _reserve(path: Path, size: int) -> None:
    """Make `path` have `size` bytes of disk.

    Raises:
        OSError: there is no room

    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.posix_fallocate(descriptor, 0, size)
    finally:
        os.close(descriptor)


def forget(pid: int, run_directory: Path | None = None) -> None:
    """Drop the gauges of a worker that is gone, and add what it counted to what others like it have.

    Without that, a service that restarts its workers every night would read more and more files at each scrape.
    `run_directory` is TMS_CA_RUN_DIR where it is not given; without either nothing is there to be dropped.

    Raises:
        OSError: no room to add them up; the worker's files stay, and are read at each scrape

    """
    base = run_directory or os.environ.get(RUN_DIR)
    directory = Path(base or "") / _FOLDER
    if base is None or not directory.is_dir():
        return
    from prometheus_client.mmap_dict import MmapedDict
    from prometheus_client.multiprocess import mark_process_dead

    with _locked(directory, fcntl.LOCK_EX):
        mark_process_dead(pid, str(directory))  # type: ignore[no-untyped-call] # it has no hints
        for kind in _ADDED_UP:
            own = directory / f"{kind}_{pid}.db"
            if not own.exists():
                continue
            try:
                counted = list(MmapedDict.read_all_values_from_file(str(own)))  # type: ignore[no-untyped-call]
            except (OSError, RuntimeError, ValueError, struct.error):
                counted = []  # cut short, as by a full disk; what stays unread would spoil every scrape from now on
            together = directory / f"{kind}_ended.db"
            _reserve(together, _ROOM[kind])
            ended = MmapedDict(str(together))  # type: ignore[no-untyped-call]
            for key, value, _, _ in counted:
                ended.write_value(key, ended.read_value(key)[0] + value, 0.0)  # type: ignore[no-untyped-call]
            ended.close()  # type: ignore[no-untyped-call]
            own.unlink()


@contextmanager
def _locked(directory: Path, how: int) -> Iterator[None]:
    """Keep a scrape from seeing a dead worker's numbers twice, or not at all."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, how)
        yield
    finally:
        os.close(descriptor)
