package identity

import (
	"encoding/json"
	"path"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/firekeep/firekeep/internal/objstore"
	"github.com/firekeep/firekeep/internal/rft"
)

// This evaluator of policies shares nothing with the code that writes them. It
// knows what AWS documents: an explicit Allow is needed, '*' and '?' are
// wildcards in resources and in StringLike, and nowhere else.

type readPolicy struct {
	Version   string
	Statement []struct {
		Sid, Effect      string
		Action, Resource []string
		Condition        map[string]map[string][]string
	}
}

// matches is AWS' wildcard match. The pattern is walked by hand, not turned into
// a regular expression.
func matches(pattern, s string) bool {
	for pattern != "" {
		switch pattern[0] {
		case '*':
			for i := 0; i <= len(s); i++ {
				if matches(pattern[1:], s[i:]) {
					return true
				}
			}
			return false
		case '?':
			if s == "" {
				return false
			}
		default:
			if s == "" || s[0] != pattern[0] {
				return false
			}
		}
		pattern, s = pattern[1:], s[1:]
	}
	return s == ""
}

// allows evaluates one request.
func (p readPolicy) allows(action, resource string, context map[string]string) bool {
	allowed := false
	for _, s := range p.Statement {
		if !any2(s.Action, func(a string) bool { return matches(a, action) }) || !any2(s.Resource, func(r string) bool { return matches(r, resource) }) {
			continue
		}
		holds := true
		for operator, keys := range s.Condition {
			for key, values := range keys {
				got, there := context[key]
				equal := func(v string) bool { return v == got }
				if operator == "StringLike" {
					equal = func(v string) bool { return matches(v, got) }
				}
				holds = holds && there && any2(values, equal)
			}
		}
		if holds && s.Effect == "Deny" {
			return false
		}
		allowed = allowed || holds && s.Effect == "Allow"
	}
	return allowed
}

func any2(list []string, f func(string) bool) bool {
	for _, s := range list {
		if f(s) {
			return true
		}
	}
	return false
}

func parsePolicy(t interface{ Fatalf(string, ...any) }, text string) readPolicy {
	var p readPolicy
	if err := json.Unmarshal([]byte(text), &p); err != nil || p.Version != "2012-10-17" {
		t.Fatalf("%s: %v", text, err)
	}
	return p
}

// keys draws keys near a prefix: those below it, those beside it that differ in a
// letter, and any others.
func nearKey(t *rapid.T, prefix string) string {
	tail := rapid.StringMatching(`[A-Za-z0-9!_.()/=+@,*?${}'" -]{0,12}`).Draw(t, "tail")
	switch rapid.IntRange(0, 3).Draw(t, "near") {
	case 0:
		return prefix + tail
	case 1:
		cut := rapid.IntRange(0, len(prefix)).Draw(t, "cut")
		return prefix[:cut] + tail
	case 2:
		return path.Clean(prefix) + tail
	}
	return tail
}

// TestSessionPolicy: a policy allows a key if and only if the key begins with the
// prefix, and a list if and only if the listed prefix does.
func TestSessionPolicy(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		prefix := rapid.StringMatching(`([A-Za-z0-9!_.()=+@,-]{1,8}/){0,3}`).Draw(t, "prefix")
		u := objstore.URL{Scheme: objstore.S3, Bucket: "bkt", Key: prefix}
		if u.CheckScope("url") != nil {
			return
		}
		key := nearKey(t, prefix)
		under := strings.HasPrefix(key, prefix)
		for _, a := range []Access{Read, Write} {
			text, err := sessionPolicy(u, a, objstore.Encryption{}, "aws", "us-east-1")
			if err != nil || len(text) > 2048 {
				t.Fatalf("%d bytes, %v", len(text), err)
			}
			p := parsePolicy(t, text)
			for action, want := range map[string]bool{"s3:GetObject": under && a == Read, "s3:PutObject": under && a == Write, "s3:DeleteObject": under && a == Write,
				"s3:PutObjectAcl": false, "s3:GetObjectAcl": false, "s3:PutBucketPolicy": false, "iam:PassRole": false} {
				if got := p.allows(action, "arn:aws:s3:::bkt/"+key, nil); got != want {
					t.Fatalf("%s of %q under %q: %v\n%s", action, key, prefix, got, text)
				}
				if p.allows(action, "arn:aws:s3:::bkt2/"+key, nil) || p.allows(action, "arn:aws:s3:::bk/"+key, nil) {
					t.Fatalf("%s in another bucket: %s", action, text)
				}
			}
			if got := p.allows("s3:ListBucket", "arn:aws:s3:::bkt", map[string]string{"s3:prefix": key}); got != under {
				t.Fatalf("list %q under %q: %v\n%s", key, prefix, got, text)
			}
			if prefix != "" && p.allows("s3:ListBucket", "arn:aws:s3:::bkt", nil) {
				t.Fatalf("list without a prefix: %s", text)
			}
		}
	})
}

