"""The table of /v1/tms in docs/authorization.md, for people: `python -m tests.tms_v1.authz` writes it.

test_authorization.py compares the page with the declarations.
"""

from tests.api.authz import PAGE
from tms_ca.core.access import Reach, Role, reach
from tms_ca.http.tms_v1.declare import Kind, V1Endpoint
from tms_ca.http.tms_v1.routes import ENDPOINTS

BEGIN, END = (
    "<!-- the table of /v1/tms: written by python -m tests.tms_v1.authz -->\n",
    "<!-- end of the table of /v1/tms -->\n",
)
_ROLE = {Kind.CLIENT: Role.CLIENT, Kind.ADMIN: Role.ADMIN}
_WORD = {Reach.ANY: "yes", Reach.OWN: "own"}


def _cell(endpoint: V1Endpoint, kind: Kind) -> str:
    if endpoint.why_open:
        return "anyone"
    far = reach(endpoint.needs, _ROLE[kind]) if kind in endpoint.kinds else None
    return "–" if far is None else _WORD[far]


def table() -> str:
    """Return the table."""
    lines = ["| call | right | client | admin | why it takes no credential |", "|---|---|---|---|---|"]
    for one in sorted(ENDPOINTS, key=lambda endpoint: (endpoint.path, endpoint.method)):
        call = f"`{one.method} {one.path}`"
        lines.append(
            f"| {call} | {one.needs} | {_cell(one, Kind.CLIENT)} | {_cell(one, Kind.ADMIN)} | {one.why_open} |"
        )
    return "\n".join(lines) + "\n"


def page() -> str:
    """Return docs/authorization.md as it must be."""
    before, _, rest = PAGE.read_text().partition(BEGIN)
    return before + BEGIN + table() + END + rest.partition(END)[2]


if __name__ == "__main__":
    PAGE.write_text(page())
