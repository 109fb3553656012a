#!/bin/sh
# Everything this project is done with: `./do demo` for a start, `./do help` for the rest.
# Needs Python 3.11 or newer with venv, or uv. Installs into .venv beside this file, pinned and checked by hash.
set -eu
cd "$(dirname "$0")"

demo_extras='code documents images local mcp server tokenizer web'

usage() {
    cat <<'END'
./do demo           install what it takes to run, and see a small model call tools
./do test [ARG..]   run the tests; what follows goes to pytest
./do fuzz [ARG..]   run the tests that fuzz for a minute
./do soak [ARG..]   inject faults for AGENTIC_SOAK_MINUTES (20) and check that nothing was lost or leaked
./do docs           run every block of the README and docs/, and every example
./do lint           ruff: rules and layout
./do format         ruff: repair both
./do types          mypy, strict
./do bench [NAME..] run benchmarks/NAME.py with its arguments, or all of them
./do setup          only install, all that the above need
./do requirements [--upgrade]  pin anew after a change to pyproject.toml (needs uv)
END
}

fail() {
    printf '%s\n' "$@" >&2
    exit 1
}

has_uv() { uv --version >/dev/null 2>&1; }

new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

# An environment works where it was made only, and without uv it must have pip.
usable() {
    grep -qsF "$(pwd -P)/.venv" .venv/bin/activate && new_enough .venv/bin/python &&
        { has_uv || .venv/bin/python -m pip --version >/dev/null 2>&1; }
}

# Sets $python to the first that can make an environment.
find_python() {
    if [ -n "${PYTHON:-}" ]; then set -- "$PYTHON"; else set -- python3 python3.13 python3.12 python3.11 python; fi
    incomplete=
    for python in "$@"; do
        new_enough "$python" || continue
        if "$python" -c 'import ensurepip, venv' 2>/dev/null; then return; fi
        incomplete=${incomplete:-$python}
    done
    [ -z "$incomplete" ] || fail "$incomplete cannot make a virtual environment: its venv or ensurepip module is missing." \
        "On Debian or Ubuntu: apt-get install python3-venv (as root, or with sudo). Or install uv. Then run this again."
    fail "Python 3.11 or newer is needed; tried: $*." \
        "On Debian 12 or newer: apt-get install python3-venv (as root, or with sudo). Or install uv, which brings its own" \
        "Python. Or name one: PYTHON=/path/to/python ./do demo"
}

environment() {
    if usable; then return; fi
    if has_uv; then
        uv venv --quiet --clear --python "${PYTHON:->=3.11,<3.14}" .venv
    else
        find_python
        "$python" -m venv --clear .venv
    fi
}

pip_install() {
    if has_uv; then
        uv pip install --quiet --python .venv/bin/python "$@"
    else
        .venv/bin/python -m pip --disable-pip-version-check install --quiet "$@"
    fi
}

# install NAME: brings in requirements/NAME.txt, unless this very file was installed before.
install() {
    wanted=$(cksum "requirements/$1.txt" pyproject.toml)
    if [ "$(cat ".venv/$1.installed" 2>/dev/null)" = "$wanted" ]; then return; fi
    echo "Installing requirements/$1.txt into .venv: a minute or so ..." >&2
    pip_install --require-hashes -r "requirements/$1.txt"
    pip_install --no-deps --no-build-isolation -e .
    echo "$wanted" >".venv/$1.installed"
}

setup() {
    environment
    for part in "$@"; do install "$part"; done
}

# with_tools COMMAND [ARG..]: runs a command of the environment, and first installs what is missing.
with_tools() {
    setup run dev
    command=$1
    shift
    ".venv/bin/$command" "$@"
}

compile() {
    output=$1
    shift
    uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate \
        --custom-compile-command './do requirements' --output-file "requirements/$output" "$@"
}

bench() {
    if [ $# -eq 0 ]; then
        for file in benchmarks/*.py; do with_tools python "$file"; done
    else
        name=$1
        shift
        with_tools python "benchmarks/$name.py" "$@"
    fi
}

target=${1:-help}
[ $# -eq 0 ] || shift
# No `&&` between these: it would switch `set -e` off inside the functions.
case $target in
demo)
    setup run
    .venv/bin/agentic demo "$@"
    ;;
setup) setup run dev ;;
test) with_tools pytest -m 'not fuzz and not soak' "$@" ;;
fuzz) with_tools pytest -m fuzz "$@" ;;
soak) with_tools pytest -m soak -p no:logging -s "$@" ;;
docs) with_tools pytest tests/test_docs.py tests/test_examples.py "$@" ;;
lint)
    with_tools ruff check .
    with_tools ruff format --check .
    ;;
format)
    with_tools ruff check --fix .
    with_tools ruff format .
    ;;
types) with_tools mypy ;;
bench) bench "$@" ;;
requirements)
    has_uv || fail "To pin for all systems at once takes uv: pip install uv."
    # What is large and not needed by the demo (a database's driver, models for OCR and for names) is for the tests only.
    # shellcheck disable=SC2086
    compile run.txt pyproject.toml $(printf -- '--extra %s ' $demo_extras) --group build "$@"
    compile dev.txt pyproject.toml --all-extras --group dev --constraint requirements/run.txt "$@"
    ;;
help | -h | --help) usage ;;
*)
    usage >&2
    fail "" "There is no target '$target'."
    ;;
esac
