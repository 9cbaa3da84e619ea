// Package broker is the trusted side of the engine protocol. It starts engine
// children in a sandbox and speaks to them in typed sessions: Import, Validate,
// Train and Sampler. It holds what children may not: files, readers of buckets,
// contexts. A child is believed in nothing that can be checked here: sizes,
// digests, ranges and the order of messages.
//
// Errors are *rft.Error. A Fault of the child keeps its kind and its text, which
// names positions and keys only; a child that died gives a text that says how.
// After any error the child is gone; a child serves one session.
package broker
