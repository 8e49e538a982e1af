#!/usr/bin/env bash
# From nothing to a verified forecast on real radar: set up, build shards, train, score, forecast
# and report, in about eight minutes after set-up on two cores.
#
#   launch/demo.sh [--fresh]     --fresh sets an earlier run aside and starts again
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
bash launch/setup.sh
source launch/env.sh

run=runs/demo
shards=data/dwd
step() { printf '\n== %s\n' "$*"; }

if [ "${1:-}" = --fresh ] && [ -e "$run" ]; then
    mv "$run" "$run.$(date +%Y%m%dT%H%M%S)"
fi

if [ ! -f "$shards/manifest.json" ]; then
    step 'Radar: DWD, 11 days, from the PyPI package pycomlink'
    python -m pip show -q pycomlink 2>/dev/null ||
        python -m pip install -q --disable-pip-version-check --no-deps pycomlink==0.6.0
    packages=$(python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
    hvd-nowcast shards build --format dwd-pycomlink \
        "$packages/pycomlink/io/example_data/example_areal_reference_data.nc" --out "$shards" \
        --split train=2018-05-10:2018-05-15,validation=2018-05-15:2018-05-16,test=2018-05-16:2018-05-17
fi

# One rank per core, up to two; without MPI or Horovod one process, with the same result.
ranks=1
if [ "$(nproc)" -ge 2 ] && command -v mpirun >/dev/null &&
    python -c 'import horovod, mpi4py' 2>/dev/null; then
    ranks=2
fi
step "Training on $ranks rank(s), about 7 minutes"
if [ "$ranks" -eq 1 ]; then
    hvd-nowcast train configs/demo.yaml --run "$run" --resume
else
    launch/local.sh "$ranks" configs/demo.yaml --run "$run" --resume
fi

step 'Scores on 16 May, a forecast every hour'
hvd-nowcast evaluate "$run" --json "$run/scores.json"

step 'Forecast from the newest frames'
hvd-nowcast forecast "$run" --input "$shards" --out "$run/forecast.nc" --plot "$run/figures" \
    --time 2018-05-16T15:00

step 'Report'
hvd-nowcast report "$run"
