package ranks

import (
	"os"
	"strings"
	"testing"
)

func TestLaunched(t *testing.T) {
	for _, c := range []struct {
		environment map[string]string
		want        string
	}{
		{nil, ""},
		{map[string]string{"OMPI_COMM_WORLD_SIZE": "1"}, "Open MPI's mpirun"},
		{map[string]string{"OMPI_COMM_WORLD_SIZE": "4", "SLURM_STEP_NUM_TASKS": "4"}, "Open MPI's mpirun"},
		{map[string]string{"PMIX_RANK": "0", "SLURM_STEP_NUM_TASKS": "4"}, "PMIx"},
		{map[string]string{"WORLD_SIZE": "2", "RANK": "0"}, "torchrun"},
		{map[string]string{"WORLD_SIZE": "1"}, ""},
		{map[string]string{"SLURM_STEP_NUM_TASKS": "4"}, "srun without MPI"},
		{map[string]string{"SLURM_NTASKS": "4"}, ""}, // a batch script, before srun
	} {
		got := launched(func(name string) (string, bool) { text, set := c.environment[name]; return text, set })
		if name := ""; got != nil {
			if name = got.name; name != c.want {
				t.Errorf("%v: %s, want %s", c.environment, name, c.want)
			}
		} else if c.want != "" {
			t.Errorf("%v: none, want %s", c.environment, c.want)
		}
	}
}

// Processes without MPI are told how to be started.
func TestJoin_withoutMPI(t *testing.T) {
	for _, name := range []string{"OMPI_COMM_WORLD_SIZE", "PMIX_RANK"} {
		if _, set := os.LookupEnv(name); set {
			t.Skip("this test was started by MPI")
		}
	}
	t.Setenv("WORLD_SIZE", "3")
	if g, err := Join(t.Context()); g != nil || err == nil || !strings.Contains(err.Error(), "mpirun -n 3 recint") {
		t.Errorf("%v, %v", g, err)
	}
}

func TestGPUOf(t *testing.T) {
	for _, c := range []struct{ local, visible, want string }{
		{"", "", ""}, {"2", "", "2"}, {"1", "4,5,6", "5"}, {"1", "7", "7"}, {"", "0,1", "0,1"},
	} {
		if got, err := gpuOf(c.local, c.visible); err != nil || got != c.want {
			t.Errorf("rank %q of %q: %q, %v; want %q", c.local, c.visible, got, err, c.want)
		}
	}
	if _, err := gpuOf("3", "0,1"); err == nil || !strings.Contains(err.Error(), "fewer ranks") {
		t.Errorf("rank 3 of 2 GPUs: %v", err)
	}
	if _, err := gpuOf("first", ""); err == nil {
		t.Error("a rank that is no number is accepted")
	}
}
