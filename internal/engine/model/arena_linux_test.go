//go:build linux && !race

package model

import (
	"fmt"
	"os"
	"runtime"
	"testing"
	"time"
)

// addressSpace is the size of the process's, in bytes.
func addressSpace(t *testing.T) int {
	t.Helper()
	var pages int
	text, err := os.ReadFile("/proc/self/statm")
	if err == nil {
		_, err = fmt.Sscan(string(text), &pages)
	}
	if err != nil {
		t.Fatal(err)
	}
	return pages * os.Getpagesize()
}

// The memory of acts is no part of the heap: what grows gives its old slab back at
// once, and what nobody holds any more gives back its last.
func TestArenaGivesItsMemoryBack(t *testing.T) {
	const values, bytes = 256 << 20, 1 << 30 // far more than the heap moves meanwhile, and never touched
	before := addressSpace(t)
	w := &Workspace{}
	w.arena.reserve(values)
	w.arena.reserve(values + 1)
	if grown := addressSpace(t) - before; grown < bytes || grown > bytes*3/2 {
		t.Fatalf("an arena of %d bytes that has grown by one value takes %d", bytes, grown)
	}
	w.arena.take(16)[0] = 1
	runtime.KeepAlive(w)
	w = nil
	for end := time.Now().Add(20 * time.Second); addressSpace(t)-before > bytes/2; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the arena of a workspace that nobody holds is still there")
		}
		runtime.GC()
	}
}
