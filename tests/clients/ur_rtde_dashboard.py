"""ur_rtde's Dashboard client, which keeps one connection."""
import sys

import dashboard_client

robot = sys.argv[1]
client = dashboard_client.DashboardClient(robot, 29999)
client.connect()
print("connected", client.isConnected())
print("robotmode", client.robotmode())
print("safetymode", client.safetymode())
print("safetystatus", client.safetystatus())
print("version", client.polyscopeVersion())
print("serial", client.getSerialNumber())
print("model", client.getRobotModel())
print("remote", client.isInRemoteControl())
client.loadURP("/programs/pick.urp")
print("loaded", client.getLoadedProgram())
client.play()
print("state", client.programState(), client.running())
client.pause()
print("state", client.programState())
client.play()
client.stop()
print("state", client.programState(), client.running())
client.popup("hello")
client.closePopup()
client.closeSafetyPopup()
client.addToLog("note")
print("saved", client.isProgramSaved())
client.disconnect()
