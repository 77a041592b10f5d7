"""How tms-host asks the service: the daemon's strict client, one question at a time, and what its refusals mean."""

import asyncio
import json
import ssl

from keycmd.admin.places import AdminError
from keycmd.config import DEFAULTS, Config, ConfigError
from keycmd.hostd.upstream import Upstream
from keycmd.service import ServiceError, refusal_code

SECONDS = 15.0
MOST_CLOCK_OFFSET_SECONDS = 60


class Service:
    """The service that a Config names; `token` is the credential to send, None for none."""

    def __init__(self, config):
        self._config = config
        try:
            self._upstream = Upstream(config)
        except (OSError, ssl.SSLError) as error:
            raise AdminError("the CA file is not one: %s" % error) from error
        self._loop = asyncio.new_event_loop()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._upstream.close()
        self._loop.run_until_complete(asyncio.sleep(0))  # let the connections end
        self._loop.close()

    def use_token(self, token):
        """Send this credential from now on."""
        self._config.token = token

    @property
    def clock_offset_seconds(self):
        """How far this machine's clock is ahead of the service's; None before the first answer."""
        offset = self._upstream.clock_offset_ms
        return None if offset is None else offset / 1000

    def call(self, method, path, body=None, most=1 << 20, accept="application/json"):
        """Return (status, headers, body), whatever the status.

        Raises:
            AdminError: nothing came that can be believed
        """
        path = path if path.startswith("/") else "/api/v1/tenants/%s/%s" % (self._config.tenant, path)
        asked = self._upstream.call(method, path, body, accept=accept, seconds=SECONDS, most=most)
        try:
            return self._loop.run_until_complete(asked)
        except ServiceError as error:
            addresses = " ".join(address.authority for address in self._config.addresses)
            raise AdminError("the service at %s cannot be asked: %s" % (addresses, error)) from error

    def good(self, method, path, body=None):
        """Return the JSON object of an answer of 2xx, {} where it has none.

        Raises:
            AdminError: a refusal, with its code and what the service says of it
        """
        status, _, content = self.call(method, path, body)
        if not 200 <= status < 300:
            raise Refusal(status, refusal_code(content), _detail(content))
        if not content:
            return {}
        try:
            found = json.loads(content.decode("utf-8"))
        except ValueError as error:
            raise AdminError("the service's answer to %s %s is not JSON" % (method, path)) from error
        if not isinstance(found, dict):
            raise AdminError("the service's answer to %s %s is not a JSON object" % (method, path))
        return found


class Refusal(AdminError):
    """The service said no: `status`, and the `code` of docs/errors.md."""

    def __init__(self, status, code, detail):
        super().__init__("the service refused: %s (%d %s)" % (detail or code, status, code))
        self.status = status
        self.code = code


def configure(url, ca_file, places, node, more):
    """Return a Config without a credential, of what a command line says and `more` from a host.conf that is there.

    Tenant and host are not known yet.

    Raises:
        AdminError: an address, a path, a CA file or a setting that cannot be used
    """
    values = dict(DEFAULTS, url=url, tenant="unknown", host="unknown", token_file=places.token, ca_file=ca_file)
    values.update(node=node, state_dir=places.state, run_dir=places.run)
    values.update(more)
    try:
        return Config({key: (value, key) for key, value in values.items()})
    except ConfigError as error:
        raise AdminError(str(error)) from error


def _detail(content):
    """Return the sentence of a problem document, as far as it may be shown."""
    try:
        detail = json.loads(content.decode("utf-8")).get("detail")
    except (ValueError, AttributeError):
        return ""
    return "".join(c if " " <= c <= "~" else "?" for c in detail[:300]) if isinstance(detail, str) else ""
