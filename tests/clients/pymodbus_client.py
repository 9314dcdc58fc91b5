"""pymodbus against the robot's Modbus server: every function code that it answers, and two that it refuses."""
import sys

from pymodbus.client import ModbusTcpClient

client = ModbusTcpClient(sys.argv[1], port=502, timeout=3, retries=0)
print("connected", client.connect())


def show(name, answer):
    if answer.isError():
        print(name, "exception", answer.exception_code)
    elif getattr(answer, "registers", None):
        print(name, answer.registers)
    elif getattr(answer, "bits", None):
        print(name, answer.bits)
    else:
        print(name, "done")


show("coils", client.read_coils(16, count=8))
show("discrete inputs", client.read_discrete_inputs(0, count=8))
show("write register", client.write_register(200, 4711))
show("holding register", client.read_holding_registers(200, count=1))
show("input register", client.read_input_registers(200, count=1))
show("write registers", client.write_registers(201, [1, 2, 3]))
show("holding registers", client.read_holding_registers(200, count=4))
show("write coil", client.write_coil(17, True))
show("coil", client.read_coils(17, count=1))
show("write coils", client.write_coils(17, [False, True, False]))
show("coils", client.read_coils(16, count=8))
show("write coils back", client.write_coils(17, [False, False, False]))
show("version", client.read_holding_registers(256, count=2))
show("mode", client.read_holding_registers(258, count=1))
show("unmapped", client.read_holding_registers(60000, count=1))
show("mask write", client.mask_write_register(address=200, and_mask=0xF, or_mask=0))
show("read and write", client.readwrite_registers(read_address=200, read_count=1, address=200, values=[1]))
client.close()
