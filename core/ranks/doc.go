// Package ranks lets several processes share the work of each training step. Each computes parts of
// a batch, and the gradients of the parts are added in a fixed order. So training gives the same
// bits on any number of ranks.
//
// Join forms a group from the processes that mpirun or srun started. With puts it into a context,
// in which packages recommender, align and probe share their training.
package ranks
