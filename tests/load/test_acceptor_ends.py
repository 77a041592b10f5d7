"""What is taken from the listening socket at the end."""

import socket

from tests.load.test_doorstep import ISSUE
from tms_ca.http import doorstep
from tms_ca.http.admission import Admission
from tms_ca.http.doorstep import Door
from tms_ca.http.guard import Guard
from tms_ca.http.refusals import Refusals
from tms_ca.serving.acceptor import Acceptor


async def test_E_07_those_who_come_and_are_refused_while_the_service_ends_do_not_keep_it_from_ending(monkeypatch):
    guard, said, came, answer = Guard(Admission(), Refusals()), [], 0, doorstep.answer
    guard.admission.came(10_000)
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def one_more() -> None:
            nonlocal came
            came += 1
            assert came < 10_000, "it never ends"
            with socket.create_connection(listener.getsockname()) as client:
                client.sendall(ISSUE)

        def another_comes(guard: Guard, connection: socket.socket) -> Door:
            said.append(answer(guard, connection))
            one_more()
            return said[-1]

        monkeypatch.setattr(doorstep, "answer", another_comes)
        acceptor = Acceptor(listener, None, guard, None, None)
        acceptor.start()
        one_more()
        acceptor.stop(ours=True)
    assert (set(said), came) == ({Door.REFUSED}, len(said) + 1)
