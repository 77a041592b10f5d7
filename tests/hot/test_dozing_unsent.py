"""Who dozed, asks again and again and takes no answer, is looked at until the connection is cut off."""

import asyncio
import socket

import pytest

from tms_ca.http import unsent
from tms_ca.http.guard import GUARD


@pytest.mark.parametrize("takes", [True, False])
async def test_H_03_who_asks_from_a_doze_and_takes_nothing_is_cut_off(doors, monkeypatch, takes):
    door = doors.short
    guard, line, loop, asked = door.app[GUARD], door.line(), asyncio.get_running_loop(), doors.good()
    await doors.warm(line)
    line.close()
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", door.port))
        client.setblocking(False)
        await loop.sock_sendall(client, asked)
        assert await loop.sock_recv(client, 65536)
        while not guard.dozing:
            await asyncio.sleep(0.05)
        (connection,) = guard.dozing
        connection.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        connection.transport.set_write_buffer_limits(2000)
        async with asyncio.timeout(60):
            while not connection.writing_paused:
                await loop.sock_sendall(client, asked)
                await asyncio.sleep(0.02)
        assert connection in guard.unsent
        if takes:
            async with asyncio.timeout(60):
                while connection in guard.unsent:
                    await loop.sock_recv(client, 65536)
        else:
            monkeypatch.setattr(unsent, "WINDOW_SECONDS", 0.5)
            async with asyncio.timeout(60):
                while guard.open:
                    await asyncio.sleep(0.05)
