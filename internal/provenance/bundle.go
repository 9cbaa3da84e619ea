package provenance

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/seal"
)

// Names of the statement types of in-toto and of OpenSSF Model Signing v1.
const (
	statementType     = "https://in-toto.io/Statement/v1"
	signaturePredType = "https://model_signing/signature/v1.0"
	bundleType        = "application/vnd.dev.sigstore.bundle.v0.3+json"
)

// Names of the files that stand beside a model.
const (
	FileBundle     = "model.sig"
	FileProvenance = "provenance.dsse.json"
	FileBOM        = "mlbom.cdx.json"
	FileKey        = "model.pub"     // a copy of the public key, for people; verifiers are given theirs
	FileExport     = "firekeep.json" // ends an export
)

// Bounds of a bundle.
const (
	maxBundleBytes = 32 << 20
	maxResources   = 100_000
	maxNameBytes   = 4096
	maxIgnored     = 1000
)

// alwaysIgnored are never part of a model.
var alwaysIgnored = []string{".git", ".gitattributes", ".github", ".gitignore"}

// Resource is one file of a signed model.
type Resource struct {
	Name   string `json:"name"`
	SHA256 string `json:"-"` // hex
}

// Bundle is what a model signature says, and who says it.
type Bundle struct {
	Model     string // the model's name; informational
	Resources []Resource
	Ignored   []string
	Hint      string // names the key: hex SHA-256 of its PEM form; "" in old bundles
	envelope  Envelope
}

// wireResource and the types after it are the JSON of the statement, in the
// order in which they are written.
type wireResource struct {
	Name      string `json:"name"`
	Algorithm string `json:"algorithm"`
	Digest    string `json:"digest"`
}

type wireSerialization struct {
	Method        string   `json:"method"`
	HashType      string   `json:"hash_type"`
	AllowSymlinks bool     `json:"allow_symlinks"`
	IgnorePaths   []string `json:"ignore_paths"`
}

type subject struct {
	Name   string            `json:"name"`
	Digest map[string]string `json:"digest"`
}

type signaturePredicate struct {
	Serialization wireSerialization `json:"serialization"`
	Resources     []wireResource    `json:"resources"`
}

type statement struct {
	Type          string    `json:"_type"`
	Subject       []subject `json:"subject"`
	PredicateType string    `json:"predicateType"`
	Predicate     any       `json:"predicate"`
}

type wireBundle struct {
	MediaType    string       `json:"mediaType"`
	Verification wireMaterial `json:"verificationMaterial"`
	Envelope     wireEnvelope `json:"dsseEnvelope"`
}

type wireMaterial struct {
	PublicKey struct {
		Hint string `json:"hint"`
	} `json:"publicKey"`
	TLogEntries []any `json:"tlogEntries"`
}

// SignModel returns the bundle over the files of a model.
func SignModel(k *seal.SigningKey, model string, files []Resource) ([]byte, error) {
	files = slices.Clone(files)
	slices.SortFunc(files, func(a, b Resource) int { return strings.Compare(a.Name, b.Name) })
	p := signaturePredicate{Serialization: wireSerialization{Method: "files", HashType: "sha256",
		IgnorePaths: append(slices.Clone(alwaysIgnored), FileExport, FileKey, FileBundle)}}
	root := sha256.New()
	for _, f := range files {
		raw, err := hex.DecodeString(f.SHA256)
		if err != nil || len(raw) != sha256.Size || !canonicalPath(f.Name) {
			return nil, rft.Errorf(rft.KindInternal, "the file %q cannot be signed", clip(f.Name))
		}
		root.Write(raw)
		p.Resources = append(p.Resources, wireResource{Name: f.Name, Algorithm: "sha256", Digest: f.SHA256})
	}
	payload, err := marshal(statement{Type: statementType, PredicateType: signaturePredType, Predicate: p,
		Subject: []subject{{Name: model, Digest: map[string]string{"sha256": hex.EncodeToString(root.Sum(nil))}}}})
	if err != nil {
		return nil, err
	}
	e, err := Sign(k, payload)
	if err != nil {
		return nil, err
	}
	w := wireBundle{MediaType: bundleType, Envelope: e.wire("")}
	w.Verification.PublicKey.Hint, w.Verification.TLogEntries = e.KeyID, []any{}
	return marshal(w)
}

