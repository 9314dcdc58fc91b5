"""pyModbusTCP against the robot's Modbus server."""
import sys

from pyModbusTCP.client import ModbusClient

client = ModbusClient(host=sys.argv[1], port=502, timeout=3, auto_open=True)
print("coils", client.read_coils(16, 8))
print("discrete inputs", client.read_discrete_inputs(0, 8))
print("write register", client.write_single_register(210, 77))
print("holding registers", client.read_holding_registers(210, 2))
print("input registers", client.read_input_registers(210, 2))
print("write registers", client.write_multiple_registers(211, [5, 6]))
print("holding registers", client.read_holding_registers(210, 3))
print("write coil", client.write_single_coil(18, True), client.read_coils(18, 1))
print("write coils", client.write_multiple_coils(18, [False, True]), client.read_coils(18, 2))
print("write coils", client.write_multiple_coils(18, [False, False]))
print("joint count", len(client.read_holding_registers(270, 6)))
print("unmapped", client.read_holding_registers(60000, 1), client.last_except)
client.close()
