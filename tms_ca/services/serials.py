"""Serial numbers of user certificates: 63 bits, never 0, never twice, and close to those just before them.

The database refuses a serial that exists, so it keeps an index of them, and numbers drawn from all 63 bits would each
change another page of it: a page to be logged for each certificate, and to be read first where there are millions.
Here a run of serials goes up from a place drawn at random, by steps drawn at random; each page of the index then takes
hundreds in turn, and the runs lie all over the range, as the shelves of a KRL need it (core.krlbook).

Processes need not know of each other: that two of their runs share a number is as unlikely as for single random ones,
and the database has the last word. A serial is no secret: nothing is given to whoever can name one.
"""

import secrets
from array import array
from collections.abc import Iterator

RUN = 4096  # serials from one place
# The least step: ssh-keygen puts serials that lie closer together into bitmaps, some of which it cannot read again.
LEAST_STEP = 1 << 15
_STEP_BITS = 23
_PLACES = (1 << 63) - RUN * (LEAST_STEP + (1 << _STEP_BITS)) - 1  # what follows the last still fits


def draw_serials() -> Iterator[int]:
    """Yield serials, without an end."""
    while True:
        serial = secrets.randbelow(_PLACES)
        for drawn in array("I", secrets.token_bytes(4 * RUN)):
            serial += LEAST_STEP + (drawn >> (32 - _STEP_BITS))
            yield serial
