// Package bench measures RecInt: encoders, adapters, training, generation, evaluation and latency,
// on request next to PyTorch, ONNX Runtime and llama.cpp. It uses the library as any program would.
//
// It draws all weights at random and needs only a data set and an LLM: speed does not depend on
// what weights have learned. The command is recint bench.
package bench
