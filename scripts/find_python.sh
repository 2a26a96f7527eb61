#!/bin/sh
# Print the interpreter to use, or say in plain words why there is none.
#   find_python.sh [PYTHON] [VENV]
# PYTHON, when given, is the only candidate. Otherwise the interpreter of an existing VENV is kept, else the newest
# supported one on PATH is taken. Supported is what has a constraints/pyX.Y.txt.
set -eu
cd "$(dirname "$0")/.."
wanted=${1:-}
venv=${2:-.venv}
supported=$(ls constraints/py3.*.txt | sed 's|constraints/py||; s|\.txt||' | sort -t. -k2,2n | tr '\n' ' ')

version_of() { # A version manager's shim exists for interpreters that do not run: only running one tells.
    "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null || true
}
if [ -n "$wanted" ]; then
    set -- "$wanted"
elif [ -x "$venv/bin/python" ]; then
    set -- "$venv/bin/python"
else
    set -- python3.13 python3.12 python3.11 python3 python
fi

seen=""
for candidate; do
    version=$(version_of "$candidate")
    [ -n "$version" ] || continue
    if [ ! -f "constraints/py$version.txt" ]; then
        seen="$seen$candidate is Python $version: not supported
"
    elif ! "$candidate" -c 'import ensurepip, venv' 2>/dev/null; then
        seen="$seen$candidate is Python $version without its venv module (Debian, Ubuntu: apt-get install python$version-venv)
"
    else
        printf '%s\n' "$candidate"
        exit 0
    fi
done

{
    printf 'No usable Python. This project needs one of: %s(with the venv module).\n' "$supported"
    printf '%s' "${seen:-Nothing that runs among: $*
}"
    printf 'Install one, or point to one: make venv PYTHON=/path/to/python3.12\n'
    [ "$*" != "$venv/bin/python" ] || printf 'Or remove the old environment: make clean\n'
} >&2
exit 1
