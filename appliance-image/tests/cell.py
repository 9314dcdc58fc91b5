"""The cell that the tests put the box into: a PLC that may write one register of the robot and no other."""
from guest import Failed, run

# Where the box and the one who manages it are on the third cable: the address of a box that nobody has configured.
BOX, LAPTOP = "192.168.77.1", "192.168.77.2"
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

# The same, with a management port.
MANAGED = CONFIG.replace("[fast_path]", f"""management = "0000:00:05.0"
[management]
address = "{BOX}/24"
ntp = ["{LAPTOP}"]
[console]
claim = true
listen = "{BOX}:7443"
account = "vambrace-console"
[fast_path]""")

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
    """Starts the box between the two, with a third cable where there is a side "management"; gives back the robot and the
    seconds from power-on to the first frame."""
    managed = "management" in namespaces.sides
    for attempt in range(3):
        guest.start({"plant": namespaces.tap("plant"), "robot": namespaces.tap("robot"), "management": namespaces.tap("management") if managed else None})
        namespaces.attach("plant", f"{PLANT}/24")
        namespaces.attach("robot", f"{ROBOT}/24")
        if managed:
            namespaces.attach("management", f"{LAPTOP}/24")
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
