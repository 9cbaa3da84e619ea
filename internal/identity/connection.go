package identity

import (
	"bytes"
	"context"
	"encoding/json"
	"strings"

	"github.com/firekeep/firekeep/internal/objstore"
	"github.com/firekeep/firekeep/internal/rft"
)

// Auth is how a connection gets credentials.
type Auth string

const (
	// Secret: a sealed access key. The fallback: it lives until it is rotated.
	Secret Auth = "secret"
	// AWSRole: AWS STS takes a token of ours for a session of a role.
	AWSRole Auth = "aws-role"
	// GCPWIF: Google takes a token of ours for one of a service account.
	GCPWIF Auth = "gcp-wif"
	// AzureFederated: Entra takes a token of ours for one of an application,
	// which signs a shared access signature.
	AzureFederated Auth = "azure-federated"
)

// Federated reports whether a cloud exchanges our tokens for a.
func (a Auth) Federated() bool { return a == AWSRole || a == GCPWIF || a == AzureFederated }

// Connection is what a connection's record says about access to a bucket.
type Connection struct {
	Account    string
	AccountUID string
	ID         string
	UID        string
	URL        objstore.URL // a prefix: it ends in '/'
	Auth       Auth         // "" = Secret
	// Usable is false while the connection is not proven, or was found too wide.
	// Then jobs get nothing from it; probes do.
	Usable  bool
	Options Options
	Sealed  []byte // the credential, as SealSecret made it; nil = none is needed
}

// Subject is the subject of the connection's tokens for a kind of access.
func (c Connection) Subject(a Access) string { return subject(c.AccountUID, c.UID, a) }

// Connections finds the connections of an account whose URL is a prefix of u,
// byte for byte. It never returns those of other accounts.
type Connections interface {
	Covering(ctx context.Context, account string, u objstore.URL) ([]Connection, error)
}

// Options are the public settings of a connection. Nothing in them is secret.
type Options struct {
	AWS        *AWS                `json:"aws,omitempty"`
	GCP        *GCP                `json:"gcp,omitempty"`
	Azure      *Azure              `json:"azure,omitempty"`
	Encryption objstore.Encryption `json:"encryption,omitzero"`
	// Nonce is what the customer writes into the prefix to prove that the bucket
	// is theirs to give.
	Nonce string `json:"nonce,omitempty"`
}

// AWS names the roles of a connection. Input and output have one each: a role
// that reads never writes.
type AWS struct {
	ReadRole    string `json:"readRole,omitempty"`  // ARN
	WriteRole   string `json:"writeRole,omitempty"` // ARN
	BucketOwner string `json:"bucketOwner"`         // account id, sent with every request
	Region      string `json:"region"`
	// SessionTags sends the prefix and the job as session tags, which the trust
	// policy must then allow.
	SessionTags bool `json:"sessionTags,omitempty"`
}

// GCP names the workload identity provider and the service accounts.
type GCP struct {
	// Provider is projects/NUMBER/locations/global/workloadIdentityPools/POOL/providers/PROVIDER.
	Provider            string `json:"provider"`
	ReadServiceAccount  string `json:"readServiceAccount,omitempty"`
	WriteServiceAccount string `json:"writeServiceAccount,omitempty"`
}

// Azure names the applications (or user-assigned managed identities).
type Azure struct {
	Tenant      string `json:"tenant"`
	ReadClient  string `json:"readClient,omitempty"`
	WriteClient string `json:"writeClient,omitempty"`
	// HierarchicalNamespace says that the storage account has directories, so
	// that a signature can be limited to one.
	HierarchicalNamespace bool `json:"hierarchicalNamespace,omitempty"`
}

var (
	roleARN  = rft.Pattern(`^arn:aws(-cn|-us-gov)?:iam::[0-9]{12}:role/[A-Za-z0-9+=,.@_/-]{1,128}$`)
	owner    = rft.Pattern(`^[0-9]{12}$`)
	region   = rft.Pattern(`^[a-z]{2}(-[a-z]+)+-[0-9]{1,2}$`)
	provider = rft.Pattern(`^projects/[0-9]{1,20}/locations/global/workloadIdentityPools/[a-z0-9-]{4,32}/providers/[a-z0-9-]{4,32}$`)
	robot    = rft.Pattern(`^[a-z0-9-]{6,30}@[a-z0-9.:-]{1,64}\.iam\.gserviceaccount\.com$`)
	uuid     = rft.Pattern(`^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$`)
	nonce    = rft.Pattern(`^[a-z0-9]{16,64}$`)
)

// maxOptionsBytes bounds the record.
const maxOptionsBytes = 16 << 10

