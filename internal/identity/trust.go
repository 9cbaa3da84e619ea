package identity

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/firekeep/firekeep/internal/objstore"
)

// Trust is what the owner of a bucket has to set up, and what it is made of.
// Everything in it is exact: no wildcard stands in a subject.
type Trust struct {
	Issuer   string
	Audience string
	Subjects map[Access]string
	// Steps are to be done in order.
	Steps []Step
	// Proof is the object to write below the prefix; Outside one to write where
	// the connection must not reach, so that the refusal to read it says
	// something. "" where the prefix is the whole bucket.
	Proof, Outside string
}

// Step is one thing to paste.
type Step struct{ Title, Text string }

// proofDir is where the proof of ownership lies below a prefix.
const proofDir = ".firekeep-verify/"

func (c Connection) proof() string { return c.URL.Key + proofDir + c.Options.Nonce }

func (c Connection) outside() string {
	if c.URL.Key == "" {
		return ""
	}
	return "firekeep-outside-" + c.Options.Nonce
}

// Trust describes the other side of a connection. issuerURL is our issuer's.
func (c Connection) Trust(issuerURL string) Trust {
	if !c.Auth.Federated() {
		return Trust{}
	}
	t := Trust{Issuer: issuerURL, Audience: c.audience(), Subjects: map[Access]string{}, Proof: c.proof(), Outside: c.outside()}
	for _, a := range []Access{Read, Write} {
		if _, err := c.identity(a); err == nil {
			t.Subjects[a] = c.Subject(a)
		}
	}
	switch c.Auth {
	case AWSRole:
		t.Steps = c.awsTrust(issuerURL, t)
	case GCPWIF:
		t.Steps = c.gcpTrust(issuerURL, t)
	case AzureFederated:
		t.Steps = c.azureTrust(issuerURL, t)
	}
	return t
}

// eachAccess calls f for the kinds of access that the connection has.
func (c Connection) eachAccess(f func(a Access, who string)) {
	for _, a := range []Access{Read, Write} {
		if who, err := c.identity(a); err == nil {
			f(a, who)
		}
	}
}

// indented is v as JSON to paste.
func indented(v any) string {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	_ = e.Encode(v) // structs of strings: it cannot fail
	return strings.TrimSpace(b.String())
}

func (c Connection) awsTrust(issuerURL string, t Trust) []Step {
	host := strings.TrimPrefix(issuerURL, "https://")
	out := []Step{{"Once per AWS account: the identity provider", "aws iam create-open-id-connect-provider --url " + issuerURL + " --client-id-list " + t.Audience}}
	c.eachAccess(func(a Access, role string) {
		account := strings.Split(role, ":")[4]
		name := role[strings.LastIndexByte(role, '/')+1:]
		trust := c.trustPolicy("arn:"+arnPartition(role)+":iam::"+account+":oidc-provider/"+host, host, a)
		grant := policy{Version: policyVersion, Statement: accessStatements(c.URL, a, arnPartition(role))}
		if c.Options.Encryption.KMSKeyID != "" {
			grant.Statement = append(grant.Statement, keyStatement(c.URL, a, c.Options.Encryption, arnPartition(role), c.Options.AWS.Region))
		}
		out = append(out,
			Step{"Trust policy of the role " + name + ", which may " + string(a) + " (save it as " + name + "-trust.json)", indented(trust)},
			Step{"Permissions of the role " + name + " (save them as " + name + "-permissions.json)", indented(grant)},
			Step{"Make the role " + name, "aws iam create-role --role-name " + name + " --max-session-duration 3600 --assume-role-policy-document file://" + name + "-trust.json\n" +
				"aws iam put-role-policy --role-name " + name + " --policy-name firekeep --policy-document file://" + name + "-permissions.json"},
			Step{"Or the same in Terraform", terraform(name, issuerURL, t.Audience, trust, grant)})
	})
	proof := "echo proof | aws s3 cp - s3://" + c.URL.Bucket + "/" + t.Proof
	if t.Outside != "" {
		proof += "\necho outside | aws s3 cp - s3://" + c.URL.Bucket + "/" + t.Outside
	}
	return append(out, Step{"Prove that the bucket is yours; then run firekeep connection check " + c.ID, proof})
}

// trustPolicy says who may take a role: this issuer, this audience, this subject.
func (c Connection) trustPolicy(providerARN, host string, a Access) policy {
	actions := []string{"sts:AssumeRoleWithWebIdentity", "sts:SetSourceIdentity"}
	if c.Options.AWS.SessionTags {
		actions = append(actions, "sts:TagSession")
	}
	return policy{Version: policyVersion, Statement: []statement{{Sid: "Firekeep", Effect: "Allow", Principal: map[string]string{"Federated": providerARN}, Action: actions,
		Condition: conditions{"StringEquals": {host + ":aud": {c.audience()}, host + ":sub": {c.Subject(a)}}}}}}
}

// terraform is a role in HCL. Every value was checked against a grammar without
// quotes, dollar signs and percent signs.
func terraform(name, issuerURL, audience string, trust, grant policy) string {
	label := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '_' {
			return r
		}
		return '_'
	}, name)
	return fmt.Sprintf(`resource "aws_iam_openid_connect_provider" "firekeep" {
  url            = %q
  client_id_list = [%q]
}

resource "aws_iam_role" "firekeep_%s" {
  name                 = %q
  max_session_duration = 3600
  assume_role_policy   = <<-POLICY
%s
POLICY
}

resource "aws_iam_role_policy" "firekeep_%s" {
  name   = "firekeep"
  role   = aws_iam_role.firekeep_%s.id
  policy = <<-POLICY
%s
POLICY
}`, issuerURL, audience, label, name, indented(trust), label, label, indented(grant))
}

