// Package serve answers questions about runs over HTTP: package service with JSON, server-sent
// events, limits, keys and metrics.
//
// docs/serving.md shows the requests; a server describes each of them at /openapi.json.
package serve
