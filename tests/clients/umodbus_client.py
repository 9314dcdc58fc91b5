"""uModbus against the robot's Modbus server."""
import socket
import sys

from umodbus import conf
from umodbus.client import tcp
from umodbus.exceptions import ModbusError

conf.SIGNED_VALUES = False
connection = socket.create_connection((sys.argv[1], 502), timeout=3)


def ask(name, message):
    try:
        print(name, tcp.send_message(message, connection))
    except ModbusError as error:
        print(name, type(error).__name__)


ask("coils", tcp.read_coils(slave_id=255, starting_address=16, quantity=8))
ask("discrete inputs", tcp.read_discrete_inputs(slave_id=255, starting_address=0, quantity=8))
ask("write register", tcp.write_single_register(slave_id=255, address=220, value=9))
ask("write registers", tcp.write_multiple_registers(slave_id=255, starting_address=221, values=[10, 11]))
ask("holding registers", tcp.read_holding_registers(slave_id=255, starting_address=220, quantity=3))
ask("input registers", tcp.read_input_registers(slave_id=255, starting_address=220, quantity=3))
ask("write coil", tcp.write_single_coil(slave_id=255, address=19, value=1))
ask("write coils", tcp.write_multiple_coils(slave_id=255, starting_address=19, values=[0, 0]))
ask("unmapped", tcp.read_holding_registers(slave_id=255, starting_address=60000, quantity=1))
connection.close()
