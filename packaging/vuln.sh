#!/usr/bin/env bash
# Fails where our code calls what is known to be vulnerable, in modules or in the Go that releases are built with. The data base of
# vulnerabilities comes as a Go module, as the checker does, so that no other host is asked.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export GOTOOLCHAIN
GOTOOLCHAIN=$(cat packaging/toolchain)
known=$(go mod download -json golang.org/x/vulndb@latest | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p')
go run golang.org/x/vuln/cmd/govulncheck@v1.9.0 -db "file://$known/data/osv" ./... | grep -vE '^ +#[0-9]+: |^$'
