package serving_test

import (
	"syscall"
	"testing"
	"time"

	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/serving"
)

// TestPreloadIsNoUse: steps whose models nobody asks for do not keep a child alive,
// and do not make up for its crashes.
func TestPreloadIsNoUse(t *testing.T) {
	s := &source{}
	files, err := s.OpenAdapter(t.Context(), target(1))
	if err != nil {
		t.Fatal(err)
	}
	ahead := func(r *serving.Router) {
		r.Preload(target(0), files, 8)
		for st := r.Status(); len(st) > 0 && st[0].Requests > 0; st = r.Status() {
			time.Sleep(time.Millisecond)
		}
	}
	r := router(t, s, serving.Options{})
	mustAsk(t, r, target(0))
	pid := r.Status()[0].Pid
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	for r.Status()[0].Crashes == 0 {
		time.Sleep(time.Millisecond)
	}
	if _, err := r.Warm(t.Context(), target(0)); err != nil {
		t.Fatal(err, rft.KindOf(err))
	}
	ahead(r)
	if st := r.Status()[0]; st.Crashes != 1 || !st.Running || st.Pid == pid {
		t.Errorf("behind a crash: %+v", st)
	}
	short := router(t, s, serving.Options{Idle: 200 * time.Millisecond})
	mustAsk(t, short, target(0))
	for end := time.Now().Add(20 * time.Second); len(short.Status()) > 0; ahead(short) {
		if time.Now().After(end) {
			t.Fatal("the child stays")
		}
		time.Sleep(10 * time.Millisecond)
	}
}
