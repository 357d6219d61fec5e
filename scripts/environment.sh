#!/bin/sh
# Makes the virtual environment $1 with the first Python of at least 3.11 that this machine has ($PYTHON comes first).
set -eu
folder=$1

if [ -x "$folder/bin/python" ] && "$folder/bin/python" -m pip --version >/dev/null 2>&1; then
    exit 0
fi

# 3.11 comes first because the build of torch without CUDA is easiest to find for it.
for candidate in ${PYTHON:-} python3.11 python3.12 python3.13 python3; do
    if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then
        found=$candidate
        break
    fi
done
if [ -z "${found:-}" ]; then
    echo "vcfrag needs Python 3.11 or newer, and none is on the PATH; name one: make PYTHON=/path/to/python3" >&2
    exit 1
fi

if ! "$found" -c 'import ensurepip, venv' >/dev/null 2>&1; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        apt-get update -q
        DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends python3-venv
    else
        echo "$found cannot make virtual environments; install its venv module (Debian: apt-get install python3-venv)" >&2
        exit 1
    fi
fi
"$found" -m venv "$folder"
"$folder/bin/python" -m pip install -q --upgrade pip