// ParseOptions reads the options of a record. Unknown fields are refused: they
// would be settings that do nothing.
func ParseOptions(b []byte) (o Options, err error) {
	if len(b) == 0 || string(b) == "null" {
		return o, nil
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if len(b) > maxOptionsBytes || dec.Decode(&o) != nil {
		return Options{}, rft.Errorf(rft.KindDataLoss, "the options of a connection cannot be read")
	}
	return o, nil
}

// Check validates the options of a connection; errors name the request field.
func (o Options) Check(auth Auth, u objstore.URL) error {
	bad := func(field, why string) error {
		return rft.FieldErrorf("connection."+field, "connection.%s: %s", field, why)
	}
	set := map[Auth]bool{AWSRole: o.AWS != nil, GCPWIF: o.GCP != nil, AzureFederated: o.Azure != nil}
	for a, there := range set {
		if there && a != auth {
			return bad("auth", "the options are of "+string(a)+", but auth is "+string(auth))
		}
	}
	if auth.Federated() && !set[auth] {
		return bad("auth", string(auth)+" needs its options")
	}
	if o.Nonce != "" && !nonce.MatchString(o.Nonce) {
		return bad("nonce", "is not one of ours")
	}
	var err error
	switch auth {
	case Secret:
	case AWSRole:
		err = o.AWS.check(u, bad)
	case GCPWIF:
		err = o.GCP.check(u, bad)
	case AzureFederated:
		err = o.Azure.check(u, bad)
	default:
		err = bad("auth", "must be secret, aws-role, gcp-wif or azure-federated")
	}
	if err != nil {
		return err
	}
	return o.Encryption.Check("connection.encryption", u.Scheme)
}

type complaint func(field, why string) error

// two checks the identities for reading and writing: at least one, never the
// same for both.
func two(field, read, write string, pattern rft.Matcher, what string, bad complaint) error {
	switch {
	case read == "" && write == "":
		return bad(field, "needs an identity for reading, for writing, or one of each")
	case read == write:
		return bad(field, "reading and writing must not share an identity: what reads rows could then overwrite them")
	case read != "" && !pattern.MatchString(read), write != "" && !pattern.MatchString(write):
		return bad(field, "want "+what)
	}
	return nil
}

func (a *AWS) check(u objstore.URL, bad complaint) error {
	if u.Scheme != objstore.S3 {
		return bad("auth", "aws-role goes with s3:// prefixes")
	}
	if err := two("aws", a.ReadRole, a.WriteRole, roleARN, "the ARN of a role, arn:aws:iam::ACCOUNT:role/NAME", bad); err != nil {
		return err
	}
	if !owner.MatchString(a.BucketOwner) {
		return bad("aws.bucketOwner", "want the 12 digits of the AWS account that owns the bucket")
	}
	if !region.MatchString(a.Region) {
		return bad("aws.region", "want the bucket's region, such as eu-central-1")
	}
	return nil
}

func (g *GCP) check(u objstore.URL, bad complaint) error {
	if u.Scheme != objstore.GS {
		return bad("auth", "gcp-wif goes with gs:// prefixes")
	}
	if !provider.MatchString(g.Provider) {
		return bad("gcp.provider", "want projects/NUMBER/locations/global/workloadIdentityPools/POOL/providers/PROVIDER, with the project's number")
	}
	return two("gcp", g.ReadServiceAccount, g.WriteServiceAccount, robot, "the e-mail of a service account", bad)
}

func (a *Azure) check(u objstore.URL, bad complaint) error {
	if u.Scheme != objstore.Azure {
		return bad("auth", "azure-federated goes with https://ACCOUNT.blob.core.windows.net/CONTAINER/ prefixes")
	}
	if !uuid.MatchString(a.Tenant) {
		return bad("azure.tenant", "want the tenant's id; names of tenants change hands")
	}
	if u.Key != "" && !a.HierarchicalNamespace {
		return bad("azure.hierarchicalNamespace", "an account without directories has no signature for a prefix: give the connection a container of its own")
	}
	return two("azure", a.ReadClient, a.WriteClient, uuid, "the client id of an application or managed identity", bad)
}

// identity is who the connection is for a kind of access: a role, a service
// account, a client id.
func (c Connection) identity(a Access) (string, error) {
	var read, write string
	switch o := c.Options; {
	case o.AWS != nil:
		read, write = o.AWS.ReadRole, o.AWS.WriteRole
	case o.GCP != nil:
		read, write = o.GCP.ReadServiceAccount, o.GCP.WriteServiceAccount
	case o.Azure != nil:
		read, write = o.Azure.ReadClient, o.Azure.WriteClient
	}
	who := read
	if a == Write {
		who = write
	}
	if who == "" {
		return "", rft.Errorf(rft.KindFailedPrecondition, "the connection %q has no identity to %s with", c.ID, a)
	}
	return who, nil
}

// audience is what the tokens of a connection are for.
func (c Connection) audience() string {
	switch c.Auth {
	case AWSRole:
		return "sts.amazonaws.com"
	case GCPWIF:
		return "//iam.googleapis.com/" + c.Options.GCP.Provider
	case AzureFederated:
		return "api://AzureADTokenExchange"
	}
	return ""
}

// arnPartition is the partition of an ARN: "aws", "aws-cn", "aws-us-gov".
func arnPartition(arn string) string {
	_, rest, _ := strings.Cut(arn, ":")
	p, _, _ := strings.Cut(rest, ":")
	return p
}
