# Sourced by every script and batch job: the one place that sets threads, file locking, Horovod and
# MPI variables. What is set already is left alone.
#
#   source launch/env.sh

_hvd_root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
_hvd_venv=${HVD_NOWCAST_VENV:-$_hvd_root/.venv}
case ":$PATH:" in
    *":$_hvd_venv/bin:"*) ;;
    *) export PATH=$_hvd_venv/bin:$PATH ;;
esac

# Ranks and cores of this node, from the batch system or the launcher; else one rank, all cores.
_hvd_ranks=${HVD_NOWCAST_RANKS:-${OMPI_COMM_WORLD_LOCAL_SIZE:-}}
_hvd_cores=$(nproc)
if [ -n "${SLURM_JOB_ID:-}" ]; then
    # "4(x2),1": the first node counts.
    _hvd_ranks=${_hvd_ranks:-${SLURM_NTASKS_PER_NODE:-${SLURM_TASKS_PER_NODE:-}}}
    _hvd_cores=${SLURM_CPUS_ON_NODE:-$_hvd_cores}
elif [ -r "${PBS_NODEFILE:-}" ]; then
    # One line for each rank.
    _hvd_ranks=${_hvd_ranks:-$(grep -c "^$(hostname -s)\(\.\|$\)" "$PBS_NODEFILE" || true)}
    _hvd_cores=${NCPUS:-$_hvd_cores}
elif [ -n "${LSB_MCPU_HOSTS:-}" ]; then
    # "node1 4 node2 4": a slot is a rank and, unless the job asks for more, a core.
    # shellcheck disable=SC2086 # pairs of words
    _hvd_ranks=${_hvd_ranks:-$(set -- $LSB_MCPU_HOSTS && echo "${2:-1}")}
    _hvd_cores=$_hvd_ranks
fi
_hvd_ranks=${_hvd_ranks%%[!0-9]*}
[ "${_hvd_ranks:-0}" -ge 1 ] || _hvd_ranks=1
_hvd_threads=${SLURM_CPUS_PER_TASK:-$((_hvd_cores / _hvd_ranks))}
[ "$_hvd_threads" -ge 1 ] || _hvd_threads=1

# Each rank keeps to its own cores; TensorFlow would start a thread per core of the node in each.
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-$_hvd_threads}
export TF_NUM_INTRAOP_THREADS=${TF_NUM_INTRAOP_THREADS:-$OMP_NUM_THREADS}
export TF_NUM_INTEROP_THREADS=${TF_NUM_INTEROP_THREADS:-1}
export TF_CPP_MIN_LOG_LEVEL=${TF_CPP_MIN_LOG_LEVEL:-2}

# Shards are only read, and locks fail on many parallel file systems.
export HDF5_USE_FILE_LOCKING=${HDF5_USE_FILE_LOCKING:-BEST_EFFORT}

# MPI waits by spinning, which takes the core from the rank itself when ranks fill the machine.
if [ "$_hvd_ranks" -ge "$_hvd_cores" ]; then
    export OMPI_MCA_mpi_yield_when_idle=${OMPI_MCA_mpi_yield_when_idle:-1}
fi
# The default of 1 ms is the floor of every small all-reduce.
export HOROVOD_CYCLE_TIME=${HOROVOD_CYCLE_TIME:-0.5}
# A stalled rank is reported after a minute and ends the job after ten; the default waits for ever.
export HOROVOD_STALL_CHECK_TIME_SECONDS=${HOROVOD_STALL_CHECK_TIME_SECONDS:-60}
export HOROVOD_STALL_SHUTDOWN_TIME_SECONDS=${HOROVOD_STALL_SHUTDOWN_TIME_SECONDS:-600}
# A host that cannot be reached is given up after two minutes instead of eight.
export PRTE_MCA_oob_tcp_keepalive_time=${PRTE_MCA_oob_tcp_keepalive_time:-60}
export PRTE_MCA_oob_tcp_keepalive_intvl=${PRTE_MCA_oob_tcp_keepalive_intvl:-10}
export PRTE_MCA_oob_tcp_keepalive_probes=${PRTE_MCA_oob_tcp_keepalive_probes:-6}

unset _hvd_root _hvd_venv _hvd_ranks _hvd_cores _hvd_threads
