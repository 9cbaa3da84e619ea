//go:build !amd64

package kernel

func detectArch() []Level      { return nil }
func archTable(l Level) *table { return nil }
