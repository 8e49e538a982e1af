-- hvd_nowcast for Lmod; 0.1.0 beside it says the same in Tcl.
--
--   module use CHECKOUT/modules        or, for a whole site: launch/install_module.sh PREFIX
--   module load hvd_nowcast/0.1.0

-- The checkout, three folders up, and its environment. launch/install_module.sh puts paths here.
local root = myFileName():gsub("/[^/]+/[^/]+/[^/]+$", "")
local venv = pathJoin(root, ".venv")
-- What was loaded when Horovod and mpi4py were built, MPI first of all.
local prerequisites = {}

whatis("Name: hvd_nowcast")
whatis("Version: 0.1.0")
whatis("Description: Radar nowcasting, flood and land-cover networks, with Horovod over MPI")
whatis("Keywords: radar, nowcast, precipitation, flood, land cover, Horovod, TensorFlow, MPI")

help([[
Train, verify and run deep-learning nowcasts of radar rain, river floods and land cover.

  hvd-nowcast --help                        the commands
  hvd-nowcast info --check                  what is wrong with this environment
  source $HVD_NOWCAST_ROOT/launch/env.sh    threads and MPI, for ranks you start yourself
  sbatch $HVD_NOWCAST_ROOT/launch/train.sbatch CONFIG --run DIR

Load the MPI module first, and no other Python module after this one.
]])

-- Another build, or packages of another Python on PYTHONPATH, would be mixed with ours.
conflict("hvd_nowcast")
conflict("tensorflow")
conflict("horovod")
for _, name in ipairs(prerequisites) do
    prereq(name)
end

setenv("HVD_NOWCAST_ROOT", root)
setenv("HVD_NOWCAST_VENV", venv)
setenv("HVD_NOWCAST_MODULE", "0.1.0")
prepend_path("PATH", pathJoin(venv, "bin"))
