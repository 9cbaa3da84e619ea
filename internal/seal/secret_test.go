package seal

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

// TestSecretIsNeverShown prints a secret in every way at hand.
func TestSecretIsNeverShown(t *testing.T) {
	const planted = "planted-s3cr3t"
	s := NewSecret(planted)
	type outer struct {
		Public Secret
		hidden Secret
		ptr    *Secret
	}
	o := outer{s, s, &s}
	var log bytes.Buffer
	for _, h := range []slog.Handler{slog.NewTextHandler(&log, nil), slog.NewJSONHandler(&log, nil)} {
		slog.New(h).Info("x", "s", s, "ptr", &s, "outer", o, "list", []Secret{s})
	}
	shown := log.String()
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%10.3s"} {
		for _, v := range []any{s, &s, o, &o, []Secret{s}, map[string]Secret{"a": s}} {
			shown += fmt.Sprintf(verb, v)
		}
	}
	for _, v := range []any{s, o, map[Secret]int{s: 1}} {
		b, err := json.Marshal(v)
		if err != nil {
			t.Error(err)
		}
		shown += string(b)
	}
	shown += fmt.Sprint(fmt.Errorf("error with %w and %v", fmt.Errorf("%v", s), s))
	hex := fmt.Sprintf("%x", planted)
	if strings.Contains(shown, planted) || strings.Contains(strings.ToLower(shown), hex) {
		t.Errorf("shown: %s", shown)
	}
	if !strings.Contains(shown, redacted) || s.Reveal() != planted || s.Empty() {
		t.Error("the secret lost its value or its mark")
	}
}

func TestSecretFromJSON(t *testing.T) {
	var s Secret
	if err := json.Unmarshal([]byte(`"abc"`), &s); err != nil || s.Reveal() != "abc" {
		t.Error(s.Reveal(), err)
	}
	if err := json.Unmarshal([]byte(`{"k":"topsecret"}`), &s); err == nil || strings.Contains(err.Error(), "topsecret") {
		t.Error(err)
	}
	if !(Secret{}).Empty() || (Secret{}).Reveal() != "" {
		t.Error("the zero secret is not empty")
	}
}
