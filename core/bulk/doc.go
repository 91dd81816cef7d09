// Package bulk puts many rows into words: histories, users or states from Parquet or JSON lines. It
// writes one answer for each row, in order, as JSON lines, needs the same memory however many rows
// there are, and goes on where it was stopped, to the same bytes.
//
// Rows are answered in groups of a fixed size, each as if it were alone. So an answer depends
// neither on where a job was stopped nor on which groups another machine answers.
package bulk
