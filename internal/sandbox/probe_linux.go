package sandbox

import "context"

// Probe says which layers this host gives, found out by starting a child.
func Probe(ctx context.Context) []Layer { return nil }
