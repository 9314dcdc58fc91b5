"""ur_rtde's receive interface: all its output variables in one recipe at 125 Hz. Prints no value that moves."""
import sys
import time

from rtde_receive import RTDEReceiveInterface

receive = RTDEReceiveInterface(sys.argv[1], 125.0)
print("connected", receive.isConnected())
first = receive.getTimestamp()
time.sleep(0.3)
print("time goes on", receive.getTimestamp() > first)
print("joints", len(receive.getActualQ()), len(receive.getTargetQd()), len(receive.getActualTCPPose()))
print("robot mode", receive.getRobotMode(), "safety mode", receive.getSafetyMode())
print("runtime state", receive.getRuntimeState(), "robot status", receive.getRobotStatus())
print("safety bits", receive.getSafetyStatusBits(), receive.isProtectiveStopped(), receive.isEmergencyStopped())
print("main voltage", receive.getActualMainVoltage())
print("joint mode", receive.getJointMode())
print("speed fraction", receive.getTargetSpeedFraction())
print("outputs", receive.getActualDigitalOutputBits())
receive.disconnect()
print("connected", receive.isConnected())
