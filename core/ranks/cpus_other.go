//go:build !linux

package ranks

import "runtime"

// allowedCPUs lists the CPUs that this process may use: all.
func allowedCPUs() []int {
	all := make([]int, runtime.NumCPU())
	for cpu := range all {
		all[cpu] = cpu
	}
	return all
}
