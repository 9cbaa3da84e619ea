package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/firekeep/firekeep/api"
	"github.com/firekeep/firekeep/internal/rft"
)

type connectionCmd struct {
	Create connectionCreateCmd `cmd:"" help:"Connect a prefix of a bucket: by federation with its cloud, or with a sealed secret."`
	Check  connectionCheckCmd  `cmd:"" help:"Probe what a connection can do and what it must not."`
	Rotate connectionRotateCmd `cmd:"" help:"Replace the secret of a connection."`
	List   connectionListCmd   `cmd:"" help:"List connections."`
	Get    connectionGetCmd    `cmd:"" help:"Show a connection and what the other side must say."`
	Delete connectionDeleteCmd `cmd:"" help:"Forget a connection."`
}

// connectionCreateCmd takes the secret from a file or standard input: what is on
// a command line can be read by every process of the host.
type connectionCreateCmd struct {
	Name       string `arg:"" help:"Id of the connection."`
	URL        string `required:"" help:"Prefix that the credential opens: s3://bucket/prefix/, gs://bucket/prefix/ or https://ACCOUNT.blob.core.windows.net/CONTAINER/prefix/."`
	Auth       string `default:"secret" enum:"secret,aws-role,gcp-wif,azure-federated" help:"Where credentials come from: secret, aws-role, gcp-wif or azure-federated."`
	SecretFile string `name:"secret-file" default:"-" help:"JSON file with the secret, - = standard input. S3: access_key_id, secret_access_key; GCS: a service account key; Azure: account_key." placeholder:"PATH"`

	Read  string `name:"read-identity" help:"Who reads: ARN of a role, e-mail of a service account, client id of an application." placeholder:"ID"`
	Write string `name:"write-identity" help:"Who writes; never the same." placeholder:"ID"`

	BucketOwner string `help:"aws-role: account that owns the bucket." placeholder:"ACCOUNT"`
	Region      string `help:"aws-role: region of the bucket."`
	SessionTags bool   `help:"aws-role: send prefix and job as session tags."`
	Provider    string `help:"gcp-wif: projects/NUMBER/locations/global/workloadIdentityPools/POOL/providers/PROVIDER."`
	Tenant      string `help:"azure-federated: id of the tenant."`
	Directories bool   `help:"azure-federated: the account has a hierarchical namespace."`

	KMSKey     string            `name:"kms-key" help:"Customer's key for what is written: ARN of an AWS KMS key, or resource name of a Google key." placeholder:"KEY"`
	KMSContext map[string]string `name:"kms-context" help:"Encryption context of an AWS KMS key." placeholder:"KEY=VALUE"`
	Scope      string            `name:"encryption-scope" help:"Azure encryption scope for what is written." placeholder:"NAME"`
}

// connection is the request that the flags describe.
func (c *connectionCreateCmd) connection() *api.Connection {
	r := &api.Connection{URL: c.URL, Auth: c.Auth}
	switch c.Auth {
	case "aws-role":
		r.AWS = &api.AWSRoles{ReadRole: c.Read, WriteRole: c.Write, BucketOwner: c.BucketOwner, Region: c.Region, SessionTags: c.SessionTags}
	case "gcp-wif":
		r.GCP = &api.GCPPool{Provider: c.Provider, ReadServiceAccount: c.Read, WriteServiceAccount: c.Write}
	case "azure-federated":
		r.Azure = &api.AzureApps{Tenant: c.Tenant, ReadClient: c.Read, WriteClient: c.Write, HierarchicalNamespace: c.Directories}
	}
	e := api.Encryption{KMSContext: c.KMSContext, Scope: c.Scope}
	if strings.HasPrefix(c.KMSKey, "projects/") {
		e.KMSKeyName = c.KMSKey
	} else {
		e.KMSKeyID = c.KMSKey
	}
	if c.KMSKey != "" || c.Scope != "" || len(c.KMSContext) > 0 {
		r.Encryption = &e
	}
	return r
}

// Run implements a command.
func (c *connectionCreateCmd) Run(a *app) error {
	client, account, id, err := a.named("NAME", c.Name, rft.Connections)
	if err != nil {
		return err
	}
	r := c.connection()
	if c.Auth == "secret" {
		if r.Secret, err = a.secret(c.SecretFile); err != nil {
			return err
		}
	}
	made, err := client.CreateConnection(a.ctx, account, id, r)
	if err != nil {
		return err
	}
	return a.showConnection(made)
}

// maxSecret bounds what is read as a secret.
const maxSecret = 64 << 10

// secret reads a secret from a file or from standard input.
func (a *app) secret(path string) (map[string]any, error) {
	in := a.Stdin
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return nil, rft.Wrap(rft.KindNotFound, err, "the secret file %s cannot be read", path)
		}
		defer f.Close()
		in = f
	}
	raw, err := io.ReadAll(io.LimitReader(in, maxSecret))
	if err != nil {
		return nil, rft.Wrap(rft.KindInvalidArgument, err, "the secret cannot be read")
	}
	var secret map[string]any
	if json.Unmarshal(raw, &secret) != nil {
		return nil, rft.FieldErrorf("secret-file", "the secret is not a JSON object such as {\"access_key_id\":\"...\",\"secret_access_key\":\"...\"}")
	}
	return secret, nil
}

