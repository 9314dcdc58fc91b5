"""The cell that the tests put the box into: a PLC that may write one register of the robot and no other."""
from guest import Failed, run

PLANT, ROBOT = "10.20.0.21", "10.20.0.40"
ALLOWED, FORBIDDEN = 130, 135
# Seen nowhere else, so that a search for its bytes finds this and nothing else.
FORBIDDEN_VALUE = 0x7B3F

CONFIG = f"""
mode = "enforce"
[ports]
plant = "0000:00:03.0"
robot = "52:54:00:76:62:02"
[fast_path]
polling = "blocking"
[[asset]]
name = "robot"
ip = "{ROBOT}"
side = "robot"
[[asset]]
name = "plc"
ip = "{PLANT}"
side = "plant"
[record]
size_budget = "64 MiB"
"""

POLICY = f"""
version = 1
robot = "robot"
[[allow]]
id = "plc-writes"
from = "plc"
service = "modbus"
function = ["write_single_register"]
address = ["{ALLOWED}"]
[[allow]]
id = "plc-reads"
from = "plc"
service = "modbus"
function = ["read_only"]
"""

CLIENT = """
import sys, time
from pymodbus.client import ModbusTcpClient
robot, allowed, forbidden, value = sys.argv[1], *map(int, sys.argv[2:])
client = ModbusTcpClient(robot, port=502, timeout=20, retries=0)
end = time.time() + 60
while not client.connect():
    assert time.time() < end, "no connection"
written = client.write_register(allowed, 77)
print("allowed", "exception" if written.isError() else client.read_holding_registers(allowed, count=1).registers[0])
answer = client.write_register(forbidden, value)
print("forbidden", f"exception {answer.exception_code}" if answer.isError() else "done")
print("afterwards", client.read_holding_registers(forbidden, count=1).registers[0])
"""


def talk(namespaces, clients):
    """The client's conversation, as it saw it."""
    arguments = [ROBOT, str(ALLOWED), str(FORBIDDEN), str(FORBIDDEN_VALUE)]
    python = clients / "bin/python"
    told = run(namespaces.within("plant", python, "-c", CLIENT, *arguments), timeout=180)
    return told.split("\n")


def turn_on(namespaces, guest):
    """Starts the box between the two; gives back the robot and the seconds from power-on to the first frame."""
    for attempt in range(3):
        guest.start({"plant": namespaces.tap("plant"), "robot": namespaces.tap("robot"), "management": None})
        namespaces.attach("plant", f"{PLANT}/24")
        namespaces.attach("robot", f"{ROBOT}/24")
        robot = namespaces.robot(guest.folder, ROBOT)
        try:
            return robot, namespaces.first_frame(guest, seconds=600) - guest.started
        except Failed:
            # A kernel whose emulated processor got no time while it looked for its timer: says nothing of the image.
            if "IO-APIC + timer doesn't work" not in guest.serial() or attempt == 2:
                raise
            print("  -- the machine is too busy: the emulated timer stood still; started again")
            robot.end()
            guest.turn_off()
