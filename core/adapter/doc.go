// Package adapter describes the kinds of adapters: which states each reads, which sizes it has, how
// its warm start works and which PyTorch modules compute the same.
//
// A kind is a file here and a file in native/src/adapters, which holds its formula and tensors.
// Package align trains all kinds alike, by their entries.
package adapter
