package identity

import (
	"encoding/json"
	"strings"

	"github.com/firekeep/firekeep/internal/objstore"
	"github.com/firekeep/firekeep/internal/rft"
)

// maxPolicyBytes is AWS' limit for a session policy.
const maxPolicyBytes = 2048

// statement is one statement of an IAM policy.
type statement struct {
	Sid       string     `json:",omitempty"`
	Effect    string     `json:",omitempty"`
	Principal any        `json:",omitempty"`
	Action    []string   `json:",omitempty"`
	Resource  []string   `json:",omitempty"`
	Condition conditions `json:",omitempty"`
}

// conditions is operator -> key -> values.
type conditions map[string]map[string][]string

type policy struct {
	Version   string
	Statement []statement
}

const policyVersion = "2012-10-17"

// text is the policy as JSON. Keys of maps come in order, so equal policies have
// equal texts.
func (p policy) text() (string, error) {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(p); err != nil {
		return "", rft.Wrap(rft.KindInternal, err, "a policy cannot be written")
	}
	return strings.TrimSuffix(b.String(), "\n"), nil
}

// sessionPolicy limits a session of a role to one place and one kind of access.
// u was checked: nothing in its key has a meaning in a policy, so that the '*'
// behind a prefix is the only one.
//
// Reading includes listing names below the prefix. Writing includes it too, and
// taking back what the same write made; a multipart upload must be abortable.
func sessionPolicy(u objstore.URL, access Access, e objstore.Encryption, partition, region string) (string, error) {
	p := policy{Version: policyVersion, Statement: accessStatements(u, access, partition)}
	if e.KMSKeyID != "" {
		p.Statement = append(p.Statement, keyStatement(u, access, e, partition, region))
	}
	text, err := p.text()
	if err == nil && len(text) > maxPolicyBytes {
		return "", rft.Errorf(rft.KindFailedPrecondition, "%s is too long for a session policy of AWS, which has room for %d bytes", u, maxPolicyBytes)
	}
	return text, err
}

func accessStatements(u objstore.URL, access Access, partition string) []statement {
	bucket := "arn:" + partition + ":s3:::" + u.Bucket
	objects, list := bucket+"/"+u.Key, conditions{"StringEquals": {"s3:prefix": {u.Key}}}
	if u.IsPrefix() {
		objects, list = objects+"*", conditions{"StringLike": {"s3:prefix": {u.Key + "*"}}}
	}
	actions := []string{"s3:GetObject", "s3:GetObjectVersion"}
	if access == Write {
		actions = []string{"s3:PutObject", "s3:AbortMultipartUpload", "s3:DeleteObject"}
	}
	out := []statement{{Sid: "Objects", Effect: "Allow", Action: actions, Resource: []string{objects}}}
	s := statement{Sid: "Names", Effect: "Allow", Action: []string{"s3:ListBucket"}, Resource: []string{bucket}}
	if u.Key != "" { // a whole bucket has no prefix to compare with
		s.Condition = list
	}
	return append(out, s)
}

// keyStatement allows the customer's key, through S3 and for objects of the
// bucket only.
func keyStatement(u objstore.URL, access Access, e objstore.Encryption, partition, region string) statement {
	actions := []string{"kms:Decrypt"}
	if access == Write {
		actions = []string{"kms:GenerateDataKey", "kms:Decrypt"} // parts of an upload are read to join them
	}
	bucket := "arn:" + partition + ":s3:::" + u.Bucket
	suffix := ""
	if partition == "aws-cn" {
		suffix = ".cn"
	}
	return statement{Sid: "Key", Effect: "Allow", Action: actions, Resource: []string{e.KMSKeyID}, Condition: conditions{
		"StringEquals": {"kms:ViaService": {"s3." + region + ".amazonaws.com" + suffix}},
		// With a bucket key the context is the bucket, else the object.
		"StringLike": {"kms:EncryptionContext:aws:s3:arn": {bucket, bucket + "/" + u.Key + "*"}},
	}}
}

// celLiteral is s as a string literal of CEL. The grammar of prefixes has no
// quote and no backslash; one that came through would end the process' trust in
// it, so it is refused here once more.
func celLiteral(s string) (string, error) {
	for _, r := range s {
		if r == '\'' || r == '\\' || r == '"' || r < 0x20 || r > 0x7e {
			return "", rft.Errorf(rft.KindInternal, "a prefix that cannot stand in a condition")
		}
	}
	return "'" + s + "'", nil
}

// maxCELBytes is Google's limit for the expression of a boundary.
const maxCELBytes = 2048

// boundary is the condition of a credential access boundary: which objects, and
// which lists.
func boundary(u objstore.URL) (string, error) {
	name, err := celLiteral("projects/_/buckets/" + u.Bucket + "/objects/" + u.Key)
	if err != nil {
		return "", err
	}
	listed, err := celLiteral(u.Key)
	if err != nil {
		return "", err
	}
	object := "resource.name.startsWith(" + name + ")"
	list := "api.getAttribute('storage.googleapis.com/objectListPrefix', '').startsWith(" + listed + ")"
	if !u.IsPrefix() {
		object = "resource.name == " + name
		list = "api.getAttribute('storage.googleapis.com/objectListPrefix', '') == " + listed
	}
	expression := object + " || " + list
	if len(expression) > maxCELBytes {
		return "", rft.Errorf(rft.KindFailedPrecondition, "%s is too long for a credential access boundary of Google, which has room for %d bytes", u, maxCELBytes)
	}
	return expression, nil
}
