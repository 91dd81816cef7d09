// Package gguf writes model files in the GGUF format (version 3): files of any tensors, and whole
// LLMs with random weights, which have the speed and memory of a real model of their shape.
//
// The native core reads models. This package reads only the tokenizer of a file, to copy it into
// another one.
package gguf
