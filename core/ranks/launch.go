package ranks

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/recinterpreter/recinterpreter/cgo"
)

// launcher is a program that starts several processes, and the variables by which it tells each of
// them its place. A variable that is not set is 0.
type launcher struct {
	name    string
	sign    string // is set, and above least, where the launcher has started this process
	least   int
	local   string // rank among those of this host
	mpi     bool   // its processes find each other through MPI
	instead string // command to use in place of one without MPI
}

// launchers are those that are known. mpirun sets its own variables, also where Slurm has started
// it; srun --mpi=pmix sets PMIx's.
var launchers = []launcher{
	{name: "Open MPI's mpirun", sign: "OMPI_COMM_WORLD_SIZE", local: "OMPI_COMM_WORLD_LOCAL_RANK", mpi: true},
	{name: "PMIx", sign: "PMIX_RANK", least: -1, local: "SLURM_LOCALID", mpi: true},
	{name: "torchrun", sign: "WORLD_SIZE", least: 1, local: "LOCAL_RANK",
		instead: "mpirun -n %s recint …, with --hostfile where there are several machines"},
	{name: "srun without MPI", sign: "SLURM_STEP_NUM_TASKS", least: 1, local: "SLURM_LOCALID",
		instead: "srun --mpi=pmix recint …, where Slurm was built with PMIx, or mpirun -n %s recint … in an allocation"},
}

// launched is the launcher that has started this process, nil where it was started alone.
func launched(variable func(string) (string, bool)) *launcher {
	for i, l := range launchers {
		if text, set := variable(l.sign); set {
			if n, err := strconv.Atoi(text); err == nil && n > l.least {
				return &launchers[i]
			}
		}
	}
	return nil
}

// Join makes a group of the processes that mpirun or srun has started, nil where this one was
// started alone. Processes that torchrun has started, or srun without MPI, have no way to reach
// each other: the error says which command to use.
func Join(ctx context.Context) (*Group, error) {
	l := launched(os.LookupEnv)
	switch {
	case l == nil:
		return nil, nil
	case !l.mpi:
		return nil, fmt.Errorf("ranks: %s has started %s processes, which would each train alone, because it has no MPI; "+
			"start them by "+l.instead, l.name, os.Getenv(l.sign), os.Getenv(l.sign))
	}
	if err := ownGPU(l); err != nil {
		return nil, err
	}
	transport, err := cgo.JoinRanks()
	if err != nil {
		return nil, fmt.Errorf("ranks: %s has started this process: %w", l.name, err)
	}
	return New(ctx, transport)
}

// ownGPU leaves this process one of the GPUs that CUDA_VISIBLE_DEVICES lists, or of all: that with
// its number among the ranks of this host, which LOCAL_RANK gives where the launcher's variable
// does not. Backends have not been loaded yet.
func ownGPU(l *launcher) error {
	local, set := os.LookupEnv("LOCAL_RANK")
	if !set {
		local = os.Getenv(l.local)
	}
	gpu, err := gpuOf(local, os.Getenv("CUDA_VISIBLE_DEVICES"))
	if err != nil || gpu == "" {
		return err
	}
	return os.Setenv("CUDA_VISIBLE_DEVICES", gpu)
}

// gpuOf chooses the GPU of the rank with that number on its host among those that are visible.
func gpuOf(local, visible string) (string, error) {
	if local == "" {
		return visible, nil
	}
	n, err := strconv.Atoi(local)
	if err != nil || n < 0 {
		return "", fmt.Errorf("ranks: LOCAL_RANK is %q; it must be a number from 0 on", local)
	}
	if visible == "" {
		return local, nil
	}
	all := strings.Split(visible, ",")
	switch {
	case len(all) == 1: // the launcher has given each rank its own
		return visible, nil
	case n >= len(all):
		return "", fmt.Errorf("ranks: rank %d of this host has no GPU: CUDA_VISIBLE_DEVICES lists %d; start fewer ranks on a host", n, len(all))
	}
	return all[n], nil
}