func (c Connection) gcpTrust(issuerURL string, t Trust) []Step {
	part := strings.Split(c.Options.GCP.Provider, "/")
	project, pool, name := part[1], part[5], part[7]
	out := []Step{{"Once per project: the pool and its provider",
		"gcloud iam workload-identity-pools create " + pool + " --project=" + project + " --location=global\n" +
			"gcloud iam workload-identity-pools providers create-oidc " + name + " --project=" + project + " --location=global --workload-identity-pool=" + pool +
			" --issuer-uri=" + issuerURL + " --allowed-audiences=" + t.Audience +
			" --attribute-mapping=google.subject=assertion.sub --attribute-condition=\"assertion.firekeep_account == '" + c.AccountUID + "'\"\n" +
			"# where Google cannot reach the issuer: firekeep issuer export DIR, and --jwk-json-path=DIR/.well-known/jwks.json"},
		{"Access by prefix needs uniform access", "gcloud storage buckets update gs://" + c.URL.Bucket + " --uniform-bucket-level-access"}}
	c.eachAccess(func(a Access, account string) {
		roles := []string{"roles/storage.objectViewer"}
		if a == Write {
			roles = []string{"roles/storage.objectCreator"}
		}
		text := "gcloud iam service-accounts add-iam-policy-binding " + account + " --role=roles/iam.workloadIdentityUser" +
			" --member=\"principal://iam.googleapis.com/projects/" + project + "/locations/global/workloadIdentityPools/" + pool + "/subject/" + t.Subjects[a] + "\""
		for _, role := range roles {
			text += "\ngcloud storage buckets add-iam-policy-binding gs://" + c.URL.Bucket + " --member=serviceAccount:" + account + " --role=" + role + gcpCondition(c.URL)
		}
		out = append(out, Step{"The service account " + account + ", which may " + string(a), text})
	})
	proof := "echo proof | gcloud storage cp - gs://" + c.URL.Bucket + "/" + t.Proof
	if t.Outside != "" {
		proof += "\necho outside | gcloud storage cp - gs://" + c.URL.Bucket + "/" + t.Outside
	}
	return append(out, Step{"Prove that the bucket is yours; then run firekeep connection check " + c.ID, proof})
}

// gcpCondition limits a grant on a bucket to the prefix of a connection.
func gcpCondition(u objstore.URL) string {
	expression, err := boundary(u)
	if u.Key == "" || err != nil { // the grammar of prefixes has nothing that boundary refuses
		return ""
	}
	return " --condition='^;^title=firekeep;expression=" + strings.ReplaceAll(expression, "'", `"`) + "'"
}

func (c Connection) azureTrust(issuerURL string, t Trust) []Step {
	account, container := c.URL.AzureAccount()
	scope := "/subscriptions/$SUBSCRIPTION/resourceGroups/$GROUP/providers/Microsoft.Storage/storageAccounts/" + account
	out := []Step{{"Where the storage account is", "SUBSCRIPTION=... GROUP=...   # ids, as `az storage account show --name " + account + " --query id` prints them"}}
	c.eachAccess(func(a Access, client string) {
		role := "Storage Blob Data Reader"
		if a == Write {
			role = "Storage Blob Data Contributor"
		}
		fed := indented(map[string]any{"name": "firekeep-" + c.ID + "-" + string(a), "issuer": issuerURL, "subject": t.Subjects[a], "audiences": []string{t.Audience}})
		out = append(out, Step{"The application " + client + ", which may " + string(a),
			"az ad app federated-credential create --id " + client + " --parameters '" + fed + "'\n" +
				"az role assignment create --assignee " + client + " --role \"Storage Blob Delegator\" --scope " + scope + "\n" +
				"az role assignment create --assignee " + client + " --role \"" + role + "\" --scope " + scope + "/blobServices/default/containers/" + container + azureCondition(c.URL, container, a)})
	})
	proof := "echo proof | az storage blob upload --auth-mode login --account-name " + account + " --container-name " + container + " --name " + t.Proof + " --data @-"
	if t.Outside != "" {
		proof += "\necho outside | az storage blob upload --auth-mode login --account-name " + account + " --container-name " + container + " --name " + t.Outside + " --data @-"
	}
	return append(out, Step{"Prove that the container is yours; then run firekeep connection check " + c.ID, proof})
}

// azureCondition limits a role assignment to the prefix of a connection.
func azureCondition(u objstore.URL, container string, a Access) string {
	if u.Key == "" {
		return ""
	}
	action := "Microsoft.Storage/storageAccounts/blobServices/containers/blobs/read"
	if a == Write {
		action = "Microsoft.Storage/storageAccounts/blobServices/containers/blobs/write"
	}
	return " --condition-version 2.0 --condition \"((!(ActionMatches{'" + action + "'})) OR (@Resource[Microsoft.Storage/storageAccounts/blobServices/containers/blobs:path] StringStartsWith '" + u.Key + "'))\""
}
