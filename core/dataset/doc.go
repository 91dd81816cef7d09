// Package dataset holds interactions and titles: the folder format on disk, the splits into
// sequences, and the catalogue in which titles are looked up. Package importer converts files in
// other formats to data sets.
//
// A data set folder has files that a person can open: dataset.json (name, licence, source, split,
// counts, content hash), items.tsv (item_id, title, raw_title) and events.tsv (user_id, item_id,
// time, rating), or, for data that were already split into sequences, train.tsv, validation.tsv and
// test.tsv (history, next) instead of events.tsv. Further columns of items.tsv and of users.tsv
// (user_id), which may be absent, are attributes. Fields are separated by tabs, text is UTF-8,
// nothing is quoted, and the first line names the columns, in any order.
package dataset
