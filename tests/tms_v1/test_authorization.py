"""The page says of every endpoint under /v1/tms who may call it."""

from tests.api.authz import PAGE
from tests.tms_v1 import authz
from tms_ca.http.tms_v1.routes import ENDPOINTS


def test_the_page_shows_every_endpoint_as_it_is_declared():
    assert PAGE.read_text() == authz.page(), "run: python -m tests.tms_v1.authz"
    shown = authz.table()
    assert all(f"| `{one.method} {one.path}` | {one.needs} |" in shown for one in ENDPOINTS)


def test_what_takes_no_credential_says_why():
    for line in authz.table().splitlines()[2:]:
        *_, client, admin, why = (cell.strip() for cell in line.strip("|").split("|"))
        assert (client == admin == "anyone") is bool(why), line
