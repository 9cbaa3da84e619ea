// Package seal is the only home of ciphers: API keys and their hashes, random
// ids, envelope encryption of connection secrets, and streaming encryption of
// artefacts under a keyset of their own. It knows nothing of the rest of
// Firekeep; callers give its errors a kind.
package seal

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
)

const redacted = "[redacted]"

// Secret is a value that must not be seen. It prints, logs and marshals as
// "[redacted]"; Reveal is the only way to its text, and is easy to search for.
// The text is behind a pointer, so that printing a struct that keeps a Secret
// in an unexported field (where fmt calls no methods) shows an address.
type Secret struct{ text *string }

// NewSecret hides s.
func NewSecret(s string) Secret { return Secret{text: &s} }

// Reveal returns the hidden text. The caller keeps it out of logs, errors,
// command lines and URLs.
func (s Secret) Reveal() string {
	if s.text == nil {
		return ""
	}
	return *s.text
}

// Empty reports whether there is nothing to hide.
func (s Secret) Empty() bool { return s.text == nil || *s.text == "" }

func (s Secret) String() string { return redacted }

// GoString serves %#v.
func (s Secret) GoString() string { return redacted }

// Format serves every verb of fmt, %x and %d included.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// LogValue serves slog.
func (s Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText serves encoders: a secret never leaves through one.
func (s Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// MarshalJSON serves encoding/json.
func (s Secret) MarshalJSON() ([]byte, error) { return json.Marshal(redacted) }

// UnmarshalJSON reads a secret from a request.
func (s *Secret) UnmarshalJSON(b []byte) error {
	var text string
	if err := json.Unmarshal(b, &text); err != nil {
		return fmt.Errorf("seal: a secret must be a JSON string")
	}
	*s = NewSecret(text)
	return nil
}
