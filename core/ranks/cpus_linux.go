package ranks

import "golang.org/x/sys/unix"

// allowedCPUs lists the CPUs that this process may use.
func allowedCPUs() (all []int) {
	var set unix.CPUSet
	if unix.SchedGetaffinity(0, &set) != nil {
		return nil
	}
	for cpu := range len(set) * 64 {
		if set.IsSet(cpu) {
			all = append(all, cpu)
		}
	}
	return all
}
