"""A ProxyCommand: standard input and output to a port of this machine."""

import os
import select
import socket
import sys

with socket.create_connection(("127.0.0.1", int(sys.argv[1]))) as peer:
    while True:
        ready, _, _ = select.select([0, peer], [], [])
        if peer in ready:
            data = peer.recv(65536)
            if not data:
                break
            os.write(1, data)
        if 0 in ready:
            data = os.read(0, 65536)
            if not data:
                break
            peer.sendall(data)
