"""Whoever manages the box, on its third cable."""
import re
import subprocess
import sys
import time

from cell import BOX
from guest import Failed


class Laptop:
    """Whoever manages the box, on the third cable."""

    def __init__(self, namespaces, product, folder):
        self.namespaces, self.product, self.keys = namespaces, product, folder / "keys"

    def run(self, *command, **options):
        command = [str(part) for part in self.namespaces.within("management", *command)]
        return subprocess.run(command, capture_output=True, text=True, timeout=180, check=False, **options)

    def claim(self, secret, name="eva"):
        return self.run(self.product, "--box", BOX, "claim", "--secret", secret, "-d", self.keys, "--name", name)

    def ask(self, *command, name="eva"):
        keys = ["--ca", self.keys / "ca.pem", "--cert", self.keys / f"{name}.pem", "--key", self.keys / f"{name}.key"]
        return self.run(self.product, "--box", BOX, *keys, *command)

    def until(self, seconds, *command, codes=(0,)):
        """The same, again and again while the box starts."""
        end = time.monotonic() + seconds
        while True:
            answer = self.ask(*command)
            if answer.returncode in codes:
                return answer
            if time.monotonic() > end:
                raise Failed(f"{command}: {answer.returncode}: {answer.stdout}{answer.stderr}")
            time.sleep(1)

    def ports(self):
        """TCP ports of the box that answer, of those that programs listen at by habit and all of the box's own."""
        wanted = [22, 23, 53, 80, 443, 502, 2222, 7443, 8080, 9464, 29999, 30001, 30002, 30003, 30004]
        code = (
            "import socket, sys\n"
            "for port in map(int, sys.argv[2:]):\n"
            "    with socket.socket() as s:\n"
            "        s.settimeout(2)\n"
            "        if s.connect_ex((sys.argv[1], port)) == 0: print(port)\n"
        )
        told = self.run(sys.executable, "-c", code, BOX, *map(str, wanted))
        return [int(port) for port in told.stdout.split()]


def secret_of(line):
    return re.search(r"claim --secret ((?:[0-9A-Z]{5}-){4}[0-9A-Z]{5})", line)[1]