// showConnection prints a connection, and what to paste on the other side as
// text that can be pasted.
func (a *app) showConnection(c *api.Connection) error {
	trust := c.Trust
	if a.json || trust == nil {
		return a.show(c)
	}
	plain := *c
	plain.Trust = nil
	if err := a.show(&plain); err != nil {
		return err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "\nissuer    %s\naudience  %s\n", trust.Issuer, trust.Audience)
	for _, s := range []string{trust.ReadSubject, trust.WriteSubject} {
		if s != "" {
			fmt.Fprintf(&b, "subject   %s\n", s)
		}
	}
	for i, s := range trust.Steps {
		fmt.Fprintf(&b, "\n# %d. %s\n%s\n", i+1, s.Title, s.Text)
	}
	_, err := io.WriteString(a.Stdout, b.String())
	return err
}

type connectionGetCmd struct {
	Name string `arg:"" help:"The connection." complete:"connections"`
}

// Run implements a command.
func (c *connectionGetCmd) Run(a *app) error {
	client, account, id, err := a.named("NAME", c.Name, rft.Connections)
	if err != nil {
		return err
	}
	got, err := client.GetConnection(a.ctx, account, id)
	if err != nil {
		return err
	}
	return a.showConnection(got)
}

type connectionCheckCmd struct {
	Name string `arg:"" help:"The connection." complete:"connections"`
}

// Run implements a command. It fails unless the connection is READY.
func (c *connectionCheckCmd) Run(a *app) error {
	client, account, id, err := a.named("NAME", c.Name, rft.Connections)
	if err != nil {
		return err
	}
	got, err := client.CheckConnection(a.ctx, account, id)
	if err != nil {
		return err
	}
	var rows [][]string
	for _, f := range got.Findings {
		verdict := "ok"
		if !f.Passed {
			verdict = "FAILED"
		}
		what := f.Got
		if f.TooWide != "" {
			verdict, what = "TOO WIDE", f.TooWide
		}
		rows = append(rows, []string{verdict, f.Check, what})
	}
	if err := a.table(got, "VERDICT CHECK RESULT", rows); err != nil {
		return err
	}
	if got.Connection.State != "READY" {
		return &quiet{rft.Errorf(rft.KindFailedPrecondition, "%s is %s: %s", got.Connection.Name, got.Connection.State, got.Connection.Status.Message), a.json}
	}
	return nil
}

type connectionRotateCmd struct {
	Name       string `arg:"" help:"The connection." complete:"connections"`
	SecretFile string `name:"secret-file" default:"-" help:"JSON file with the new secret, - = standard input." placeholder:"PATH"`
}

// Run implements a command.
func (c *connectionRotateCmd) Run(a *app) error {
	client, account, id, err := a.named("NAME", c.Name, rft.Connections)
	if err != nil {
		return err
	}
	secret, err := a.secret(c.SecretFile)
	if err != nil {
		return err
	}
	got, err := client.RotateConnection(a.ctx, account, id, secret)
	if err != nil {
		return err
	}
	return a.showConnection(got)
}

type connectionListCmd struct{}

// Run implements a command.
func (c *connectionListCmd) Run(a *app) error {
	client, account, err := a.session()
	if err != nil {
		return err
	}
	list, err := all(func(o api.ListOptions) ([]api.Connection, api.Page, error) {
		l, err := client.ListConnections(a.ctx, account, o)
		return l.Connections, l.Page, err
	})
	if err != nil {
		return err
	}
	var rows [][]string
	for _, x := range list {
		rows = append(rows, []string{id(x.Name), x.Auth, x.State, x.URL, at(x.CheckTime), at(x.CreateTime)})
		for _, w := range x.Warnings {
			fmt.Fprintf(a.Stderr, "warning: %s: %s\n", oneLine(id(x.Name)), oneLine(w))
		}
	}
	return a.table(list, "ID AUTH STATE URL CHECKED CREATED", rows)
}

type connectionDeleteCmd struct {
	Name string `arg:"" help:"The connection." complete:"connections"`
}

// Run implements a command.
func (c *connectionDeleteCmd) Run(a *app) error {
	return doing(a, "deleted", "NAME", c.Name, rft.Connections, func(client *api.Client, account, id string) error {
		return client.DeleteConnection(a.ctx, account, id)
	})
}

type stepCredentialsCmd struct {
	ID string `arg:"" help:"The step."`
}

// Run implements a command.
func (c *stepCredentialsCmd) Run(a *app) error {
	client, account, id, err := a.named("ID", c.ID, rft.Steps)
	if err != nil {
		return err
	}
	list, err := client.StepCredentials(a.ctx, account, id)
	if err != nil {
		return err
	}
	var rows [][]string
	for _, m := range list.Credentials {
		rows = append(rows, []string{m.ID, m.Auth, m.Access, m.Scope, at(m.MintTime), at(m.ExpireTime), m.State})
	}
	return a.table(list.Credentials, "ID AUTH ACCESS SCOPE MINTED EXPIRES STATE", rows)
}
