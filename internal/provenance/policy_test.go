package provenance_test

import (
	"testing"

	"github.com/firekeep/firekeep/internal/provenance"
	"github.com/firekeep/firekeep/internal/rft"
)

func TestPolicyDestinations(t *testing.T) {
	p, err := provenance.ParsePolicy([]byte(`{"destinations":["s3://bucket/models/","gs://other/x","oci://registry.example.org/team/model","oci://registry.example.org/all/"]}`))
	if err != nil {
		t.Fatal(err)
	}
	for url, allowed := range map[string]bool{
		"s3://bucket/models/": true, "s3://bucket/models/a/b/": true, "s3://bucket/models-2/": false, "s3://bucket/": false, "s3://bucket2/models/": false,
		"gs://other/x/": true, "gs://other/xy/": false, "gs://other/x": true, "file:///models/": false,
		"oci://registry.example.org/team/model:v1": true, "oci://registry.example.org/team/model2:v1": false, "oci://registry.example.org/all/m:v1": true,
		"oci://registry.example.org.evil/team/model:v1": false,
	} {
		err := p.AllowDestination(url)
		if (err == nil) != allowed || (err != nil && rft.KindOf(err) != rft.KindPermissionDenied) {
			t.Errorf("%s: %v", url, err)
		}
	}
	if err := (provenance.Policy{}).AllowDestination("s3://any/"); err != nil {
		t.Errorf("no rule: %v", err)
	}
	none, err := provenance.ParsePolicy([]byte(`{"destinations":[]}`))
	if err != nil || none.AllowDestination("s3://any/") == nil {
		t.Errorf("an empty list allows nothing: %v", err)
	}
}

func TestPolicyResults(t *testing.T) {
	m := newModel(t)
	s, err := provenance.ParseRecord(m.files[provenance.FileProvenance])
	if err != nil {
		t.Fatal(err)
	}
	for rule, allowed := range map[string]bool{
		`{"metric":"rewardMean","min":0.75}`:          true,
		`{"metric":"rewardMean","min":0.76}`:          false,
		`{"metric":"rewardMean","max":0.7}`:           false,
		`{"metric":"loss","max":0}`:                   true,
		`{"metric":"kl","max":100}`:                   false, // not among the results
		`{"metric":"rewardMean","min":0.7,"max":0.8}`: true,
	} {
		p, err := provenance.ParsePolicy([]byte(`{"require":[` + rule + `]}`))
		if err != nil {
			t.Fatal(err)
		}
		if err := p.AllowResults(s); (err == nil) != allowed || (err != nil && rft.KindOf(err) != rft.KindFailedPrecondition) {
			t.Errorf("%s: %v", rule, err)
		}
	}
}

func TestPolicyForm(t *testing.T) {
	for _, bad := range []string{`{"requiresignature":1}`, `{"requireSignatures":true}`, `[]`, `{"trustedKeys":["x"]}`, `{"destinations":["bucket"]}`, `{"destinations":["s3://"]}`,
		`{"destinations":["s3://b/../c/"]}`, `{"destinations":["s3://b/*"]}`, `{"require":[{"metric":"accuracy","min":1}]}`, `{"require":[{"metric":"loss"}]}`} {
		if _, err := provenance.ParsePolicy([]byte(bad)); rft.KindOf(err) != rft.KindInvalidArgument {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

func TestOCIReference(t *testing.T) {
	for url, want := range map[string]provenance.Reference{
		"oci://ghcr.io/team/model:v1":           {Host: "ghcr.io", Repository: "team/model", Tag: "v1"},
		"oci://127.0.0.1:5000/a-b/c_d.e:latest": {Host: "127.0.0.1:5000", Repository: "a-b/c_d.e", Tag: "latest"},
	} {
		if got, err := provenance.ParseOCI(url); err != nil || got != want || got.String() != url {
			t.Errorf("%s: %+v, %v", url, got, err)
		}
	}
	for _, bad := range []string{"oci://h/r", "oci://h/r@sha256:00", "oci://h/R:t", "oci://u:p@h/r:t", "oci://h/../r:t", "oci://h//r:t", "oci:///r:t", "docker://h/r:t", "oci://h/r:t/x", "oci://h/r:"} {
		if got, err := provenance.ParseOCI(bad); rft.KindOf(err) != rft.KindInvalidArgument {
			t.Errorf("%s: %+v, %v", bad, got, err)
		}
	}
}
