"""ur_rtde's I/O interface, checked through its receive interface."""
import sys
import time

from rtde_io import RTDEIOInterface
from rtde_receive import RTDEReceiveInterface

robot = sys.argv[1]
io = RTDEIOInterface(robot)
receive = RTDEReceiveInterface(robot, 125.0)


def settled(read, wanted):
    """The value once it is the wanted one, or whatever it is after two seconds."""
    end = time.monotonic() + 2
    while read() != wanted and time.monotonic() < end:
        time.sleep(0.01)
    return read()


print("standard output", io.setStandardDigitalOut(1, True), settled(lambda: receive.getDigitalOutState(1), True))
print("standard output", io.setStandardDigitalOut(1, False), settled(lambda: receive.getDigitalOutState(1), False))
print("configurable output", io.setConfigurableDigitalOut(2, True), settled(lambda: receive.getDigitalOutState(10), True))
print("configurable output", io.setConfigurableDigitalOut(2, False))
print("tool output", io.setToolDigitalOut(0, True), settled(lambda: receive.getDigitalOutState(16), True))
print("tool output", io.setToolDigitalOut(0, False))
print("slider", io.setSpeedSlider(0.5), settled(receive.getTargetSpeedFraction, 0.5))
print("slider", io.setSpeedSlider(1.0), settled(receive.getTargetSpeedFraction, 1.0))
print("analog output", io.setAnalogOutputVoltage(0, 0.25), settled(receive.getStandardAnalogOutput0, 0.25))
print("analog output", io.setAnalogOutputCurrent(1, 0.75), settled(receive.getStandardAnalogOutput1, 0.75))
print("analog outputs off", io.setAnalogOutputVoltage(0, 0.0), io.setAnalogOutputVoltage(1, 0.0))
print("registers", io.setInputIntRegister(19, 7), io.setInputDoubleRegister(19, 1.5))
io.disconnect()
receive.disconnect()
