"""An engineering station (ur_rtde): cell_engineering.py ROBOT FILE, sends a program to the realtime port."""
import sys

import script_client

client = script_client.ScriptClient(sys.argv[1], 5, 13)
client.connect()
print("sent", client.sendScript(sys.argv[2]))
client.disconnect()
