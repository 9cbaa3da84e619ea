package cli

import (
	"encoding/json"
	"io"
	"os"
	"strings"
	"time"

	"github.com/firekeep/firekeep/api"
	"github.com/firekeep/firekeep/internal/rft"
)

type connectionCmd struct {
	Create connectionCreateCmd `cmd:"" help:"Seal a credential for a prefix of a bucket."`
	List   connectionListCmd   `cmd:"" help:"List connections."`
	Delete connectionDeleteCmd `cmd:"" help:"Forget a credential."`
}

// connectionCreateCmd takes the secret from a file or standard input: what is on
// a command line can be read by every process of the host.
type connectionCreateCmd struct {
	Name       string `arg:"" help:"Id of the connection."`
	URL        string `required:"" help:"Prefix that the credential opens: s3://bucket/prefix/ or gs://bucket/prefix/."`
	SecretFile string `name:"secret-file" default:"-" help:"JSON file with the secret, - = standard input. S3: access_key_id, secret_access_key; GCS: a service account key." placeholder:"PATH"`
}

// maxSecret bounds what is read as a secret.
const maxSecret = 64 << 10

// Run implements a command.
func (c *connectionCreateCmd) Run(a *app) error {
	client, account, id, err := a.named("NAME", c.Name, rft.Connections)
	if err != nil {
		return err
	}
	in := a.Stdin
	if c.SecretFile != "-" {
		f, err := os.Open(c.SecretFile)
		if err != nil {
			return rft.Wrap(rft.KindNotFound, err, "the secret file %s cannot be read", c.SecretFile)
		}
		defer f.Close()
		in = f
	}
	raw, err := io.ReadAll(io.LimitReader(in, maxSecret))
	if err != nil {
		return rft.Wrap(rft.KindInvalidArgument, err, "the secret cannot be read")
	}
	var secret map[string]any
	if json.Unmarshal(raw, &secret) != nil {
		return rft.FieldErrorf("secret-file", "the secret is not a JSON object such as {\"access_key_id\":\"...\",\"secret_access_key\":\"...\"}")
	}
	made, err := client.CreateConnection(a.ctx, account, id, &api.Connection{URL: c.URL, Secret: secret})
	if err != nil {
		return err
	}
	return a.show(made)
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
		rows = append(rows, []string{id(x.Name), x.URL, x.CreatedBy, at(x.CreateTime)})
	}
	return a.table(list, "ID URL BY CREATED", rows)
}

type connectionDeleteCmd struct {
	Name string `arg:"" help:"The connection."`
}

// Run implements a command.
func (c *connectionDeleteCmd) Run(a *app) error {
	client, account, id, err := a.named("NAME", c.Name, rft.Connections)
	if err != nil {
		return err
	}
	if err := client.DeleteConnection(a.ctx, account, id); err != nil {
		return err
	}
	return a.done("deleted %s", rft.Name{Account: account, Collection: rft.Connections, ID: id})
}

type keyCmd struct {
	Create keyCreateCmd `cmd:"" help:"Create a key; it is shown once."`
	List   keyListCmd   `cmd:"" help:"List keys."`
	Delete keyDeleteCmd `cmd:"" help:"Revoke a key at once."`
}

type keyCreateCmd struct {
	User    string        `default:"admin" help:"Whose key."`
	Role    string        `help:"Create the user first, with this role: admin, user, contributor or inference-user." enum:"admin,user,contributor,inference-user," default:"" placeholder:"ROLE"`
	Name    string        `help:"Shown in lists."`
	Expires time.Duration `help:"Life of the key, such as 720h; 90 days by default." placeholder:"DURATION"`
}

// Run implements a command.
func (c *keyCreateCmd) Run(a *app) error {
	client, account, err := a.session()
	if err != nil {
		return err
	}
	if c.Role != "" {
		if _, err := client.CreateUser(a.ctx, account, c.User, &api.User{Role: c.Role, ServiceAccount: true}); err != nil {
			return err
		}
	}
	k := &api.APIKey{DisplayName: c.Name}
	if c.Expires > 0 {
		k.ExpireTime = api.At(time.Now().Add(c.Expires))
	}
	made, err := client.CreateAPIKey(a.ctx, account, c.User, k)
	if err != nil {
		return err
	}
	return a.show(made)
}

type keyListCmd struct {
	User string `default:"admin" help:"Whose keys."`
}

// Run implements a command.
func (c *keyListCmd) Run(a *app) error {
	client, account, err := a.session()
	if err != nil {
		return err
	}
	keys, err := all(func(o api.ListOptions) ([]api.APIKey, api.Page, error) {
		l, err := client.ListAPIKeys(a.ctx, account, c.User, o)
		return l.APIKeys, l.Page, err
	})
	if err != nil {
		return err
	}
	var rows [][]string
	for _, k := range keys {
		rows = append(rows, []string{k.KeyID, strings.ReplaceAll(k.DisplayName, "\t", " "), at(k.CreateTime), at(k.ExpireTime), at(k.LastUsed)})
	}
	return a.table(keys, "ID NAME CREATED EXPIRES USED", rows)
}

type keyDeleteCmd struct {
	ID   string `arg:"" help:"Id of the key."`
	User string `default:"admin" help:"Whose key."`
}

// Run implements a command.
func (c *keyDeleteCmd) Run(a *app) error {
	client, account, err := a.session()
	if err != nil {
		return err
	}
	if err := client.DeleteAPIKey(a.ctx, account, c.User, c.ID); err != nil {
		return err
	}
	return a.done("revoked %s", c.ID)
}

type chatCmd struct {
	Model       string  `arg:"" help:"Base model or checkpoint."`
	Message     string  `arg:"" help:"What to ask; - = standard input."`
	System      string  `help:"System message."`
	MaxTokens   int     `default:"256" help:"Longest answer in tokens."`
	Temperature float64 `default:"0" help:"0 = the most probable words."`
	Seed        *int64  `help:"Seed of sampling."`
}

// Run implements a command.
func (c *chatCmd) Run(a *app) error {
	client, err := a.client()
	if err != nil {
		return err
	}
	text := c.Message
	if text == "-" {
		b, err := io.ReadAll(io.LimitReader(a.Stdin, 1<<20))
		if err != nil {
			return rft.Wrap(rft.KindInvalidArgument, err, "the message cannot be read")
		}
		text = string(b)
	}
	r := &api.CompletionRequest{Model: c.Model, MaxTokens: &c.MaxTokens, Temperature: &c.Temperature, Seed: c.Seed}
	if c.System != "" {
		r.Messages = append(r.Messages, api.Message{Role: "system", Content: api.Text(c.System)})
	}
	r.Messages = append(r.Messages, api.Message{Role: "user", Content: api.Text(text)})
	if a.json {
		out, err := client.Chat(a.ctx, r)
		if err != nil {
			return err
		}
		return a.printJSON(out)
	}
	err = client.ChatStream(a.ctx, r, func(chunk *api.Completion) error {
		for _, choice := range chunk.Choices {
			if choice.Delta != nil && choice.Delta.Content != nil {
				if _, err := io.WriteString(a.Stdout, *choice.Delta.Content); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err == nil {
		_, err = io.WriteString(a.Stdout, "\n")
	}
	return err
}
