"""What is taken from the listening socket at the end."""

import asyncio
import socket
from contextlib import ExitStack

import pytest
from aiohttp import web

from tests.load.test_doorstep import ISSUE
from tms_ca.http import doorstep
from tms_ca.http.admission import Admission
from tms_ca.http.doorstep import Door
from tms_ca.http.guard import Guard
from tms_ca.http.refusals import Refusals
from tms_ca.http.runner import Runner
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


@pytest.mark.parametrize("nobody", [True, False])
async def test_E_07_who_would_connect_after_the_last_look_is_refused_and_not_reset(nobody):
    loop, runner = asyncio.get_running_loop(), Runner(web.Application())
    await runner.setup()
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        address = listener.getsockname()
        acceptor = Acceptor(listener, runner.server, runner.guard, None, None)
        acceptor.start()
        before, late = (stack.enter_context(socket.socket()) for _ in range(2))
        before.connect(address)
        if nobody:
            acceptor.admit_nobody()
        late.setblocking(False)
        connecting = asyncio.create_task(loop.sock_connect(late, address))
        done, _ = await asyncio.wait([connecting], timeout=0.2 if nobody else 60)
        assert bool(done) is not nobody, "the twin: who is let in is connected at once"
        acceptor.stop(ours=True)
        if nobody:
            with pytest.raises(ConnectionRefusedError):
                async with asyncio.timeout(60):
                    await connecting
        before.setblocking(False)
        await loop.sock_sendall(before, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        async with asyncio.timeout(60):
            assert (await loop.sock_recv(before, 65536)).startswith(b"HTTP/1.1 404"), "who was there is answered"
    await runner.cleanup()
