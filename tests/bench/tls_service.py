"""A service for the helper's benchmark: TLS, and the right answer to each login check, as fast as Python can.

Use: python -m tests.bench.tls_service CERTIFICATE KEY
"""

import asyncio
import base64
import hashlib
import json
import ssl
import sys

_NOT_FOUND = b"HTTP/1.1 404 Not Found\r\nContent-Type: text/plain\r\nContent-Length: 0\r\n\r\n"


def answer(body: bytes) -> bytes:
    """Return a yes to a login check."""
    asked = json.loads(body)
    blob = base64.b64decode(asked["certificate"].split()[1])
    fingerprint = base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")
    bound = f"{asked['nonce']} {asked['account']} SHA256:{fingerprint}"
    lines = f"{asked['account']}@h1\n"
    head = f"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nX-TMS-Answer: {bound}\r\nContent-Length: {len(lines)}\r\n"
    return f"{head}\r\n{lines}".encode()


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer the requests of one connection until the client ends it, or wants it ended."""
    try:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0] or 0)
            body = await reader.readexactly(length)
            writer.write(answer(body) if b"/principals " in head else _NOT_FOUND)
            if b"connection: close" in head:
                break
    except (asyncio.IncompleteReadError, OSError):
        return
    finally:
        writer.close()


async def main(certificate: str, key: str) -> None:
    """Serve on a free port of loopback, which is printed."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    print(f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
