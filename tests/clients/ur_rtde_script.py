"""ur_rtde's script client: one statement to the realtime port."""
import sys

import script_client

client = script_client.ScriptClient(sys.argv[1], 5, 13)
client.connect()
print("connected", client.isConnected())
print("sent", client.sendScriptCommand('textmsg("hello")\n'))
client.disconnect()
print("connected", client.isConnected())
