#!/usr/bin/env bash
# Set up, then lint, types, import contract and tests. With arguments: only pytest with them.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
bash launch/setup.sh
source launch/env.sh

if [ "$#" -gt 0 ]; then
    exec python -m pytest "$@"
fi
ruff check .
ruff format --check .
mypy
lint-imports
# Unit tests share the cores; those with ranks need them all.
python -m pytest -n auto --maxprocesses 4 --dist worksteal tests/unit
python -m pytest tests/parallel tests/system
