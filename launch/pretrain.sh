#!/usr/bin/env bash
# The model that comes with the package: train on four radars and put it in its place. Takes about
# a quarter of an hour on two cores after set-up; needs the radar files of left_out_radars.py.
#
#   launch/pretrain.sh [OPTION...]     options of benchmarks/left_out_radars.py, such as --source
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
bash launch/setup.sh
source launch/env.sh

run=runs/pretrained
place=hvd_nowcast/pretrained
ranks=$(($(nproc) < 2 ? 1 : 2))
python benchmarks/left_out_radars.py --all --ranks "$ranks" --runs "$run" "$@"
for file in config.yaml data.json scaler.json weights/best.npz weights/best.json; do
    install -D -m 644 "$run/all/$file" "$place/$file"
done
