"""A PLC (pymodbus): cell_plc.py ROBOT ADDRESS=VALUE..., writes a register each; `read` reads four registers from 128 on."""
import sys

from pymodbus.client import ModbusTcpClient

client = ModbusTcpClient(sys.argv[1], port=502, timeout=3, retries=0)
client.connect()
for order in sys.argv[2:]:
    if order == "read":
        answer = client.read_holding_registers(128, count=4)
        print(answer.registers if not answer.isError() else f"exception {answer.exception_code}")
    else:
        address, value = order.split("=")
        answer = client.write_register(int(address), int(value))
        print(f"exception {answer.exception_code}" if answer.isError() else "done")
client.close()
