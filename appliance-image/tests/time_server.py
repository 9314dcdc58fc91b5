"""A time server that is ahead by some seconds: python time_server.py SECONDS. RFC 4330, answers alone."""
import socket
import struct
import sys
import time

ahead = int(sys.argv[1])


def stamp():
    now = time.time() + ahead + 2208988800
    return struct.pack("!II", int(now) & 0xFFFFFFFF, int(now % 1 * 2**32))


with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
    server.bind(("0.0.0.0", 123))
    while True:
        question, client = server.recvfrom(512)
        received = stamp()
        # No leap, version 4, server; stratum 1.
        head = bytes([0x24, 1, 6, 0xEC]) + bytes(8) + b"TEST"
        server.sendto(head + received + question[40:48] + received + stamp(), client)
