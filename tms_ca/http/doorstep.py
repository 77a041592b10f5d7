"""Yes or no, said before there is a connection to speak of: where there is no time, who has just come hears it at once.

To take a connection into the loop is more work than to refuse a request, and spreads over three of the loop's turns,
which are long when there is no time. So the request is looked at where the connection is accepted. What is not there
yet goes the usual way, unread; so does what may go on: it counts as waiting, and is not asked again.
"""

import enum
import socket
import time

from tms_ca.http.guard import Guard

_MOST_BYTES = 16 * 1024


class Door(enum.Enum):
    """What is said at the door."""

    REFUSED = enum.auto()  # the answer is sent, the connection closed
    LET_IN = enum.auto()  # what it asks for may go on, and is counted as having come
    UNASKED = enum.auto()


def answer(guard: Guard, connection: socket.socket) -> Door:
    """Look at a plain connection that was just accepted; refuse what there is no time for."""
    admission = guard.admission
    try:
        data = connection.recv(_MOST_BYTES, socket.MSG_PEEK)
        endpoint = admission.asked(data)
        if endpoint is None:
            return Door.UNASKED
        if admission.waiting + admission.in_turn < admission.gate or admission.admit(endpoint):
            admission.came(1)
            return Door.LET_IN
        began = time.monotonic()
        connection.recv(len(data))  # what is left unread when a socket is closed resets it, and the answer is lost
        connection.send(guard.refusals.shed(endpoint, admission.retry_after, close=True))
    except OSError:  # nothing there yet; or nobody any more, which the usual way finds out
        return Door.UNASKED
    connection.close()
    admission.refused(time.monotonic() - began)
    return Door.REFUSED
