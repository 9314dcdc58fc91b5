"""A client that writes registers without a pause: work.py ROBOT ALLOWED FORBIDDEN

Modbus over TCP, ten writes a second, one in five to a register that the policy forbids. Where the connection is gone, since the
box starts again, it opens another one.
"""
import itertools
import socket
import struct
import sys
import time

robot, allowed, forbidden = sys.argv[1], *map(int, sys.argv[2:])
numbers = itertools.count(1)
while True:
    try:
        with socket.create_connection((robot, 502), timeout=2) as connection:
            for number in numbers:
                register = forbidden if number % 5 == 0 else allowed
                # Unit 255, write single register. Source: Modbus Application Protocol V1.1b3, 6.6.
                connection.sendall(struct.pack(">HHHBBHH", number & 0xFFFF, 0, 6, 255, 6, register, number & 0xFFFF))
                if not connection.recv(260):
                    break
                time.sleep(0.1)
    except OSError:
        time.sleep(0.5)
