// Package checkpoint stores models that are being trained as tensors of a file: their values and
// the moments of their optimiser. Gradients are zero between updates and are not stored.
//
// Packages recommender, align and probe write their checkpoints with it; package artifact writes
// the file.
package checkpoint
