package serve

import _ "embed"

// openAPI describes the requests, in OpenAPI 3.
//
//go:embed openapi.json
var openAPI []byte
