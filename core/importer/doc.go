// Package importer converts files in common formats to data sets (package dataset): folders of
// well-known data sets, tables with named columns as CSV, TSV, JSON or Parquet, compressed or not,
// whole or in parts, and the results of SQL queries.
//
// Every row of the source is accounted for: it is imported, or skipped and counted by reason. Where
// the source does not settle its titles, its unit of time or its encoding, the importer decides and
// reports its decision.
package importer
