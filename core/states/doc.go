// Package states reads and writes files of states: what any recommender, here or elsewhere, has
// computed of its users. A file has one row for each state:
//
//	sequence  text     whose state it is: a user, or a session
//	position  integer  of the item after which the state was computed: 0 for the first one; -1 is the state before it
//	item      text     the item's id in the data set; nothing at position -1
//	state     floats   the same number in every row
//	split     text     train, validation or test: where questions about the item belong; nothing: nowhere (optional)
//	user      text     the user's id in the data set (optional)
//	time      integer or timestamp, of the item (optional)
//
// Rows of a sequence stand together, in the order of their positions. The file is Parquet, a folder
// of Parquet files in the order of their names, or safetensors (see openTensors). A folder's
// items.parquet, with the columns item and vector, holds vectors of the items.
package states
