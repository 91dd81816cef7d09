// Package onnx runs recommenders of other programs as ONNX encoders. A model has these inputs and
// outputs:
//
//	items   int64 [B, T]                     ids of the histories' items, oldest first, with padding
//	length  int64 [B]                        items of each history (optional)
//	mask    int64 or bool [B, T]             1 at items, 0 at padding (optional, in place of length)
//	states  float32 [B, D] or [B, T, D]      the state after the last item, or after each item
//	scores  float32 [B, ids]                 of all ids as the next item (optional)
//
// ONNX Runtime computes it. Its shared library is opened when the first model is: the one that the
// environment variable ORT_LIBRARY names. Import binds a model to a data set, and writes it with
// what it needs to know in the model's own metadata, so that the file remains an ONNX model.
package onnx
