// Package validate tests the files for Kubernetes and Slurm. It is a module of its own, so that the
// library does not depend on Kubernetes' types.
package validate
