"""No, said before there is a connection to speak of: where there is no time, whoever has just come hears it at once.

To take a connection into the loop is more work than to refuse a request, and spreads over three of the loop's turns,
which are long when there is no time. So the request is looked at where the connection is accepted; what is not there
yet, or not plainly to be refused, goes the usual way, unread.
"""

import socket

from tms_ca.http.guard import Guard

_MOST_BYTES = 16 * 1024


def refused(guard: Guard, connection: socket.socket) -> bool:
    """Tell whether a plain connection that was just accepted had its answer, no, and is closed."""
    admission = guard.admission
    if admission.waiting + admission.in_turn < admission.gate:
        return False
    try:
        data = connection.recv(_MOST_BYTES, socket.MSG_PEEK)
        endpoint = admission.asked(data)
        if endpoint is None or admission.admit(endpoint) is None:
            return False
        connection.recv(len(data))  # what is left unread when a socket is closed resets it, and the answer is lost
        connection.send(guard.refusals.shed(endpoint, close=True))
    except OSError:  # nothing there yet; or nobody any more, which the usual way finds out
        return False
    connection.close()
    return True