// ErrMethod says that a bundle was signed with a certificate, which this
// program does not check.
var ErrMethod = errors.New("provenance: signed with a certificate")

// ParseBundle reads a bundle. It checks the form and that the statement is
// consistent in itself; Verify checks the signature. Bundles that were signed
// with a certificate and not with a key have ErrMethod as their cause.
func ParseBundle(raw []byte) (*Bundle, error) {
	if len(raw) > maxBundleBytes {
		return nil, malformed("model signature", fmt.Errorf("longer than %d bytes", maxBundleBytes))
	}
	m, err := members(raw, "mediaType", "verificationMaterial", "dsseEnvelope")
	if err != nil {
		return nil, malformed("model signature", err)
	}
	b := &Bundle{}
	if err := b.parse(m); err != nil {
		return nil, malformed("model signature", err)
	}
	return b, nil
}

func (b *Bundle) parse(m map[string]json.RawMessage) error {
	if kind, err := text(m["mediaType"], 256); err != nil || kind != bundleType {
		return fmt.Errorf("mediaType is not %s", bundleType)
	}
	if err := b.parseMaterial(m["verificationMaterial"]); err != nil {
		return err
	}
	e, err := members(m["dsseEnvelope"], "payload", "payloadType", "signatures")
	if err != nil {
		return err
	}
	if b.envelope, err = parseEnvelope(e); err != nil {
		return err
	}
	return b.parseStatement(b.envelope.Payload)
}

// parseMaterial finds the hint of the key. Entries of a transparency log and
// time stamps belong to the other methods.
func (b *Bundle) parseMaterial(raw json.RawMessage) error {
	m, err := members(raw, "publicKey?", "tlogEntries?", "certificate?", "x509CertificateChain?", "timestampVerificationData?")
	if err != nil {
		return err
	}
	key, ok := m["publicKey"]
	if !ok {
		if m["certificate"] != nil || m["x509CertificateChain"] != nil {
			return ErrMethod
		}
		return errors.New("it names no key")
	}
	for _, other := range []string{"certificate", "x509CertificateChain", "timestampVerificationData"} {
		if m[other] != nil {
			return fmt.Errorf("it has a key and %s", other)
		}
	}
	if entries, ok := m["tlogEntries"]; ok {
		var list []json.RawMessage
		if err := json.Unmarshal(entries, &list); err != nil || len(list) != 0 || string(entries) == "null" {
			return errors.New("tlogEntries is not an empty list")
		}
	}
	k, err := members(key, "hint?", "rawBytes?", "keyDetails?")
	if err != nil {
		return err
	}
	if hint, ok := k["hint"]; ok {
		b.Hint, err = text(hint, maxKeyID)
	}
	return err
}

// foreignStatement is the statement as others write it: unknown members of
// predicate and resources are allowed by the specification, and are signed.
type foreignStatement struct {
	Type          string    `json:"_type"`
	Subject       []subject `json:"subject"`
	PredicateType string    `json:"predicateType"`
	Predicate     struct {
		Serialization struct {
			Method        string   `json:"method"`
			HashType      string   `json:"hash_type"`
			AllowSymlinks bool     `json:"allow_symlinks"`
			IgnorePaths   []string `json:"ignore_paths"`
		} `json:"serialization"`
		Resources []wireResource `json:"resources"`
	} `json:"predicate"`
}

