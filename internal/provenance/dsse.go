// Package provenance makes and checks the signed statements about models: an
// OpenSSF Model Signing bundle over the files of a model, and beside it how the
// model came to be (SLSA provenance in a DSSE envelope) and what it is made of
// (a CycloneDX ML-BOM), both covered by the bundle.
//
// Everything here that reads foreign bytes is bounded and strict: exact member
// names, no unknown and no repeated members, canonical base64. What has two
// spellings has one here but for white space between tokens, so that no byte of a
// signed thing can be another one.
package provenance

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/seal"
)

// PayloadType is that of every statement.
const PayloadType = "application/vnd.in-toto+json"

// Bounds of what is parsed.
const (
	maxEnvelopeBytes = 64 << 20
	maxSignature     = 256
	maxKeyID         = 256
)

// Envelope is a DSSE envelope with one signature.
type Envelope struct {
	Payload   []byte
	KeyID     string
	Signature []byte
}

// PAE is what a DSSE signature is over.
func PAE(payload []byte) []byte {
	head := "DSSEv1 " + strconv.Itoa(len(PayloadType)) + " " + PayloadType + " " + strconv.Itoa(len(payload)) + " "
	return append([]byte(head), payload...)
}

// Sign wraps a statement.
func Sign(k *seal.SigningKey, payload []byte) (Envelope, error) {
	sig, err := k.Sign(PAE(payload))
	if err != nil {
		return Envelope{}, rft.Wrap(rft.KindInternal, err, "the statement cannot be signed")
	}
	return Envelope{Payload: payload, KeyID: k.Public().ID(), Signature: sig}, nil
}

// Verify holds the signature against the key.
func (e Envelope) Verify(k seal.VerifyingKey) bool { return k.Verify(PAE(e.Payload), e.Signature) }

// wireEnvelope is the envelope's JSON.
type wireEnvelope struct {
	Payload     string          `json:"payload"`
	PayloadType string          `json:"payloadType"`
	Signatures  []wireSignature `json:"signatures"`
}

type wireSignature struct {
	Sig   string `json:"sig"`
	KeyID string `json:"keyid,omitempty"`
}

func (e Envelope) wire(keyID string) wireEnvelope {
	return wireEnvelope{Payload: base64.StdEncoding.EncodeToString(e.Payload), PayloadType: PayloadType,
		Signatures: []wireSignature{{Sig: base64.StdEncoding.EncodeToString(e.Signature), KeyID: keyID}}}
}

// JSON is the envelope as a file.
func (e Envelope) JSON() ([]byte, error) { return marshal(e.wire(e.KeyID)) }

// ParseEnvelope reads an envelope. It checks its form, not its signature.
func ParseEnvelope(raw []byte) (Envelope, error) {
	m, err := members(raw, "payload", "payloadType", "signatures")
	if err != nil {
		return Envelope{}, malformed("envelope", err)
	}
	e, err := parseEnvelope(m)
	if err != nil {
		return Envelope{}, malformed("envelope", err)
	}
	return e, nil
}

func parseEnvelope(m map[string]json.RawMessage) (e Envelope, err error) {
	kind, err := text(m["payloadType"], 256)
	if err != nil || kind != PayloadType {
		return e, fmt.Errorf("payloadType is not %s", PayloadType)
	}
	if e.Payload, err = binary(m["payload"], maxEnvelopeBytes); err != nil || len(e.Payload) == 0 {
		return e, errors.New("payload is not base64")
	}
	var list []json.RawMessage
	if err := json.Unmarshal(m["signatures"], &list); err != nil || len(list) != 1 {
		return e, errors.New("there must be exactly one signature")
	}
	s, err := members(list[0], "sig", "keyid?")
	if err != nil {
		return e, err
	}
	if e.Signature, err = binary(s["sig"], maxSignature); err != nil || len(e.Signature) == 0 {
		return e, errors.New("sig is not base64")
	}
	if k, ok := s["keyid"]; ok && string(k) != "null" {
		if e.KeyID, err = text(k, maxKeyID); err != nil {
			return e, errors.New("keyid is not a string")
		}
	}
	return e, nil
}

// malformed is the one error of parsers.
func malformed(what string, cause error) error {
	return rft.Wrap(rft.KindDataLoss, cause, "the %s is not well-formed: %s", what, cause)
}

// members reads a JSON object and holds its member names against the known
// ones; those that end in '?' may be absent. Package json alone would take
// other cases of a name, repeated names and unknown ones.
func members(raw []byte, known ...string) (map[string]json.RawMessage, error) {
	if len(raw) > maxEnvelopeBytes {
		return nil, fmt.Errorf("longer than %d bytes", maxEnvelopeBytes)
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return nil, errors.New("not a JSON object")
	}
	out := map[string]json.RawMessage{}
	for dec.More() {
		t, err := dec.Token()
		name, ok := t.(string)
		if err != nil || !ok {
			return nil, errors.New("not a JSON object")
		}
		if _, repeated := out[name]; repeated || !expected(name, known) {
			return nil, fmt.Errorf("member %q is unknown or repeated", clip(name))
		}
		var v json.RawMessage
		if err := dec.Decode(&v); err != nil {
			return nil, errors.New("not valid JSON")
		}
		out[name] = v
	}
	if _, err := dec.Token(); err != nil {
		return nil, errors.New("not a JSON object")
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, errors.New("something follows the JSON object")
	}
	for _, k := range known {
		if _, ok := out[k]; !ok && k[len(k)-1] != '?' {
			return nil, fmt.Errorf("member %q is missing", k)
		}
	}
	return out, nil
}

func expected(name string, known []string) bool {
	for _, k := range known {
		if k == name || k == name+"?" {
			return true
		}
	}
	return false
}

func clip(s string) string { return s[:min(len(s), 40)] }

// text reads a JSON string of at most limit bytes.
func text(raw json.RawMessage, limit int) (string, error) {
	var s *string
	if err := json.Unmarshal(raw, &s); err != nil || s == nil || len(*s) > limit {
		return "", errors.New("not a string of the expected length")
	}
	return *s, nil
}

// binary reads a JSON string of canonical base64.
func binary(raw json.RawMessage, limit int) ([]byte, error) {
	s, err := text(raw, base64.StdEncoding.EncodedLen(limit))
	if err != nil {
		return nil, err
	}
	b, err := base64.StdEncoding.DecodeString(s)
	// The decoder passes over line breaks and loose bits at the end.
	if err != nil || base64.StdEncoding.EncodeToString(b) != s {
		return nil, errors.New("not canonical base64")
	}
	return b, nil
}

// marshal is JSON without the escapes that HTML needs, compact and in the order
// of fields.
func marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, rft.Wrap(rft.KindInternal, err, "a statement cannot be written")
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}
