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

// kekCmd is about the key-encryption key of an account; `firekeep key` is about
// API keys.
type kekCmd struct {
	Show    kekShowCmd    `cmd:"" help:"Show the key that seals what Firekeep keeps, and whether it serves."`
	Set     kekSetCmd     `cmd:"" help:"Keep the key in a key management service, or in a local file again."`
	Rotate  kekRotateCmd  `cmd:"" help:"Wrap every data key anew, a local key gets a new version first."`
	Disable kekDisableCmd `cmd:"" help:"Stop everything that the key opened; nothing opens until enable."`
	Enable  kekEnableCmd  `cmd:"" help:"End a disable."`
	Shred   kekShredCmd   `cmd:"" help:"Destroy the key: everything sealed under it is lost for good."`
}

// onKEK runs an operation on the key of the caller's account.
func (a *app) onKEK(op func(*api.Client, string) (*api.EncryptionKey, error)) error {
	client, account, err := a.session()
	if err != nil {
		return err
	}
	k, err := op(client, account)
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(k)
	}
	fmt.Fprintf(a.Stdout, "%s  %s  %s\n", oneLine(k.Name), describeKEK(k), k.State)
	if k.Versions > 0 {
		fmt.Fprintf(a.Stdout, "  versions   %d\n", k.Versions)
	}
	if k.Rewrapped > 0 {
		fmt.Fprintf(a.Stdout, "  rewrapped  %d data keys\n", k.Rewrapped)
	}
	for _, b := range k.Before {
		fmt.Fprintf(a.Stdout, "  before     %s (%s)\n", describeKEK(&b), at(b.CreateTime))
	}
	if k.Status != nil && k.Status.Code != "OK" {
		fmt.Fprintf(a.Stdout, "  %s: %s\n", k.Status.Code, oneLine(k.Status.Message))
	}
	return nil
}

func describeKEK(k *api.EncryptionKey) string {
	if name, ok := k.Settings["key"].(string); ok {
		return k.Kind + " " + name
	}
	return k.Kind
}

type kekShowCmd struct{}

// Run implements a command.
func (kekShowCmd) Run(a *app) error {
	return a.onKEK(func(c *api.Client, account string) (*api.EncryptionKey, error) {
		return c.GetEncryptionKey(a.ctx, account)
	})
}

// kekSetCmd takes the credential from a file or standard input: what is on a
// command line can be read by every process of the host.
type kekSetCmd struct {
	Kind           string `arg:"" enum:"local,aws-kms,gcp-kms,azure-key-vault,vault-transit" help:"local, aws-kms, gcp-kms, azure-key-vault or vault-transit."`
	Key            string `arg:"" optional:"" help:"The key: an ARN, a resource name, a URL with version, or the name of a transit key."`
	Mount          string `help:"Path of Vault's transit engine; transit by default." placeholder:"PATH"`
	CredentialFile string `name:"credential-file" help:"JSON file with the credential, - = standard input. AWS: access_key_id, secret_access_key; Google: a service account key; Azure: tenant_id, client_id, client_secret; Vault: token, or role_id and secret_id." placeholder:"PATH"`
}

// Run implements a command.
func (c *kekSetCmd) Run(a *app) error {
	k := &api.EncryptionKey{Kind: c.Kind}
	if c.Kind != "local" {
		k.Settings = map[string]any{"key": c.Key}
		if c.Mount != "" {
			k.Settings["mount"] = c.Mount
		}
		var err error
		if k.Credential, err = a.readCredential(c.CredentialFile); err != nil {
			return err
		}
	}
	return a.onKEK(func(client *api.Client, account string) (*api.EncryptionKey, error) {
		return client.SetEncryptionKey(a.ctx, account, k)
	})
}

// readCredential reads a JSON object from a file, or from standard input.
func (a *app) readCredential(path string) (map[string]any, error) {
	in := a.Stdin
	switch path {
	case "":
		return nil, rft.FieldErrorf("credential-file", "--credential-file is required for a key of a service; - reads standard input")
	case "-":
	default:
		f, err := os.Open(path)
		if err != nil {
			return nil, rft.Wrap(rft.KindNotFound, err, "the credential file %s cannot be read", path)
		}
		defer f.Close()
		in = f
	}
	raw, err := io.ReadAll(io.LimitReader(in, maxSecret))
	if err != nil {
		return nil, rft.Wrap(rft.KindInvalidArgument, err, "the credential cannot be read")
	}
	var credential map[string]any
	if json.Unmarshal(raw, &credential) != nil {
		return nil, rft.FieldErrorf("credential-file", "the credential is not a JSON object")
	}
	return credential, nil
}

type kekRotateCmd struct{}

// Run implements a command.
func (kekRotateCmd) Run(a *app) error {
	return a.onKEK(func(c *api.Client, account string) (*api.EncryptionKey, error) {
		return c.RotateEncryptionKey(a.ctx, account)
	})
}

type kekDisableCmd struct{}

// Run implements a command.
func (kekDisableCmd) Run(a *app) error {
	return a.onKEK(func(c *api.Client, account string) (*api.EncryptionKey, error) {
		return c.DisableEncryptionKey(a.ctx, account)
	})
}

type kekEnableCmd struct{}

// Run implements a command.
func (kekEnableCmd) Run(a *app) error {
	return a.onKEK(func(c *api.Client, account string) (*api.EncryptionKey, error) {
		return c.EnableEncryptionKey(a.ctx, account)
	})
}

type kekShredCmd struct {
	Confirm string `required:"" help:"The account's resource name, accounts/NAME." placeholder:"NAME"`
}

// Run implements a command.
func (s *kekShredCmd) Run(a *app) error {
	confirm := s.Confirm
	if !strings.Contains(confirm, "/") {
		confirm = rft.AccountName(confirm)
	}
	return a.onKEK(func(c *api.Client, account string) (*api.EncryptionKey, error) {
		return c.ShredEncryptionKey(a.ctx, account, &api.ShredRequest{Confirm: confirm})
	})
}
