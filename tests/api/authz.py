"""The authorization table as files: docs/authz.tsv for tests, a table in docs/authorization.md for people.

`python -m tests.api.authz` writes both from tms_ca.core.access; test_matrix.py compares them with it, and the
service with them.
"""

from pathlib import Path

from tms_ca.core.access import Action, Reach, Role, reach
from tms_ca.http.endpoint import TENANT_PREFIX, Endpoint
from tms_ca.http.routes import ENDPOINTS

TABLE = Path(__file__).parents[2] / "docs" / "authz.tsv"
PAGE = Path(__file__).parents[2] / "docs" / "authorization.md"
BEGIN, END = "<!-- the table: written by python -m tests.api.authz -->\n", "<!-- end of the table -->\n"
HEADER = ("operation", "method", "path", "action", "caller", "own tenant", "another tenant")
ALLOWED = "allowed"
CALLERS = {
    "anonymous": Role.ANYONE,
    "host": Role.HOST,
    "client": Role.CLIENT,
    "user": Role.USER,
    "user+MFA": Role.USER,
    "admin": Role.ADMIN,
    "operator": Role.OPERATOR,
}
_REACH = {None: "–", Reach.ANY: "yes", Reach.OWN: "own", Reach.OWN_MFA: "own, with MFA"}


def _own(action: Action, caller: str) -> str:
    far = reach(action, CALLERS[caller])
    if far is None:
        return "401 credential_needed" if caller == "anonymous" else "403 role_not_allowed"
    return "403 mfa_required" if far is Reach.OWN_MFA and caller != "user+MFA" else ALLOWED


def _other(endpoint: Endpoint, caller: str) -> str:
    bound = caller not in {"anonymous", "operator"}  # to a tenant
    if bound and endpoint.needs is not Action.PUBLIC and "{tenant}" in endpoint.path:
        return "403 tenant_mismatch"
    return _own(endpoint.needs, caller)


def lines() -> list[tuple[str, ...]]:
    """Return the table that follows from tms_ca.core.access: a line for each operation and caller."""
    return [
        (e.name, e.method, e.path, str(e.needs), caller, _own(e.needs, caller), _other(e, caller))
        for e in ENDPOINTS
        for caller in CALLERS
    ]


def read() -> list[tuple[str, ...]]:
    """Return the checked-in table."""
    header, *rows = (tuple(line.split("\t")) for line in TABLE.read_text().splitlines())
    assert header == HEADER
    return rows


def page_table() -> str:
    """Return the table for people."""
    roles = [Role.HOST, Role.CLIENT, Role.USER, Role.ADMIN, Role.OPERATOR]
    rows = [f"| operation | call | {' | '.join(roles)} |", "|---|---|" + "---|" * len(roles)]
    for e in ENDPOINTS:
        call = f"`{e.method} {e.path.removeprefix(TENANT_PREFIX)}`"
        far = ["anyone"] * len(roles) if e.needs is Action.PUBLIC else [_REACH[reach(e.needs, role)] for role in roles]
        rows.append(f"| {e.name} | {call} | {' | '.join(far)} |")
    return "\n".join(rows) + "\n"


def page_with_table() -> str:
    """Return docs/authorization.md as it must be."""
    before, _, rest = PAGE.read_text().partition(BEGIN)
    return before + BEGIN + page_table() + END + rest.partition(END)[2]


if __name__ == "__main__":
    TABLE.write_text("".join("\t".join(line) + "\n" for line in (HEADER, *lines())))
    PAGE.write_text(page_with_table())
