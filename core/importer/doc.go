// Package importer makes data sets of files as people have them: folders of well-known data sets,
// tables with named columns as CSV, TSV, JSON or Parquet, compressed or not, whole or in parts, and
// the results of SQL queries.
//
// Every row of the source is accounted for: it is imported, or skipped and counted by reason. What
// the source does not settle, the titles, the unit of times, the encoding, is decided here and
// reported.
package importer
