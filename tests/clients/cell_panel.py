"""An operator panel (universal-robots-clients): cell_panel.py ROBOT LINE..., one Dashboard command each, its answer a line."""
import sys

from universal_robots_clients import dashboard_client as dashboard

for line in sys.argv[2:]:
    print(dashboard.send_command(sys.argv[1], line))
