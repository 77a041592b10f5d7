#!/bin/sh
# Make the virtual environment of the project: deploy/venv.sh DIR
set -eu
venv=$1
# The system's own first: distributions build theirs with optimizations that a build by hand leaves out, and they make a
# third of the service's speed.
first=
whole() { "$venv/bin/python" -m pip --version >/dev/null 2>&1; }
make_with() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || return 1
    first=${first:-$1}
    whole || { "$1" -m venv --clear "$venv" >/dev/null 2>&1 && whole; }
}
if [ -n "${PYTHON:-}" ]; then
    make_with "$PYTHON" || true
else
    for python in /usr/bin/python3 python3 python3.13 python3.12 python3.11; do make_with "$python" && break; done
fi
[ -n "$first" ] || { echo "Python 3.11 or newer is needed; set PYTHON=/path/to/python3" >&2; exit 1; }
if ! whole; then
    sh "$(dirname "$0")/debian-packages.sh" venv
    "$first" -m venv --clear "$venv"
fi
echo "$venv has $("$venv/bin/python" --version), $(readlink -f "$venv/bin/python")"
echo "installing tms-ca and its libraries into $venv ..."
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check -c "$(dirname "$0")/constraints.txt" -e '.[server,dev]'
