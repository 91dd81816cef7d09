// Package bulk interprets every row of a file: histories, users or states from Parquet, safetensors
// or JSON lines. It writes one answer for each row, in order, as JSON lines. Its memory does not
// grow with the number of rows, and a job that was stopped continues and writes the same bytes.
//
// Rows are answered in groups of a fixed size, each group independently of the others. So an answer
// depends neither on where a job was stopped nor on which groups another machine answers.
package bulk
