"""mbpoll (a program, not a library) against the robot's Modbus server; prints the value lines only."""
import re
import subprocess
import sys


def poll(*arguments):
    run = subprocess.run(
        ["mbpoll", "-m", "tcp", "-p", "502", "-0", "-1", "-o", "3", *arguments],
        capture_output=True, text=True, timeout=20, check=False,
    )
    lines = [line.strip() for line in (run.stdout + run.stderr).splitlines()]
    kept = [re.sub(r"\s+", " ", line) for line in lines if re.match(r"\[\d+\]:|Written|.*(Illegal|timed out)", line)]
    print(" ".join(arguments).replace(sys.argv[1], "ROBOT"), "->", kept, run.returncode)


robot = sys.argv[1]
poll("-t", "4", "-r", "230", robot, "321")
poll("-t", "4", "-r", "231", robot, "1", "2", "3")
poll("-t", "4", "-r", "230", "-c", "4", robot)
poll("-t", "3", "-r", "230", "-c", "4", robot)
poll("-t", "0", "-r", "20", robot, "1")
poll("-t", "0", "-r", "16", "-c", "8", robot)
poll("-t", "0", "-r", "20", robot, "0")
poll("-t", "1", "-r", "0", "-c", "8", robot)
poll("-t", "4", "-r", "60000", "-c", "1", robot)
