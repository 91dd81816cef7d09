// Package adapter knows the kinds of adapters: which states each reads, which sizes it has, how it
// is warmed up and what it is called elsewhere. A kind is a file here and a file in
// native/src/adapters, which holds its formula and tensors. Package align trains adapters; it
// treats all kinds alike, by what their entries say.
package adapter
