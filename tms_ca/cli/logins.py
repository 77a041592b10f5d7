"""`tms-ca logins ...`: who logged in, on what, and when it ended."""

from tms_ca.cli.frame import Noun, Verb
from tms_ca.cli.inputs import option
from tms_ca.http.routes import logins

LOGINS = Noun(
    "logins",
    "real logins, as hosts told of them",
    (
        Verb(name="list", does=logins.list_logins,
             columns=("started_at", "ended_at", "end_reason", "user", "client_id", "account", "host", "node",
                      "remote_address", "serial", "key_id", "uses_left"),
             arguments=(option("--user", "user", "only of this user"),
                        option("--client", "client_id", "only of this client", metavar="CLIENT"),
                        option("--host", "host", "only on this host"),
                        option("--delegation", "delegation_id", "only under this one", metavar="DELEGATION"))),
    ),
    "  tms-ca logins list --user alice --limit 20\n",
)  # fmt: skip
NOUNS = (LOGINS,)
