"""Asks who has an address, fifty times a second: beat.py INTERFACE ADDRESS. Its first frame beyond the box tells when the
box forwards."""
import socket
import sys
import time

interface, address = sys.argv[1:]
port = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
port.bind((interface, 0))
mac = port.getsockname()[4]
# Ethernet, ARP request, a probe (RFC 5227): the sender's address is left out, so nobody's table changes.
frame = b"\xff" * 6 + mac + bytes.fromhex("0806 0001 0800 06 04 0001") + mac + bytes(4) + bytes(6) + socket.inet_aton(address)
while True:
    try:
        port.send(frame.ljust(60, b"\0"))
    except OSError:
        pass
    time.sleep(0.02)
