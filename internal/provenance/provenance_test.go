package provenance_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/secure-systems-lab/go-securesystemslib/dsse"

	"github.com/firekeep/firekeep/internal/provenance"
	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/seal"
)

// model is a signed directory, as an export writes it.
type model struct {
	dir   string
	key   *seal.SigningKey
	files map[string][]byte
}

func (m model) keys() []seal.VerifyingKey { return []seal.VerifyingKey{m.key.Public()} }

func newKey(t testing.TB) *seal.SigningKey {
	t.Helper()
	k, err := seal.NewSigningKey()
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func record(files map[string][]byte) provenance.Record {
	r := provenance.Record{BuildType: provenance.BuildStep, External: map[string]any{"loss": "GRPO"}, Internal: map[string]string{"kernelLevel": "avx2"},
		Builder: provenance.Builder("process"), Versions: map[string]string{"firekeep": "test"}, Invocation: "accounts/main/rlorTrainerJobs/j1",
		Started: time.Unix(1_700_000_000, 0), Ended: time.Unix(1_700_000_060, 0), MetricsSHA256: provenance.Sum([]byte("metrics")),
		Metrics: map[string]float64{"rewardMean": 0.75, "loss": -0.5}, AuditIndex: 41, Model: "accounts/main/models/m1", ModelUID: "uid1", ManifestDigest: "sha256:" + provenance.Sum(nil),
		Dependencies: []provenance.Dependency{{Name: provenance.RoleBase, URI: "accounts/main/models/base", SHA256: "sha256:" + provenance.Sum([]byte("base"))},
			{Name: provenance.RoleDataset, URI: "accounts/main/datasets/d", SHA256: provenance.Sum([]byte("index"))},
			{Name: provenance.RoleObject, URI: "s3://bucket/rows.jsonl", SHA256: provenance.Sum([]byte("rows")), Annotations: map[string]string{"version": "7"}}}}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		r.Subjects = append(r.Subjects, provenance.Resource{Name: name, SHA256: provenance.Sum(files[name])})
	}
	return r
}

func newModel(t testing.TB) model {
	t.Helper()
	m := model{dir: filepath.Join(t.TempDir(), "m1"), key: newKey(t), files: map[string][]byte{
		"adapter_config.json": []byte(`{"peft_type":"LORA"}`), "adapter_model.safetensors": bytes.Repeat([]byte("weights "), 64)}}
	r := record(m.files)
	leaves := r.Subjects
	r.Subjects = append(r.Subjects, provenance.Resource{Name: "optimizer.safetensors", SHA256: provenance.Sum([]byte("moments"))})
	a, err := provenance.Attest(m.key, "m1", leaves, r, provenance.BOM{Name: "m1", Version: "sha256:1", Family: "llama", Trained: true})
	if err != nil {
		t.Fatal(err)
	}
	m.files[provenance.FileBundle], m.files[provenance.FileProvenance], m.files[provenance.FileBOM] = a.Bundle, a.Provenance, a.BOM
	m.files[provenance.FileKey], m.files[provenance.FileExport] = []byte(m.key.Public().PEM()), []byte("{}")
	m.write(t)
	return m
}

