package child

import (
	"context"
	"errors"
	"fmt"
	"path"
	"runtime"
	"strings"

	"github.com/firekeep/firekeep/internal/engine"
	"github.com/firekeep/firekeep/internal/wire"
)

// crash is a bug: a panic that was caught.
type crash struct{ where string }

func (c *crash) Error() string { return "the engine failed in " + c.where }

// panicPlace names the function and line that panicked. It is called from the
// deferred function that recovered.
func panicPlace() string {
	pcs := make([]uintptr, 64)
	frames := runtime.CallersFrames(pcs[:runtime.Callers(0, pcs)])
	panicked := false
	for {
		f, more := frames.Next()
		if panicked && !strings.HasPrefix(f.Function, "runtime.") {
			return fmt.Sprintf("%s:%d", path.Base(f.Function), f.Line)
		}
		panicked = panicked || f.Function == "runtime.gopanic"
		if !more {
			return "an unknown place"
		}
	}
}

// fault turns an error into the Fault that tells it, without content: bad input
// in its own words, a cancel as such, everything else as an internal failure.
func fault(id uint64, err error) wire.Fault {
	var p *engine.Problem
	var c *crash
	switch {
	case errors.As(err, &p):
		return wire.Fault{ID: id, Kind: "INVALID_ARGUMENT", Message: p.Error(), Problem: p}
	case errors.Is(err, errCancelled), errors.Is(err, context.Canceled):
		return wire.Fault{ID: id, Kind: "CANCELLED", Message: "cancelled"}
	case errors.As(err, &c):
		return wire.Fault{ID: id, Kind: "INTERNAL", Message: c.Error()}
	}
	return wire.Fault{ID: id, Kind: "INTERNAL", Message: fmt.Sprintf("the engine failed (%T)", err)}
}
