package rft

import (
	"errors"
	"fmt"
	"io"
	"testing"
)

func TestParseName(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"d1", "accounts/acme/datasets/d1"},
		{"accounts/other/datasets/d1", "accounts/other/datasets/d1"},
		{"accounts/acme/models/d1", ""}, {"accounts/acme/datasets/", ""}, {"a/b", ""}, {"", ""},
		{"UPPER", ""}, {"-x", ""}, {"x-", ""}, {"accounts/../datasets/d1", ""}, {"0a1b2c3d-aaaa", "accounts/acme/datasets/0a1b2c3d-aaaa"},
	} {
		n, err := ParseName("dataset", c.in, "acme", Datasets)
		got := ""
		if err == nil {
			got = n.String()
		} else if KindOf(err) != KindInvalidArgument {
			t.Errorf("ParseName(%q) is %s, want INVALID_ARGUMENT", c.in, KindOf(err))
		}
		if got != c.want {
			t.Errorf("ParseName(%q) = %q, want %q", c.in, got, c.want)
		}
	}
}

func TestTransitions(t *testing.T) {
	reached := map[JobState]bool{StatePending: true}
	for range States() {
		for _, from := range States() {
			for _, to := range States() {
				if reached[from] && from.CanBecome(to) {
					reached[to] = true
				}
			}
		}
	}
	for _, s := range States() {
		if !reached[s] {
			t.Errorf("%s cannot be reached", s)
		}
		if s.CanBecome(s) {
			t.Errorf("%s may become itself", s)
		}
		for _, next := range States() {
			if s.Terminal() && s.CanBecome(next) && next != StateDeleted && !(s.Resumable() && next == StateRequeueing) {
				t.Errorf("terminal %s may become %s", s, next)
			}
		}
		if !s.Terminal() && !s.CanBecome(StateCancelled) {
			t.Errorf("%s cannot be cancelled", s)
		}
	}
}

func TestErrorVocabulary(t *testing.T) {
	secret := errors.New("password=hunter2")
	err := fmt.Errorf("open: %w", Wrap(KindUnavailable, secret, "the bucket did not answer"))
	if KindOf(err) != KindUnavailable || !errors.Is(err, secret) {
		t.Errorf("kind %s, is cause %v", KindOf(err), errors.Is(err, secret))
	}
	if got := PublicMessage(err); got != "the bucket did not answer" {
		t.Errorf("public message %q", got)
	}
	if KindOf(io.EOF) != KindUnknown || PublicMessage(io.EOF) != "internal error" || KindOf(nil) != "" {
		t.Error("a foreign error is UNKNOWN and says nothing")
	}
	for kind, want := range map[Kind]int{KindNotFound: 404, KindAlreadyExists: 409, KindAborted: 409, KindResourceExhausted: 429, "NO_SUCH": 500} {
		if kind.HTTPStatus() != want {
			t.Errorf("%s is HTTP %d, want %d", kind, kind.HTTPStatus(), want)
		}
	}
}
