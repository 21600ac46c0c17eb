"""A QUIC endpoint and a client that moves, of aioquic: a stack that is neither ours nor quinn's.

quic_peer.py serve ADDRESS PORT NAME CERTIFICATE KEY
    says NAME and then as many bytes as it is asked for, on every stream
quic_peer.py download ADDRESS PORT BYTES MOVES CERTIFICATE
    downloads BYTES, then moves to another port and downloads again, MOVES times, on one connection;
    prints the name that each download began with
"""

import asyncio
import socket
import sys

from aioquic.asyncio import QuicConnectionProtocol, serve
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection

BLOCK = bytes(range(256)) * 64


def pattern(length):
    return (BLOCK * (length // len(BLOCK) + 1))[:length]


async def answer(name, reader, writer):
    asked = await reader.readexactly(8)
    writer.write(name.encode() + pattern(int.from_bytes(asked, "big")))
    writer.write_eof()


async def endpoint(address, port, name, certificate, key):
    configuration = QuicConfiguration(is_client=False, alpn_protocols=["test"])
    configuration.load_cert_chain(certificate, key)

    def stream(reader, writer):
        asyncio.ensure_future(answer(name, reader, writer))

    await serve(address, int(port), configuration=configuration, stream_handler=stream)
    print("serving", flush=True)
    await asyncio.Event().wait()


async def bound(protocol, address):
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((address, 0))
    loop = asyncio.get_event_loop()
    transport, _ = await loop.create_datagram_endpoint(lambda: protocol, sock=sock)
    return transport


async def ask(protocol, length):
    reader, writer = await protocol.create_stream()
    writer.write(length.to_bytes(8, "big"))
    writer.write_eof()
    said = await reader.read(-1)
    assert said[1:] == pattern(length), "other bytes than were sent"
    return said[:1].decode()


async def download(address, port, length, moves, certificate):
    configuration = QuicConfiguration(
        is_client=True, alpn_protocols=["test"], server_name="edge.test"
    )
    configuration.load_verify_locations(certificate)
    protocol = QuicConnectionProtocol(QuicConnection(configuration=configuration))
    transport = await bound(protocol, "127.0.0.1")
    protocol.connect((address, int(port)))
    await protocol.wait_connected()
    names = [await ask(protocol, int(length))]
    for _ in range(int(moves)):
        # Its protocol learns of the new one by itself, as of the first.
        left, transport = transport, await bound(protocol, "127.0.0.1")
        left.close()
        names.append(await ask(protocol, int(length)))
    print("".join(names), flush=True)


if __name__ == "__main__":
    what, *arguments = sys.argv[1:]
    asyncio.run({"serve": endpoint, "download": download}[what](*arguments))
