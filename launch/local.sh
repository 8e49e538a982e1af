#!/usr/bin/env bash
# Train on several ranks of this machine:
#
#   launch/local.sh RANKS CONFIG --run DIR [any option of hvd-nowcast train]
#
# MPIRUN names another mpirun, MPIRUN_OPTIONS gives it options.
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
# The scheduler places the ranks: mpirun would bind each to one core, threads and all.
options=(-n "$ranks" --oversubscribe --bind-to none)
[ "$(id -u)" -ne 0 ] || options+=(--allow-run-as-root)
# shellcheck disable=SC2086 # several options in one variable
"$mpirun" "${options[@]}" ${MPIRUN_OPTIONS:-} hvd-nowcast train "$@" &
trap 'kill -TERM $!' TERM INT USR1
status=0
# A signal ends the first wait; the ranks save before they end.
wait $! || status=$?
while kill -0 $! 2>/dev/null; do
    status=0
    wait $! || status=$?
done
if [ "$status" -gt 128 ]; then
    echo "error: a rank was ended by signal $((status - 128)), as happens without enough memory;" \
        "mpirun says which. Continue from the last checkpoint: the same command with --resume" >&2
fi
exit "$status"
