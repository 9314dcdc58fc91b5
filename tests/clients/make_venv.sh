#!/bin/sh
# Makes (or keeps) a virtual environment with the pinned clients: make_venv.sh DIRECTORY
# Prints nothing and ends with 0 where it is ready. ur_rtde has wheels for Python 3.11 and 3.12 only.
set -eu
directory=$1
here=$(dirname "$0")
if [ -x "$directory/bin/python" ] && cmp -s "$here/requirements.txt" "$directory/requirements.txt"; then
    exit 0
fi
for python in python3.12 python3.11 python3; do
    if "$python" -c 'import sys, venv; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))' 2>/dev/null; then
        rm -rf "$directory"
        "$python" -m venv "$directory"
        "$directory/bin/pip" install --quiet --disable-pip-version-check --requirement "$here/requirements.txt"
        # Last, so that a broken installation is made again.
        cp "$here/requirements.txt" "$directory/requirements.txt"
        exit 0
    fi
done
echo "needs Python 3.11 or 3.12 with venv; install python3-venv" >&2
exit 1
