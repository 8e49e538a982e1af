# Sourced by launch/local.sh and the batch scripts: start ranks, pass signals on to them, and let
# the batch system run a job again that was stopped before its end.
#
# MPI_TYPE         start ranks by srun --mpi=$MPI_TYPE (srun --mpi=list shows the types, hvd-nowcast
#                  info --check whether pmix can be loaded); by mpirun when not set
# MPIRUN           another mpirun
# MPIRUN_OPTIONS   more options for it, such as --hostfile hosts.txt

source "$(dirname "${BASH_SOURCE[0]}")/env.sh"

readonly STOPPED=85 # hvd-nowcast saved and left because of a signal
readonly TOO_EARLY=138 # USR1 came before the ranks could take it; nothing was begun
cancelled=

say() { printf '%s\n' "$*" >&2; }

# Start ranks and return their status: run_ranks COUNT COMMAND..., COUNT 0 for all that the batch
# system allocated. A signal reaches the ranks, which save before they end.
run_ranks() {
    local launcher
    find_launcher "$1"
    shift
    pass_signals_on "${launcher[@]}" "$@"
}

# Run a command that SIGUSR1, SIGTERM and Ctrl-C of this script reach as SIGUSR1; its status.
pass_signals_on() {
    local child status=0
    "$@" &
    child=$!
    trap 'ask_for_an_end "$child"' USR1
    trap 'cancelled=yes; ask_for_an_end "$child"' TERM INT
    # A signal ends the first wait.
    wait "$child" || status=$?
    while kill -0 "$child" 2>/dev/null; do
        status=0
        wait "$child" || status=$?
    done
    trap - USR1 TERM INT
    return "$status"
}

# SIGUSR1 and not SIGTERM, after which mpirun kills the ranks in the middle of saving.
ask_for_an_end() {
    say "$(date -Is) a signal: asking for an end"
    kill -USR1 "$1" 2>/dev/null || true
}

# Sets the array "launcher" of the caller.
find_launcher() {
    local count=$1 name
    if [ -n "${MPI_TYPE:-}" ]; then
        launcher=(srun --mpi="$MPI_TYPE" --kill-on-bad-exit=1)
        [ "$count" -eq 0 ] || launcher+=(--ntasks="$count")
        # Since Slurm 22.05 srun does not take it from the job.
        [ -z "${SLURM_CPUS_PER_TASK:-}" ] || launcher+=(--cpus-per-task="$SLURM_CPUS_PER_TASK")
        return
    fi
    local mpirun=${MPIRUN:-mpirun}
    command -v "$mpirun" >/dev/null || {
        say "error: no $mpirun found: load the site's MPI module, or run launch/setup.sh"
        exit 4
    }
    # The scheduler of the machine places the ranks: mpirun would bind each to one core, threads
    # and all.
    launcher=("$mpirun" --bind-to none)
    if [ "$count" -eq 0 ]; then
        # Slurm's allocation is known to mpirun; of the others not every build knows it.
        name=${PBS_NODEFILE:-${LSB_DJOB_HOSTFILE:-}}
        [ -z "$name" ] || launcher+=(--hostfile "$name")
    else
        launcher+=(-n "$count" --oversubscribe)
    fi
    [ "$(id -u)" -ne 0 ] || launcher+=(--allow-run-as-root)
    # Ranks that ssh starts on other hosts see only what is passed on.
    for name in PATH PYTHONPATH LD_LIBRARY_PATH OMP_NUM_THREADS HDF5_USE_FILE_LOCKING \
        "${!TF_@}" "${!HOROVOD_@}" "${!HVD_NOWCAST_@}"; do
        [ -z "${!name:-}" ] || launcher+=(-x "$name")
    done
    # shellcheck disable=SC2206 # several options in one variable
    launcher+=(${MPIRUN_OPTIONS:-})
}

# Train and explain a bad end: train COUNT CONFIG --run DIR...
train() {
    local count=$1 status=0 run
    shift
    run=$(run_folder "$@")
    run_ranks "$count" hvd-nowcast train "$@" || status=$?
    if [ "$status" -eq 0 ] && [ -n "$run" ] && [ ! -f "$run/final.json" ]; then
        # mpirun ends well when it has lost a host.
        say "error: the ranks ended before the training did, as happens when a host is lost." \
            "Continue from the last checkpoint: the same command with --resume"
        return 8
    fi
    if [ "$status" -gt 128 ] && [ "$status" -le 192 ] && [ "$status" -ne "$TOO_EARLY" ]; then
        say "error: a rank was ended by signal $((status - 128)), as happens without enough" \
            "memory; the lines above say which. Continue from the last checkpoint: the same" \
            "command with --resume"
    fi
    return "$status"
}

# Train in a batch job, and ask for another one when the time limit came first.
train_in_job() {
    local run before status=0
    run=$(run_folder "$@")
    before=$(newest_checkpoint "$run")
    say "== $(date -Is) $(describe_job), from ${before:-the beginning}"
    train 0 "$@" --resume || status=$?
    was_stopped "$status" || return "$status"
    if [ "$(newest_checkpoint "$run")" = "$before" ]; then
        say "error: the time limit came before the first new checkpoint: raise it"
        return 1
    fi
    run_again
    return "$status"
}

# Whether a status means: stopped at the limit. Who cancels a job does not want it back.
was_stopped() {
    [ -z "$cancelled" ] && { [ "$1" -eq "$STOPPED" ] || [ "$1" -eq "$TOO_EARLY" ]; }
}

describe_job() {
    printf 'job %s, restart %s, on %s' "${SLURM_JOB_ID:-${PBS_JOBID:-${LSB_JOBID:-}}}" \
        "${SLURM_RESTART_COUNT:-0}" "${SLURM_JOB_NODELIST:-$(hostname -s)}"
}

# Run this batch job once more.
run_again() {
    say "stopped before the end: running this job again"
    if [ -n "${SLURM_JOB_ID:-}" ]; then
        scontrol requeue "$SLURM_JOB_ID"
    elif [ -n "${PBS_JOBID:-}" ]; then
        # Only operators may use qrerun.
        (cd "$PBS_O_WORKDIR" && qsub -v CONFIG,RUN launch/train.pbs)
    fi
    # LSF does it for the exit status in the -Q line of the script.
}

# SIGUSR1 to this script some seconds before the limit of a PBS job: warn_before_limit SECONDS
warn_before_limit() {
    local limit
    limit=$(qstat -f "$PBS_JOBID" | sed -n 's/^ *Resource_List.walltime = //p')
    limit=$(awk -F: '{ print $1 * 3600 + $2 * 60 + $3 }' <<<"$limit")
    limit=$((limit - $1))
    [ "$limit" -gt 0 ] || {
        say "error: a walltime of more than $1 seconds is needed"
        exit 2
    }
    { sleep "$limit" && kill -USR1 $$; } &
    # shellcheck disable=SC2064 # the number of now
    trap "kill $! 2>/dev/null || true" EXIT
}

run_folder() {
    while [ "$#" -gt 0 ]; do
        case $1 in
            --run) printf '%s\n' "${2:-}" ;;
            --run=*) printf '%s\n' "${1#--run=}" ;;
        esac
        shift
    done
}

newest_checkpoint() {
    local found
    for found in "$1"/checkpoints/step-*.npz; do :; done
    [ ! -f "$found" ] || basename "$found" .npz
}
