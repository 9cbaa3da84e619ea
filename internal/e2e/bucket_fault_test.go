package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/firekeep/firekeep/api"
	"github.com/firekeep/firekeep/internal/objstore"
	"github.com/firekeep/firekeep/internal/objstore/objstoretest"
)

// TestBucketFaults trains from an S3 server that fails in every way that passes:
// the adapter is that of a quiet day. A failure that does not pass ends the job
// with what is wrong, and an object that was replaced is named.
func TestBucketFaults(t *testing.T) {
	store := objstoretest.VersityGW(t)
	bucket := store.Bucket("faults")
	direct, proxy := store.Open(bucket), objstoretest.NewProxy(t, store)
	s := newInstance(t, func(s *instance) {
		s.config["s3"] = map[string]any{"endpoint": proxy.URL, "pathStyle": true, "allowLoopback": true}
	})
	s.importTiny()
	ctx := context.Background()
	var secret map[string]any
	if err := json.Unmarshal([]byte(store.Secret().Reveal()), &secret); err != nil {
		t.Fatal(err)
	}
	if _, err := s.api.CreateConnection(ctx, "main", "faults", &api.Connection{URL: "s3://faults/rows/", Secret: secret}); err != nil {
		t.Fatal(err)
	}
	data := rows(30, 4, "hello")
	objects := map[string]objstore.Info{}
	for i := range 6 { // several objects, so that none is read once for all
		key := fmt.Sprintf("rows/%d.jsonl", i)
		body := []byte(strings.Join(data[5*i:5*i+5], "\n") + "\n")
		info, err := direct.Create(ctx, key, bytes.NewReader(body), objstore.PutOptions{Size: int64(len(body))})
		if err != nil {
			t.Fatal(err)
		}
		objects[key] = info
	}
	s.cli("dataset", "create", "crash", "--from", "s3://faults/rows/", "--wait")
	start := func(id string) {
		t.Helper()
		spec := crashSpec(id)
		spec.TrainingConfig.Epochs = 1
		if _, err := s.api.CreateStep(ctx, "main", id, spec); err != nil {
			t.Fatal(err)
		}
	}
	start("quiet")
	s.finish("quiet")
	want := s.adapterDigest("quiet")
	for name, fault := range map[string]objstoretest.Fault{
		"error-500": proxy.Status(http.StatusInternalServerError, 2), "error-503": proxy.Status(http.StatusServiceUnavailable, 2),
		"reset": proxy.Reset(2), "partial": proxy.Cut(1500), "slow": proxy.Trickle(64),
	} {
		proxy.Set(fault)
		start(name)
		s.finish(name)
		if proxy.Faults() == 0 {
			t.Errorf("%s: nothing failed", name)
		}
		if s.adapterDigest(name) != want {
			t.Errorf("%s: another adapter", name)
		}
	}
	if os.Getenv("FIREKEEP_LONG") != "" { // it waits for all retries of all layers
		outage(t, s, proxy, start)
		if s.adapterDigest("outage") != want {
			t.Error("outage: another adapter")
		}
	}
	proxy.Set(proxy.Status(http.StatusForbidden, 1))
	start("refused")
	if m := failed(t, s, "refused"); !strings.Contains(m, "rows/") {
		t.Errorf("refused: %s", m)
	}
	replaced(t, s, proxy, direct, objects["rows/3.jsonl"], start)
	s.fsck()
}

// outage lets the store be away until the job has been given back to the queue.
func outage(t *testing.T, s *instance, proxy *objstoretest.Proxy, start func(string)) {
	t.Helper()
	proxy.Set(proxy.Status(http.StatusServiceUnavailable, 1))
	start("outage")
	said := ""
	waitFor(t, time.Minute, "the job to be tried again", func() bool {
		events, err := s.api.JobEvents(context.Background(), "main", api.StepJobs, "outage", 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range events.Events {
			if e.State == "JOB_STATE_RE_QUEUEING" {
				said = e.Message
				return true
			}
		}
		return false
	})
	if !strings.Contains(said, "s3://faults/rows/") {
		t.Errorf("a job that waits for the store says %q", said)
	}
	proxy.Set(objstoretest.Fault{})
	s.finish("outage")
}

// replaced overwrites an object during a step, at the moment when it is read, with
// rows of the same length.
func replaced(t *testing.T, s *instance, proxy *objstoretest.Proxy, direct objstore.Bucket, was objstore.Info, start func(string)) {
	t.Helper()
	var once sync.Once
	proxy.Set(objstoretest.Fault{Answer: func(_ http.ResponseWriter, r *http.Request) bool {
		if objstoretest.IsRead(r) && strings.HasSuffix(r.URL.Path, was.Key) {
			once.Do(func() {
				body := bytes.Repeat([]byte("x"), int(was.Pin.Size))
				if _, err := direct.Replace(context.Background(), was.Key, was.Pin, bytes.NewReader(body), objstore.PutOptions{Size: was.Pin.Size}); err != nil {
					t.Error(err)
				}
			})
		}
		return false
	}})
	start("replaced")
	if m := failed(t, s, "replaced"); !strings.Contains(m, was.Key) {
		t.Errorf("a replaced object is not named: %s", m)
	}
}

// failed waits until a step FAILED and returns its message.
func failed(t *testing.T, s *instance, id string) string {
	t.Helper()
	waitFor(t, time.Minute, id+" to fail", func() bool {
		j := s.step(id)
		if j.State == "JOB_STATE_COMPLETED" {
			t.Fatalf("%s completed", id)
		}
		return j.State == "JOB_STATE_FAILED"
	})
	return s.step(id).Status.Message
}
