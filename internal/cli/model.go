package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/firekeep/firekeep/api"
	"github.com/firekeep/firekeep/internal/rft"
)

type modelCmd struct {
	Import modelImportCmd `cmd:"" aliases:"create" help:"Import a model from a path, file://, s3://, gs:// or hf://ORG/NAME."`
	Export modelExportCmd `cmd:"" help:"Write a LoRA checkpoint in PEFT's form to a prefix of a bucket."`
	List   modelListCmd   `cmd:"" help:"List models."`
	Get    modelGetCmd    `cmd:"" help:"Show a model."`
	Update modelUpdateCmd `cmd:"" help:"Change what people read of a model."`
	Delete modelDeleteCmd `cmd:"" help:"Delete a model."`

	Download modelDownloadCmd `cmd:"" help:"Write the files of a LoRA checkpoint to a directory of this host, where the account's policy lets them leave."`

	Verify  modelVerifyCmd  `cmd:"" help:"Verify an exported model: signature, files and provenance. Needs no server."`
	Key     modelKeyCmd     `cmd:"" help:"Print the public key that models verify with."`
	Sign    modelSignCmd    `cmd:"" help:"Sign a model as it lies there: one that is older than signatures."`
	Policy  modelPolicyCmd  `cmd:"" help:"Show or set what the account demands of models that come in and go out."`
	Exports modelExportsCmd `cmd:"" help:"List exports that wait for approval, or did."`
	Approve modelApproveCmd `cmd:"" help:"Approve an export that somebody else asked for."`
	Reject  modelRejectCmd  `cmd:"" help:"Reject an export."`
	Login   modelLoginCmd   `cmd:"" help:"Store a login of an OCI registry; the password comes from standard input."`
}

type modelImportCmd struct {
	Name        string `arg:"" help:"Id of the new model, or accounts/fireworks/models/ID to publish it to every account."`
	Source      string `arg:"" help:"GGUF file or Hugging Face directory: a path on the server's host, or a URL."`
	Base        string `aliases:"base-model" help:"The source is a LoRA of this base model." placeholder:"MODEL"`
	Description string `help:"Shown with the model."`
	Wait        bool   `help:"Wait until the model is ready."`
}

// Run implements a command.
func (c *modelImportCmd) Run(a *app) error {
	client, account, id, err := a.named("NAME", c.Name, rft.Models)
	if err != nil {
		return err
	}
	source, err := sourceURL(c.Source)
	if err != nil {
		return err
	}
	m := &api.Model{Description: c.Description, Firekeep: &api.ModelExtension{Source: source}}
	if c.Base != "" {
		m.PeftDetails = &api.PeftDetails{BaseModel: c.Base}
	}
	made, err := client.CreateModel(a.ctx, account, id, m)
	if err != nil {
		return err
	}
	if c.Wait {
		if made, err = a.waitModel(client, account, id); err != nil {
			return err
		}
	}
	return a.show(made)
}

// sourceURL turns a path of this host into a URL; a directory ends in '/'.
func sourceURL(s string) (string, error) {
	if strings.Contains(s, "://") {
		return s, nil
	}
	path, err := filepath.Abs(s)
	if err != nil {
		return "", rft.FieldErrorf("SOURCE", "%s is not a path", s)
	}
	info, err := os.Stat(path)
	if err != nil {
		return "", rft.Errorf(rft.KindNotFound, "%s: there is no such file or directory", s)
	}
	if info.IsDir() {
		path += "/"
	}
	return "file://" + path, nil
}

func (a *app) waitModel(c *api.Client, account, id string) (*api.Model, error) {
	begin := time.Now()
	m, err := watch(a, func() (*api.Model, error) { return c.GetModel(a.ctx, account, id) }, func(m *api.Model) (string, string, bool) {
		return "importing", fmt.Sprintf("importing %s, %.0f s", m.Name, time.Since(begin).Seconds()), m.State == "READY" || failed(m.Status, id) != nil
	})
	if err == nil && m.State != "READY" {
		ref := id
		if account != a.account { // published to every account
			ref = m.Name
		}
		err = failed(m.Status, ref)
	}
	return m, err
}

