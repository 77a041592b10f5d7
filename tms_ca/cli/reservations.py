"""`tms-ca reservations ...`: what goes on past the end of the MFA window; declared."""

from tms_ca.cli.frame import Noun, Verb
from tms_ca.cli.inputs import constant, option, positional
from tms_ca.http.routes import reservations

_ID = positional("reservation_id", "its id, as `reservations list` shows it", metavar="RESERVATION")

RESERVATIONS = Noun(
    "reservations",
    "what lets workflows go on past the end of the MFA window",
    (
        Verb(name="list", does=reservations.list_reservations,
             columns=("id", "parent_id", "user", "client_id", "account", "host", "public_key_fingerprint", "purpose",
                      "expires_at"),
             arguments=(option("--user", "user", "only of this user"),
                        option("--client", "client_id", "only of this client", metavar="CLIENT"),
                        option("--parent", "parent_id", "only children of this one", metavar="RESERVATION"))),
        Verb(name="show", does=reservations.get_reservation, arguments=(_ID,)),
        Verb(name="delete", does=reservations.delete_reservation,
             arguments=(_ID, constant("--related", "related", "true", "take its children off the record, too")),
             done="took reservation {reservation_id} back"),
    ),
    "  tms-ca reservations list --user alice\n"
    "  tms-ca reservations delete 0b5e8c1e-6d6d-4f2e-9a53-2f4b8c1d7e90 --related\n",
)  # fmt: skip

NOUNS = (RESERVATIONS,)
