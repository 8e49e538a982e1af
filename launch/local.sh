#!/usr/bin/env bash
# Train on several ranks of this machine:
#
#   launch/local.sh RANKS CONFIG --run DIR [any option of hvd-nowcast train]
#
# Each rank gets its part of the cores. MPIRUN names another mpirun, MPIRUN_OPTIONS gives it options.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

if [ "$#" -lt 2 ] || ! [[ "$1" =~ ^[1-9][0-9]*$ ]]; then
    sed -n '2,6s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2
    exit 2
fi
ranks=$1
shift
export HVD_NOWCAST_RANKS=$ranks
source "$here/env.sh"

mpirun=${MPIRUN:-mpirun}
command -v "$mpirun" >/dev/null || {
    echo "error: no $mpirun found: load the site's MPI module, or run launch/setup.sh" >&2
    exit 4
}
# Rank processes share the cores as the scheduler sees fit; binding would put them on one.
options=(-n "$ranks" --oversubscribe --bind-to none)
[ "$(id -u)" -eq 0 ] && options+=(--allow-run-as-root)
# shellcheck disable=SC2086 # several options in one variable
exec "$mpirun" "${options[@]}" ${MPIRUN_OPTIONS:-} hvd-nowcast train "$@"