func (b *Bundle) parseStatement(payload []byte) error {
	var s foreignStatement
	if err := json.Unmarshal(payload, &s); err != nil {
		return errors.New("its statement is not JSON of the expected shape")
	}
	p := s.Predicate
	switch {
	case s.Type != statementType:
		return fmt.Errorf("its statement is not a %s", statementType)
	case s.PredicateType != signaturePredType:
		return fmt.Errorf("its statement is not a %s", signaturePredType)
	case len(s.Subject) != 1:
		return errors.New("its statement must have one subject")
	case p.Serialization.Method != "files" || p.Serialization.HashType != "sha256":
		return fmt.Errorf("its serialization %q of %q is not supported; sign with method files and sha256", clip(p.Serialization.Method), clip(p.Serialization.HashType))
	case p.Serialization.AllowSymlinks:
		return errors.New("it was made by following symbolic links")
	case len(p.Resources) == 0 || len(p.Resources) > maxResources || len(p.Serialization.IgnorePaths) > maxIgnored:
		return errors.New("it lists no files, or too many")
	}
	b.Model, b.Ignored = s.Subject[0].Name, p.Serialization.IgnorePaths
	root, seen := sha256.New(), make(map[string]bool, len(p.Resources))
	for i, r := range p.Resources {
		raw, err := hex.DecodeString(r.Digest)
		if err != nil || len(raw) != sha256.Size || r.Algorithm != "sha256" || hex.EncodeToString(raw) != r.Digest {
			return fmt.Errorf("resource %d has no SHA-256 digest", i)
		}
		if !canonicalPath(r.Name) {
			return fmt.Errorf("resource %d has a path that leaves the model or is not canonical", i)
		}
		if seen[r.Name] {
			return fmt.Errorf("resource %d is named twice", i)
		}
		seen[r.Name] = true
		root.Write(raw)
		b.Resources = append(b.Resources, Resource{Name: r.Name, SHA256: r.Digest})
	}
	if got := hex.EncodeToString(root.Sum(nil)); s.Subject[0].Digest["sha256"] != got {
		return errors.New("its root digest is not that of its resources")
	}
	return nil
}

// canonicalPath accepts relative paths in one spelling.
func canonicalPath(name string) bool {
	return name != "" && len(name) <= maxNameBytes && utf8.ValidString(name) && !strings.HasPrefix(name, "/") &&
		path.Clean(name) == name && name != "." && name != ".." && !strings.HasPrefix(name, "../") && !strings.ContainsRune(name, 0)
}

// Verify reports by which of the keys the bundle is signed.
func (b *Bundle) Verify(keys []seal.VerifyingKey) (seal.VerifyingKey, error) {
	for _, k := range keys {
		if b.Hint != "" && b.Hint != k.ID() {
			continue
		}
		if b.envelope.Verify(k) {
			return k, nil
		}
		if b.Hint != "" {
			return k, rft.Errorf(rft.KindDataLoss, "the model signature does not verify: it or the statement that it signs was changed")
		}
	}
	if b.Hint == "" {
		return seal.VerifyingKey{}, rft.Errorf(rft.KindDataLoss, "the model signature does not verify with any trusted key")
	}
	return seal.VerifyingKey{}, rft.Errorf(rft.KindDataLoss, "the model is signed with the key %s, which is not trusted here", short(b.Hint))
}

// short shows enough of a key's id to compare it.
func short(id string) string { return strconv.QuoteToASCII(id[:min(16, len(id))]) }

// Digest returns the signed digest of a file in hex, "" when it is not part of
// the model.
func (b *Bundle) Digest(name string) string {
	for _, r := range b.Resources {
		if r.Name == name {
			return r.SHA256
		}
	}
	return ""
}

// ignores reports whether a path of a directory lies outside the signature.
func (b *Bundle) ignores(name string) bool {
	under := func(list []string) bool {
		return slices.ContainsFunc(list, func(p string) bool { return name == p || strings.HasPrefix(name, p+"/") })
	}
	return under(alwaysIgnored) || under(b.Ignored) || name == FileBundle
}

// IsOtherMethod reports whether ParseBundle met a bundle that was signed with a
// certificate.
func IsOtherMethod(err error) bool { return errors.Is(err, ErrMethod) }
