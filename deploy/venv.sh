#!/bin/sh
# Make the virtual environment of the project: deploy/venv.sh DIR
set -eu
venv=$1
for python in "${PYTHON:-python3}" python3.13 python3.12 python3.11 /usr/bin/python3; do
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && break
    python=
done
[ -n "$python" ] || { echo "Python 3.11 or newer is needed; set PYTHON=/path/to/python3" >&2; exit 1; }
if [ ! -x "$venv/bin/pip" ] && ! "$python" -m venv "$venv" 2>/dev/null; then
    sh "$(dirname "$0")/debian-packages.sh" venv
    "$python" -m venv --clear "$venv"
fi
echo "installing tms-ca and its libraries into $venv ..."
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check -c "$(dirname "$0")/constraints.txt" -e '.[server,dev]'
