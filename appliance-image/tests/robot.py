"""The robot's side: robot.py INTERFACE ADDRESS REPORT FIRST-FRAME PLANT-MAC

A Modbus server on port 502 that keeps registers, and beside it a listener that reads every frame off the wire by itself.
At its end it writes what both saw.
"""
import json
import pathlib
import signal
import socket
import struct
import sys
import threading
import time

interface, address, report, first, plant_mac = sys.argv[1:]
FORBIDDEN = struct.pack(">HH", 135, 0x7B3F)
seen = {"writes": [], "frames": 0, "forbidden": 0, "strangers": []}
registers = {}


def answer(pdu):
    function, at, number = struct.unpack_from(">BHH", pdu)
    if function == 3:
        values = [registers.get(at + index, 0) for index in range(number)]
        return struct.pack(f">BB{number}H", 3, 2 * number, *values)
    if function == 6:
        seen["writes"].append([at, number])
        registers[at] = number
        return pdu
    return bytes([function | 0x80, 1])


def serve(connection):
    with connection, connection.makefile("rb") as stream:
        while len(head := stream.read(7)) == 7:
            transaction, _, length, unit = struct.unpack(">HHHB", head)
            reply = answer(stream.read(length - 1))
            connection.sendall(struct.pack(">HHHB", transaction, 0, len(reply) + 1, unit) + reply)


def listen():
    wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    wire.bind((interface, 0))
    while True:
        try:
            frame, (_, _, kind, _, source) = wire.recvfrom(65535)
        except OSError:
            # The machine was turned off, and its end of the cable with it.
            return
        if kind == socket.PACKET_OUTGOING:
            continue
        sender = source.hex(":")
        if sender == plant_mac and not seen["frames"]:
            pathlib.Path(first).write_text(str(time.monotonic()))
        if sender == plant_mac:
            seen["frames"] += 1
        elif sender not in seen["strangers"]:
            seen["strangers"].append(sender)
        seen["forbidden"] += FORBIDDEN in frame


def finish(*_):
    pathlib.Path(report).write_text(json.dumps(seen))
    sys.exit(0)


signal.signal(signal.SIGTERM, finish)
threading.Thread(target=listen, daemon=True).start()
server = socket.create_server((address, 502))
while True:
    accepted, _ = server.accept()
    threading.Thread(target=serve, args=(accepted,), daemon=True).start()
