package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/firekeep/firekeep/api"
	"github.com/firekeep/firekeep/internal/objstore"
	"github.com/firekeep/firekeep/internal/objstore/objstoretest"
)

// TestBatchOfAdapterInS3: rows in a real S3 bucket are answered by a LoRA into the
// same bucket, each as a chat with that LoRA answers it, and not as the base does.
func TestBatchOfAdapterInS3(t *testing.T) {
	store := objstoretest.VersityGW(t)
	bucket := store.Open(store.Bucket("asked"))
	s := newInstance(t, func(s *instance) {
		s.config["s3"] = map[string]any{"endpoint": store.Endpoint, "pathStyle": true, "allowLoopback": true}
	})
	s.importTiny()
	ctx := context.Background()
	var secret map[string]any
	if err := json.Unmarshal([]byte(store.Secret().Reveal()), &secret); err != nil {
		t.Fatal(err)
	}
	if _, err := s.api.CreateConnection(ctx, "main", "asked", &api.Connection{URL: "s3://asked/in/", Secret: secret}); err != nil {
		t.Fatal(err)
	}
	put := func(key, text string) {
		t.Helper()
		if _, err := bucket.Create(ctx, key, strings.NewReader(text), objstore.PutOptions{Size: int64(len(text))}); err != nil {
			t.Fatal(err)
		}
	}
	put("in/rows/rows.jsonl", strings.Join(rows(12, 4, "hello"), "\n")+"\n")
	s.cli("dataset", "create", "rows", "--from", "s3://asked/in/rows/", "--wait")
	s.cli("step", "create", "--id", "lora", "-d", "rows", "-m", tinyBase, "-o", "lora", "--lora-rank", "4", "--learning-rate", "0.05", "--epochs", "2", "--wait")
	const n = 5
	var asked strings.Builder
	for i := range n {
		fmt.Fprintf(&asked, `{"custom_id":"q-%d","body":{"messages":[{"role":"user","content":"Say hello %d"}],"temperature":0,"max_tokens":6}}`+"\n", i, i)
	}
	put("in/asked/requests.jsonl", asked.String())
	s.cli("dataset", "create", "requests", "--from", "s3://asked/in/asked/requests.jsonl", "--format", "BATCH", "--wait")
	if _, err := s.api.CreateBatchJob(ctx, "main", "ask", &api.BatchInferenceJob{InputDatasetID: "requests", Model: "accounts/main/models/lora"}); err != nil {
		t.Fatal(err)
	}
	waitFor(t, time.Minute, "the batch", func() bool {
		j, err := s.api.GetBatchJob(ctx, "main", "ask")
		if err != nil || j.State == "JOB_STATE_FAILED" {
			t.Fatalf("%+v, %v", j, err)
		}
		return j.State == "JOB_STATE_COMPLETED"
	})
	var out []byte
	if err := bucket.List(ctx, "in/asked/ask-output/", "", func(i objstore.Info) error {
		if !strings.Contains(i.Key, "/results-") {
			return nil
		}
		r, err := bucket.Open(ctx, i.Key, i.Pin, 0, -1)
		if err != nil {
			return err
		}
		defer r.Close()
		out, err = io.ReadAll(r)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	lines := bytes.Split(bytes.TrimSpace(out), []byte("\n"))
	if len(lines) != n {
		t.Fatalf("%d answers in the bucket:\n%s", len(lines), out)
	}
	other := 0
	for i, line := range lines {
		var a struct {
			CustomID string `json:"custom_id"`
			Response api.Completion
		}
		if err := json.Unmarshal(line, &a); err != nil || a.CustomID != fmt.Sprintf("q-%d", i) {
			t.Fatalf("%s: %v", line, err)
		}
		chat := func(model string) string {
			t.Helper()
			c, err := s.api.Chat(ctx, &api.CompletionRequest{Model: model, MaxTokens: new(6), Temperature: new(0.0), Messages: []api.Message{{Role: "user", Content: api.Text(fmt.Sprintf("Say hello %d", i))}}})
			if err != nil {
				t.Fatal(err)
			}
			return c.Choices[0].Message.Content
		}
		said := a.Response.Choices[0].Message.Content
		if want := chat("accounts/main/models/lora"); said != want {
			t.Errorf("%s: the batch says %q, a chat %q", a.CustomID, said, want)
		}
		if said != chat(tinyBase) {
			other++
		}
	}
	if other == 0 {
		t.Error("every answer is the base's")
	}
	s.fsck()
}