func (m model) write(t testing.TB) {
	t.Helper()
	if err := os.MkdirAll(m.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, data := range m.files {
		if err := os.WriteFile(filepath.Join(m.dir, name), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func TestVerifyDirectory(t *testing.T) {
	m := newModel(t)
	c, err := provenance.VerifyDirectory(m.dir, m.keys())
	if err != nil {
		t.Fatal(err)
	}
	if c.Bundle.Model != "m1" || c.Record.Metrics["rewardMean"] != 0.75 || c.Record.AuditIndex != 41 || c.Record.ModelUID != "uid1" || c.Record.Model != "accounts/main/models/m1" {
		t.Errorf("%+v", c.Record)
	}
	if c.Digest("optimizer.safetensors") != provenance.Sum([]byte("moments")) {
		t.Error("the provenance does not speak of what is never exported")
	}
	if d, ok := c.Record.Named(provenance.RoleObject); !ok || d.Annotations["version"] != "7" {
		t.Errorf("%+v", d)
	}
	for name, change := range map[string]func(){
		"extra file":        func() { m.put(t, "evil.py", "import os") },
		"missing file":      func() { m.remove(t, "adapter_config.json") },
		"missing bundle":    func() { m.remove(t, provenance.FileBundle) },
		"missing record":    func() { m.remove(t, provenance.FileProvenance) },
		"missing bill":      func() { m.remove(t, provenance.FileBOM) },
		"changed weights":   func() { m.put(t, "adapter_model.safetensors", "other") },
		"another's bundle":  func() { m.put(t, provenance.FileBundle, string(newModel(t).files[provenance.FileBundle])) },
		"another's record":  func() { m.put(t, provenance.FileProvenance, string(newModel(t).files[provenance.FileProvenance])) },
		"file in directory": func() { m.put(t, "sub/x", "y") },
		"link":              func() { m.link(t, "adapter_config.json", "/etc/hostname") },
	} {
		m.reset(t)
		change()
		_, err := provenance.VerifyDirectory(m.dir, m.keys())
		if k := rft.KindOf(err); k != rft.KindDataLoss && k != rft.KindFailedPrecondition && k != rft.KindUnavailable {
			t.Errorf("%s: %v", name, err)
		}
	}
	m.reset(t)
	if _, err := provenance.VerifyDirectory(m.dir, []seal.VerifyingKey{newKey(t).Public()}); rft.KindOf(err) != rft.KindDataLoss || !strings.Contains(err.Error(), "not trusted") {
		t.Errorf("a wrong key: %v", err)
	}
	if _, err := provenance.VerifyDirectory(m.dir, nil); err == nil {
		t.Error("no key verifies")
	}
}

func (m model) put(t *testing.T, name, text string) {
	t.Helper()
	path := filepath.Join(m.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func (m model) remove(t *testing.T, name string) {
	t.Helper()
	if err := os.Remove(filepath.Join(m.dir, name)); err != nil {
		t.Fatal(err)
	}
}

func (m model) link(t *testing.T, name, to string) {
	t.Helper()
	m.remove(t, name)
	if err := os.Symlink(to, filepath.Join(m.dir, name)); err != nil {
		t.Fatal(err)
	}
}

func (m model) reset(t *testing.T) {
	t.Helper()
	if err := os.RemoveAll(m.dir); err != nil {
		t.Fatal(err)
	}
	m.write(t)
}

// TestEveryByteCounts replaces each byte of the signature, the provenance, the
// bill of materials and the adapter by others; nothing of it verifies any more.
func TestEveryByteCounts(t *testing.T) {
	m := newModel(t)
	good, err := provenance.Check(m.files[provenance.FileBundle], m.files[provenance.FileProvenance], m.keys())
	if err != nil {
		t.Fatal(err)
	}
	check := func(name string, data []byte) (err error) {
		switch name {
		case provenance.FileBundle:
			_, err = provenance.Check(data, m.files[provenance.FileProvenance], m.keys())
		case provenance.FileProvenance:
			_, err = provenance.Check(m.files[provenance.FileBundle], data, m.keys())
		default:
			if good.Digest(name) != provenance.Sum(data) {
				err = errors.New("another digest")
			}
		}
		return err
	}
	tried := 0
	for _, name := range []string{provenance.FileBundle, provenance.FileProvenance, provenance.FileBOM, "adapter_config.json", "adapter_model.safetensors"} {
		data := m.files[name]
		for i := range data {
			for _, c := range []byte{data[i] ^ 1, data[i] ^ 0x20} { // the second is the other case of a letter
				changed := bytes.Clone(data)
				changed[i] = c
				tried++
				if check(name, changed) == nil {
					t.Errorf("%s: byte %d, %q instead of %q, verifies", name, i, c, data[i])
				}
			}
		}
		for _, changed := range [][]byte{data[:len(data)-1], data[1:], append(bytes.Clone(data), 'x'), append(bytes.Clone(data), data...), nil} {
			if check(name, changed) == nil {
				t.Errorf("%s of %d instead of %d bytes verifies", name, len(changed), len(data))
			}
		}
	}
	if tried < 10_000 {
		t.Errorf("only %d changes were tried", tried)
	}
}

// TestStrictForm: what other parsers would pass over is refused.
func TestStrictForm(t *testing.T) {
	m := newModel(t)
	good := string(m.files[provenance.FileBundle])
	replace := func(old, new string) string {
		t.Helper()
		if strings.Count(good, old) != 1 {
			t.Fatalf("%q is in the bundle %d times", old, strings.Count(good, old))
		}
		return strings.Replace(good, old, new, 1)
	}
	for name, bad := range map[string]string{
		"case of a member":    replace(`"payload":`, `"Payload":`),
		"unknown member":      replace(`{"mediaType"`, `{"x":1,"mediaType"`),
		"repeated member":     replace(`{"mediaType"`, `{"mediaType":"x","mediaType"`),
		"repeated payload":    replace(`"payload":`, `"payload":"e30=","payload":`),
		"two signatures":      replace(`"signatures":[`, `"signatures":[{"sig":"AAAA"},`),
		"no signature":        good[:strings.Index(good, `"signatures":`)] + `"signatures":[]}}`,
		"certificate beside":  replace(`"publicKey":`, `"certificate":{},"publicKey":`),
		"log entry":           replace(`"tlogEntries":[]`, `"tlogEntries":[{}]`),
		"base64 line break":   replace(`"payload":"`, `"payload":"\n`),
		"base64 of the URL":   strings.NewReplacer("+", "-", "/", "_").Replace(good),
		"another media type":  replace("bundle.v0.3+json", "bundle.v0.4+json"),
		"another type within": replace("application/vnd.in-toto+json", "application/vnd.in-toto2+json"),
	} {
		if bad == good {
			continue // the signature happens to hold neither + nor /
		}
		if _, err := provenance.Check([]byte(bad), m.files[provenance.FileProvenance], m.keys()); rft.KindOf(err) != rft.KindDataLoss {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestStatementForm: a signed statement that lies about itself is refused.
func TestStatementForm(t *testing.T) {
	k := newKey(t)
	ok := func(name string) []provenance.Resource {
		return []provenance.Resource{{Name: name, SHA256: provenance.Sum(nil)}}
	}
	for _, name := range []string{"../x", "/x", "a/../b", "./a", "a//b", "a/", "", ".", "..", "a\x00b", "\xff"} {
		if _, err := provenance.SignModel(k, "m", ok(name)); err == nil {
			t.Errorf("%q is signed", name)
		}
	}
	if _, err := provenance.SignModel(k, "m", ok("..x/a b/é")); err != nil {
		t.Error(err)
	}
	sum := provenance.Sum(nil)
	root := func(n int) string { return provenance.Sum(bytes.Repeat(unhex(sum), n)) }
	one := `{"name":"a","algorithm":"sha256","digest":"` + sum + `"}`
	body := func(subject, serialization, resources string) string {
		return `{"_type":"https://in-toto.io/Statement/v1","subject":[{"name":"m","digest":{"sha256":"` + subject + `"}}],"predicateType":"https://model_signing/signature/v1.0","predicate":{"serialization":` +
			serialization + `,"resources":[` + resources + `]}}`
	}
	const files = `{"method":"files","hash_type":"sha256","allow_symlinks":false}`
	if _, err := provenance.ParseBundle(wrap(t, k, body(root(1), files, one))); err != nil {
		t.Fatal(err)
	}
	for name, bad := range map[string]string{
		"wrong root":    body(root(2), files, one),
		"named twice":   body(root(2), files, one+","+one),
		"no resources":  body(root(0), files, ""),
		"shards":        body(root(1), `{"method":"shards","shard_size":1,"hash_type":"sha256","allow_symlinks":false}`, one),
		"other hash":    body(root(1), `{"method":"files","hash_type":"blake3","allow_symlinks":false}`, one),
		"links":         body(root(1), `{"method":"files","hash_type":"sha256","allow_symlinks":true}`, one),
		"leaves":        body(root(1), files, strings.Replace(one, `"a"`, `"../a"`, 1)),
		"upper case":    body(root(1), files, strings.Replace(one, sum, strings.ToUpper(sum), 1)),
		"not a model's": strings.Replace(body(root(1), files, one), "model_signing/signature", "slsa.dev/provenance", 1),
	} {
		if _, err := provenance.ParseBundle(wrap(t, k, bad)); rft.KindOf(err) != rft.KindDataLoss {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func unhex(s string) []byte {
	out := make([]byte, len(s)/2)
	for i := range out {
		out[i] = byte(strings.IndexByte("0123456789abcdef", s[2*i])<<4 | strings.IndexByte("0123456789abcdef", s[2*i+1]))
	}
	return out
}

// wrap signs any text as the payload of a bundle.
func wrap(t *testing.T, k *seal.SigningKey, payload string) []byte {
	t.Helper()
	e, err := provenance.Sign(k, []byte(payload))
	if err != nil {
		t.Fatal(err)
	}
	b64 := base64.StdEncoding.EncodeToString
	return []byte(`{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json","verificationMaterial":{"publicKey":{"hint":"` + k.Public().ID() + `"}},"dsseEnvelope":{"payload":"` +
		b64(e.Payload) + `","payloadType":"application/vnd.in-toto+json","signatures":[{"sig":"` + b64(e.Signature) + `"}]}}`)
}

func TestCertificateMethod(t *testing.T) {
	raw := `{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json","verificationMaterial":{"certificate":{"rawBytes":"AA=="},"tlogEntries":[]},"dsseEnvelope":{}}`
	if _, err := provenance.ParseBundle([]byte(raw)); !provenance.IsOtherMethod(err) {
		t.Errorf("%v", err)
	}
	if _, err := provenance.ParseBundle([]byte(strings.Replace(raw, "certificate", "publicKey", 1))); provenance.IsOtherMethod(err) || err == nil {
		t.Errorf("%v", err)
	}
}

// TestEnvelopeElsewhere: an implementation of DSSE that is not ours verifies the
// provenance, with the same key and no other.
func TestEnvelopeElsewhere(t *testing.T) {
	m := newModel(t)
	var e dsse.Envelope
	if err := json.Unmarshal(m.files[provenance.FileProvenance], &e); err != nil {
		t.Fatal(err)
	}
	verify := func(k seal.VerifyingKey) error {
		v, err := dsse.NewEnvelopeVerifier(foreign{k})
		if err != nil {
			t.Fatal(err)
		}
		_, err = v.Verify(t.Context(), &e)
		return err
	}
	if err := verify(m.key.Public()); err != nil {
		t.Error(err)
	}
	if err := verify(newKey(t).Public()); err == nil {
		t.Error("it verifies with another key")
	}
}

// TestOtherTools: the model signing tool of OpenSSF verifies our directory by
// its command line, and a program of ours in Python the provenance by nothing but
// the cryptography package; both refuse what was changed.
func TestOtherTools(t *testing.T) {
	if os.Getenv("FIREKEEP_WITHOUT_ORACLES") == "1" {
		t.Skip("FIREKEEP_WITHOUT_ORACLES=1")
	}
	python := os.Getenv("FIREKEEP_PYTHON")
	if python == "" {
		python = "../../.venv/bin/python"
	}
	if err := exec.Command(python, "-c", "import model_signing, cryptography").Run(); err != nil {
		t.Fatalf("the Python package model-signing is missing (make python-oracles): %v", err)
	}
	m := newModel(t)
	key := filepath.Join(t.TempDir(), "key.pub")
	other := filepath.Join(t.TempDir(), "other.pub")
	for path, k := range map[string]seal.VerifyingKey{key: m.key.Public(), other: newKey(t).Public()} {
		if err := os.WriteFile(path, []byte(k.PEM()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	signing := func(key string) ([]byte, error) {
		return exec.Command(python, "-m", "model_signing", "verify", "key", m.dir, "--signature", filepath.Join(m.dir, provenance.FileBundle), "--public_key", key).CombinedOutput()
	}
	envelope := func(key string) ([]byte, error) {
		return exec.Command(python, "testdata/verify_dsse.py", filepath.Join(m.dir, provenance.FileProvenance), key).CombinedOutput()
	}
	for name, tool := range map[string]func(string) ([]byte, error){"model-signing": signing, "cryptography": envelope} {
		if out, err := tool(key); err != nil {
			t.Errorf("%s refuses: %v\n%s", name, err, out)
		}
		if out, err := tool(other); err == nil {
			t.Errorf("%s takes another key:\n%s", name, out)
		}
	}
	m.put(t, "adapter_model.safetensors", "changed")
	if out, err := signing(key); err == nil {
		t.Errorf("model-signing takes changed weights:\n%s", out)
	}
}

// TestForeignBundle: what the model signing tool writes verifies here.
func TestForeignBundle(t *testing.T) {
	raw, err := os.ReadFile("testdata/foreign/model.sig")
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile("testdata/foreign.pub")
	if err != nil {
		t.Fatal(err)
	}
	k, err := seal.ParseVerifyingKey(text)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := provenance.ParseBundle(raw); err != nil {
		t.Fatal(err)
	}
	c, err := provenance.VerifyDirectory("testdata/foreign", []seal.VerifyingKey{k})
	if err != nil || c.Record != nil || len(c.Bundle.Resources) != 2 {
		t.Errorf("%+v, %v", c, err)
	}
}