type modelExportCmd struct {
	Name string `arg:"" help:"The model." complete:"models"`
	To   string `required:"" help:"Prefix of a bucket, such as s3://bucket/models/m1/, or oci://HOST/REPOSITORY:TAG." placeholder:"URL"`
	Wait bool   `default:"true" negatable:"" help:"Wait until the export is done."`
}

// Run implements a command.
func (c *modelExportCmd) Run(a *app) error {
	client, account, err := a.session()
	if err != nil {
		return err
	}
	to := c.To
	if !strings.Contains(to, "://") {
		path, err := filepath.Abs(to)
		if err != nil {
			return rft.FieldErrorf("to", "--to: %s is not a path", to)
		}
		to = "file://" + path
	}
	if !strings.HasSuffix(to, "/") && !strings.HasPrefix(to, "oci://") {
		to += "/"
	}
	m, err := a.findModel(client, account, c.Name)
	if err != nil {
		return err
	}
	n, err := rft.ParseName("NAME", m.Name, account, rft.Models)
	if err != nil {
		return err
	}
	op, err := client.ExportModel(a.ctx, n.Account, n.ID, to)
	if err == nil && c.Wait && !op.Done {
		op, err = watch(a, func() (*api.Operation, error) { return client.GetOperation(a.ctx, account, id(op.Name)) }, func(op *api.Operation) (string, string, bool) {
			return "exporting", "exporting to " + to, op.Done || awaits(op)
		})
	}
	if err != nil {
		return err
	}
	if op.Error != nil {
		return rft.Errorf(rft.Kind(op.Error.Code), "%s", op.Error.Message)
	}
	if awaits(op) {
		fmt.Fprintf(a.Stderr, "the account's policy wants another principal's approval: `firekeep model approve %s`\n", id(op.Name))
	}
	return a.show(op)
}

// awaits reports whether an export waits for a person, which nobody should wait
// for in turn.
func awaits(op *api.Operation) bool {
	return op.Metadata != nil && op.Metadata.State == "AWAITING_APPROVAL"
}

type modelListCmd struct {
	Account string `help:"Account whose models to list; fireworks holds what the operator published." placeholder:"ID"`
}

// Run implements a command.
func (c *modelListCmd) Run(a *app) error {
	client, account, err := a.session()
	if err != nil {
		return err
	}
	accounts := []string{account, rft.OperatorAccount}
	if c.Account != "" {
		accounts = []string{c.Account}
	}
	var models []api.Model
	for _, account := range accounts {
		some, err := all(func(o api.ListOptions) ([]api.Model, api.Page, error) {
			l, err := client.ListModels(a.ctx, account, o)
			return l.Models, l.Page, err
		})
		if err != nil {
			return err
		}
		models = append(models, some...)
	}
	var rows [][]string
	for _, m := range models {
		base := "-"
		if m.PeftDetails != nil {
			base = id(m.PeftDetails.BaseModel)
		}
		rows = append(rows, []string{m.Name, m.Kind, stateOf(m.State, m.Status), base, at(m.CreateTime)})
	}
	return a.table(models, "NAME KIND STATE BASE CREATED", rows)
}

type modelGetCmd struct {
	Name string `arg:"" help:"The model." complete:"models"`
}

// Run implements a command.
func (c *modelGetCmd) Run(a *app) error {
	client, account, err := a.session()
	if err != nil {
		return err
	}
	m, err := a.findModel(client, account, c.Name)
	if err != nil {
		return err
	}
	return a.show(m)
}

type modelDeleteCmd struct {
	Name string `arg:"" help:"The model." complete:"models"`
}

// Run implements a command.
func (c *modelDeleteCmd) Run(a *app) error {
	return doing(a, "deleted", "NAME", c.Name, rft.Models, func(client *api.Client, account, id string) error {
		return client.DeleteModel(a.ctx, account, id)
	})
}
