// Package api holds the wire types of Firekeep's HTTP API and a Go client for
// it. It imports the standard library only, so that other programs can use it.
//
// The control plane speaks proto JSON as the clients of the wire contract know
// it: camelCase out; camelCase and snake_case in; 64-bit integers as strings
// out, as numbers or strings in; enums by name; times as RFC 3339; unknown
// fields ignored. Unmarshal reads that dialect. Inference is snake_case in both
// directions. What Firekeep adds to the contract lives in an object called
// "firekeep" inside the resource it extends.
//
// testdata/vectors holds wire JSON that the Go and the Python tests share.
package api
