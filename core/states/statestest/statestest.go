// Package statestest writes Parquet files for tests.
package statestest

import (
	"context"
	"fmt"

	"github.com/recinterpreter/recinterpreter/core/internal/duckdb"
)

// WriteParquet writes the rows of a query in DuckDB's SQL to a Parquet file.
func WriteParquet(path, query string) error {
	db, err := duckdb.Open()
	if err != nil {
		return err
	}
	defer db.Close()
	if err := db.Run(context.Background(), "COPY ("+query+") TO "+duckdb.Quote(path)+" (FORMAT parquet)"); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}
