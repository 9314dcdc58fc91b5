"""ur_rtde's control interface: its constructor uploads a 42 kB program and waits until that runs."""
import sys

from rtde_control import RTDEControlInterface
from rtde_receive import RTDEReceiveInterface

robot = sys.argv[1]
control = RTDEControlInterface(robot)
print("connected", control.isConnected())
receive = RTDEReceiveInterface(robot, 125.0)
print("program running", control.isProgramRunning())
print("moveJ", control.moveJ([0.0, -1.57, 1.57, -1.57, -1.57, 0.0], 0.5, 0.5))
print("moveL", control.moveL([0.4, 0.1, 0.3, 0.0, 3.14, 0.0], 0.25, 0.5))
for _ in range(25):
    start = control.initPeriod()
    control.servoJ([0.0, -1.57, 1.57, -1.57, -1.57, 0.0], 0.0, 0.0, 0.002, 0.1, 300)
    control.waitPeriod(start)
control.servoStop()
print("payload", control.setPayload(1.2, [0.0, 0.0, 0.1]))
print("steady", control.isSteady())
print("script function", control.sendCustomScriptFunction("note", 'textmsg("note")'))
control.stopScript()
print("program running", control.isProgramRunning())
control.disconnect()
receive.disconnect()
