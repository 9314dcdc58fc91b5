"""universal-robots-clients' Dashboard functions: one connection a command."""
import sys

from universal_robots_clients import dashboard_client as dashboard

robot = sys.argv[1]
print(dashboard.send_command(robot, "robotmode"))
print(dashboard.send_command(robot, "safetystatus"))
print(dashboard.send_command(robot, "PolyscopeVersion"))
print(dashboard.load_program(robot, "/programs/place.urp"))
print(dashboard.load_program(robot, "/programs/none.txt"))
print(dashboard.load_and_play_program(robot, "/programs/pick.urp"))
print(dashboard.get_program_state(robot))
print(dashboard.pause_program(robot))
print(dashboard.get_program_state(robot))
print(dashboard.stop_program(robot))
print(dashboard.get_program_state(robot))
