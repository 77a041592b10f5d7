"""What the TMS wire API and an import from a TMS server make alike."""

from enum import StrEnum

from tms_ca.core.names import KNOWN_EXTENSIONS

MOST_INT = 2**31 - 1  # in members and columns that are 32 bits wide; of uses, it stands for any number
PURPOSE = "TMS v1"  # of what an admin or a client asks for without saying what for
# What a plain key's line can give back after `restrict`; the others mean something to certificates alone.
LINE_EXTENSIONS = tuple(sorted(KNOWN_EXTENSIONS - {"no-touch-required"}))
# Of the texts of a client, in characters.
MOST_APP_NAME, MOST_APP_VERSION = 100, 255


class NumberOf(StrEnum):
    """What has a number on the wire; a name is what identifies it within its tenant here."""

    TENANT = "tenant"  # its own name
    CLIENT = "client"  # client_id
    MFA = "mfa"  # user
    LINK = "link"  # link_id
    DELEGATION = "delegation"  # delegation_id
    HOST = "host"  # host and addr, as a JSON list
    KEY = "key"  # fingerprint
    RESERVATION = "reservation"  # reservation_id
