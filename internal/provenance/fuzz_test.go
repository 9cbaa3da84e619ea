package provenance_test

import (
	"bytes"
	"testing"

	"github.com/firekeep/firekeep/internal/provenance"
	"github.com/firekeep/firekeep/internal/rft"
)

// FuzzAttestation: whatever bytes stand for signature and provenance, parsers
// end with an error of theirs, and only the two that were signed together pass.
func FuzzAttestation(f *testing.F) {
	m := newModel(f)
	bundle, record := m.files[provenance.FileBundle], m.files[provenance.FileProvenance]
	f.Add(bundle, record)
	f.Add(record, bundle)
	f.Add([]byte(`{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json","verificationMaterial":{"publicKey":{"rawBytes":"AA=="}},"dsseEnvelope":{"payload":"e30=","payloadType":"application/vnd.in-toto+json","signatures":[{"sig":"AA==","keyid":null}]}}`),
		[]byte(`{"payload":"e30=","payloadType":"application/vnd.in-toto+json","signatures":[{"sig":"AA==","keyid":"x"}]}`))
	f.Add([]byte(`{"verificationMaterial":{"certificate":{}},"mediaType":"","dsseEnvelope":{}}`), []byte(`[]`))
	f.Fuzz(func(t *testing.T, b, r []byte) {
		for _, err := range []error{second(provenance.ParseBundle(b)), second(provenance.ParseRecord(r)), second(provenance.ParseEnvelope(r))} {
			if err != nil && rft.KindOf(err) != rft.KindDataLoss {
				t.Errorf("foreign error %v", err)
			}
		}
		if _, err := provenance.Check(b, r, m.keys()); err == nil && !(bytes.Equal(b, bundle) && bytes.Equal(r, record)) {
			// A bundle may be spelt differently only outside what is signed.
			p, _ := provenance.ParseBundle(b)
			if p == nil || p.Digest(provenance.FileProvenance) != provenance.Sum(record) || !bytes.Equal(r, record) {
				t.Errorf("a forged attestation verifies: %q", b)
			}
		}
	})
}

func second[T any](_ T, err error) error { return err }

// FuzzPolicy: a policy that parses can be written and read again as the same one.
func FuzzPolicy(f *testing.F) {
	f.Add([]byte(`{"requireSignature":true,"destinations":["s3://b/m/"],"requireApproval":true,"require":[{"metric":"rewardMean","min":0.5}]}`))
	f.Add([]byte(`{"destinations":[]}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		p, err := provenance.ParsePolicy(raw)
		if err != nil {
			if rft.KindOf(err) != rft.KindInvalidArgument {
				t.Errorf("foreign error %v", err)
			}
			return
		}
		if p.Destinations != nil && p.AllowDestination("s3://nowhere/else/") == nil && p.AllowDestination("gs://nowhere/else/") == nil {
			t.Errorf("%q allows everything", p.Destinations)
		}
	})
}