// TestSessionPolicyOfOneObject: an exact key is allowed, and nothing that it is a
// prefix of.
func TestSessionPolicyOfOneObject(t *testing.T) {
	u := objstore.URL{Scheme: objstore.S3, Bucket: "bkt", Key: "data/rows.jsonl"}
	text, err := sessionPolicy(u, Read, objstore.Encryption{}, "aws", "us-east-1")
	if err != nil {
		t.Fatal(err)
	}
	p := parsePolicy(t, text)
	for key, want := range map[string]bool{"data/rows.jsonl": true, "data/rows.jsonl2": false, "data/rows.jsonl/x": false, "data/": false, "data/rows-jsonl": false} {
		if p.allows("s3:GetObject", "arn:aws:s3:::bkt/"+key, nil) != want || p.allows("s3:ListBucket", "arn:aws:s3:::bkt", map[string]string{"s3:prefix": key}) != want {
			t.Errorf("%q: want %v in %s", key, want, text)
		}
	}
}

// TestKeyStatement: the customer's key serves through S3 and for this bucket only.
func TestKeyStatement(t *testing.T) {
	const key = "arn:aws:kms:eu-central-1:123456789012:key/k"
	u := objstore.URL{Scheme: objstore.S3, Bucket: "bkt", Key: "out/"}
	text, err := sessionPolicy(u, Write, objstore.Encryption{KMSKeyID: key}, "aws", "eu-central-1")
	if err != nil {
		t.Fatal(err)
	}
	p := parsePolicy(t, text)
	good := map[string]string{"kms:ViaService": "s3.eu-central-1.amazonaws.com", "kms:EncryptionContext:aws:s3:arn": "arn:aws:s3:::bkt/out/m"}
	with := func(k, v string) map[string]string {
		m := map[string]string{}
		for a, b := range good {
			m[a] = b
		}
		m[k] = v
		return m
	}
	for name, tt := range map[string]struct {
		action, key string
		context     map[string]string
		want        bool
	}{
		"object":       {"kms:GenerateDataKey", key, good, true},
		"bucket key":   {"kms:GenerateDataKey", key, with("kms:EncryptionContext:aws:s3:arn", "arn:aws:s3:::bkt"), true},
		"other object": {"kms:GenerateDataKey", key, with("kms:EncryptionContext:aws:s3:arn", "arn:aws:s3:::bkt/in/m"), false},
		"directly":     {"kms:GenerateDataKey", key, with("kms:ViaService", "ec2.eu-central-1.amazonaws.com"), false},
		"other key":    {"kms:GenerateDataKey", key + "2", good, false},
		"schedule":     {"kms:ScheduleKeyDeletion", key, good, false},
	} {
		if p.allows(tt.action, tt.key, tt.context) != tt.want {
			t.Errorf("%s: want %v in %s", name, tt.want, text)
		}
	}
}

func TestPolicyTooLong(t *testing.T) {
	u := objstore.URL{Scheme: objstore.S3, Bucket: "bkt", Key: strings.Repeat("a", 1000) + "/"}
	if _, err := sessionPolicy(u, Read, objstore.Encryption{}, "aws", "us-east-1"); rft.KindOf(err) != rft.KindFailedPrecondition {
		t.Errorf("%v", err)
	}
}

// FuzzScope: a prefix that the grammar lets through puts no character of its own
// meaning into a policy or a condition; what it refuses gets neither.
func FuzzScope(f *testing.F) {
	for _, s := range []string{"data/ds1/", "data/*/", "a/${aws:username}/", "a/?/", "a/../b/", "a'b/", "a\"b/", `a\b/`, "ü/", "", "a/\x00/", "a{b}/"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, prefix string) {
		u := objstore.URL{Scheme: objstore.S3, Bucket: "bkt", Key: prefix}
		if u.CheckScope("url") != nil {
			if u.IsPrefix() && u.ScopeSafe() {
				t.Fatalf("%q: refused as a prefix and safe in a policy", prefix)
			}
			return
		}
		if strings.ContainsAny(prefix, "*?${}\\\"'\n") || strings.Contains(prefix, "..") {
			t.Fatalf("%q passed", prefix)
		}
		text, err := sessionPolicy(u, Read, objstore.Encryption{}, "aws", "us-east-1")
		if err != nil {
			return // too long
		}
		p := parsePolicy(t, text)
		if !p.allows("s3:GetObject", "arn:aws:s3:::bkt/"+prefix+"x", nil) || strings.HasPrefix("other/x", prefix) != p.allows("s3:GetObject", "arn:aws:s3:::bkt/other/x", nil) {
			t.Fatalf("%q: %s", prefix, text)
		}
	})
}
