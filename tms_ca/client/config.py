"""Where the service is and who we are: command line, then environment, then ~/.config/tms/config.toml.

Secrets are never on the command line and never in the configuration file, which only names the file of a secret.
"""

import json
import os
import stat
import tempfile
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tms_ca.client.blocking import Basic, Bearer
from tms_ca.client.failures import Usage

KEYS = ("url", "tenant", "client_id", "client_secret_file", "ca_file")
SESSION_FILE = "session.json"


@dataclass(frozen=True, slots=True)
class Config:
    """What commands need to know."""

    path: Path
    url: str
    tenant: str
    client_id: str | None
    client_secret_file: Path | None
    ca_file: Path | None

    @property
    def session_path(self) -> Path:
        """Return the file that keeps the sessions of users."""
        return self.path.parent / SESSION_FILE


def config_path() -> Path:
    """Return the file that is read: $TMS_CONFIG, else the usual place (XDG base directories)."""
    given = os.environ.get("TMS_CONFIG")
    if given:
        return Path(given)
    home = os.environ.get("XDG_CONFIG_HOME")
    return (Path(home) if home else Path.home() / ".config") / "tms" / "config.toml"


def load(options: Mapping[str, str | None]) -> Config:
    """Return the configuration; `options` are those of the command line.

    Raises:
        Usage: something is missing or wrong; the text names the file and the key

    """
    path = config_path()
    stored = _stored(path)
    values = {
        name: options.get(name) or os.environ.get(f"TMS_{name.upper()}") or stored.get(name) or None for name in KEYS
    }
    url = values["url"]
    if url is None:
        raise Usage(f'no service is named: give --url, set TMS_URL, or write url = "https://NAME" into {path}')
    files = [None if values[name] is None else path.parent / str(values[name]) for name in KEYS[3:]]
    if options.get("ca_file") or os.environ.get("TMS_CA_FILE"):
        files[1] = Path(str(values["ca_file"]))  # what was typed is relative to where it was typed
    return Config(path, url.rstrip("/"), values["tenant"] or "default", values["client_id"], *files)


def _stored(path: Path) -> dict[str, str]:
    try:
        found = tomllib.loads(path.read_text())
    except FileNotFoundError:
        if os.environ.get("TMS_CONFIG"):
            raise Usage(f"{path} is not there; TMS_CONFIG names it") from None
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise Usage(f"{path}: {error}") from error
    for name, value in found.items():
        if name not in KEYS:
            raise Usage(f"{path}: there is no setting {name!r}; expected {', '.join(KEYS)}")
        if not isinstance(value, str):
            raise Usage(f"{path}: {name} is not a string")
    return found


def client_credential(config: Config) -> Basic | None:
    """Return the credential of the application, if there is one.

    Raises:
        Usage: the file of the secret cannot be read, or by others too

    """
    secret = os.environ.get("TMS_CLIENT_SECRET")
    path = config.client_secret_file
    if not secret and path is not None:
        secret = _private(path, 0o007).strip()
        if not secret:
            raise Usage(f"{path} is empty; expected the secret of the client")
    if not secret or config.client_id is None:
        return None
    return Basic(config.client_id, secret)


def user_credential(config: Config) -> Bearer | None:
    """Return the session of the user, if there is one for this service and tenant."""
    token = os.environ.get("TMS_TOKEN") or stored_session(config).get("token")
    return Bearer(token) if token else None


def _private(path: Path, forbidden: int) -> str:
    try:
        with path.open() as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            text = file.read(64 * 1024)
    except (OSError, UnicodeDecodeError) as error:
        raise Usage(f"cannot read {path}: {getattr(error, 'strerror', error)}") from error
    if mode & forbidden:
        raise Usage(f"{path}: others can reach this secret (mode {mode:04o}); chmod 600 it")
    return text


def _sessions(config: Config) -> dict[str, Any]:
    if not config.session_path.exists():
        return {}
    try:
        found = json.loads(_private(config.session_path, 0o077))
    except ValueError:
        return {}  # it holds nothing that a login does not make again
    return found if isinstance(found, dict) else {}


def _place(config: Config) -> str:
    # A token is kept under where it came from, so that it is never sent anywhere else.
    return f"{config.url} {config.tenant}"


def stored_session(config: Config) -> Mapping[str, str]:
    """Return what is kept of the login to this service and tenant; empty when there is nothing."""
    found = _sessions(config).get(_place(config))
    return found if isinstance(found, dict) and all(isinstance(value, str) for value in found.values()) else {}


def store_session(config: Config, session: Mapping[str, str] | None) -> None:
    """Keep a login, or forget it; the file is for its owner alone."""
    sessions = {name: value for name, value in _sessions(config).items() if name != _place(config)}
    if session is not None:
        sessions[_place(config)] = dict(session)
    config.session_path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_whole(config.session_path, json.dumps(sessions, indent=2) + "\n", mode=0o600)


def write_whole(path: Path, text: str, *, mode: int) -> None:
    """Write a file that is never seen half-written.

    Raises:
        Usage: it cannot be written

    """
    made: Path | None = None
    try:
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        made = Path(name)
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
            os.fchmod(descriptor, mode)
            file.flush()
            os.fsync(descriptor)
        made.replace(path)
    except OSError as error:
        if made is not None:
            made.unlink(missing_ok=True)
        raise Usage(f"cannot write {path}: {error.strerror}") from error
