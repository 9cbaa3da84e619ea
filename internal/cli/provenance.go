package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/firekeep/firekeep/api"
	"github.com/firekeep/firekeep/internal/provenance"
	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/runner"
	"github.com/firekeep/firekeep/internal/seal"
)

// publicKeyFile is the file of a home with the public key that models verify
// with; serve writes it for commands that work without a server.
const publicKeyFile = "model-signing.pub"

// modelVerifyCmd needs no server and no network.
type modelVerifyCmd struct {
	Path string   `arg:"" help:"Directory of an exported model."`
	Key  []string `help:"Public key in PEM that must have signed it; by default that of the home. May be given more than once." placeholder:"FILE" sep:"none"`
}

// Run implements a command.
func (c *modelVerifyCmd) Run(a *app) error {
	keys, err := c.keys(a)
	if err != nil {
		return err
	}
	checked, err := provenance.VerifyDirectory(c.Path, keys)
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(verified(checked))
	}
	v := verified(checked)
	fmt.Fprintf(a.Stdout, "verified  %d files of %s\nkey       %s\n", len(v.Files), oneLine(v.Model), v.Key)
	if p := v.Provenance; p != nil {
		for _, line := range [][2]string{{"model", p.Model}, {"made by", p.Invocation}, {"how", p.BuildType}, {"builder", p.Builder}, {"base", p.Base}, {"continues", p.Incoming},
			{"dataset", p.Dataset}} {
			if line[1] != "" {
				fmt.Fprintf(a.Stdout, "%-9s %s\n", line[0], oneLine(line[1]))
			}
		}
	}
	return nil
}

// verifiedModel is what verify prints as JSON.
type verifiedModel struct {
	Verified   bool               `json:"verified"`
	Model      string             `json:"model"`
	Key        string             `json:"key"`
	Files      map[string]string  `json:"files"`
	Provenance *verifiedStatement `json:"provenance,omitempty"`
}

type verifiedStatement struct {
	Model      string             `json:"model"`
	BuildType  string             `json:"buildType"`
	Builder    string             `json:"builder"`
	Invocation string             `json:"invocation,omitempty"`
	Base       string             `json:"base,omitempty"`
	Incoming   string             `json:"incoming,omitempty"`
	Merged     string             `json:"merged,omitempty"` // the LoRA in merged weights
	Dataset    string             `json:"dataset,omitempty"`
	Metrics    map[string]float64 `json:"metrics,omitempty"`
	AuditIndex *int64             `json:"auditIndex,omitempty"`
}

func verified(c *provenance.Checked) verifiedModel {
	v := verifiedModel{Verified: true, Model: c.Bundle.Model, Key: c.Key.ID(), Files: map[string]string{}}
	for _, f := range c.Bundle.Resources {
		v.Files[f.Name] = "sha256:" + f.SHA256
	}
	r := c.Record
	if r == nil {
		return v
	}
	s := &verifiedStatement{Model: r.Model, BuildType: r.BuildType, Builder: r.Builder, Invocation: r.Invocation, Metrics: r.Metrics}
	for role, to := range map[string]*string{provenance.RoleBase: &s.Base, provenance.RoleIncoming: &s.Incoming, provenance.RoleMerged: &s.Merged, provenance.RoleDataset: &s.Dataset} {
		if d, ok := r.Named(role); ok {
			*to = strings.TrimSpace(d.URI + " sha256:" + d.SHA256)
		}
	}
	if r.AuditIndex >= 0 {
		s.AuditIndex = &r.AuditIndex
	}
	v.Provenance = s
	return v
}

// keys are those of --key, or of the home. The key that lies beside a model is
// never among them: whoever can change the one can change the other.
func (c *modelVerifyCmd) keys(a *app) ([]seal.VerifyingKey, error) {
	files := c.Key
	if len(files) == 0 {
		files = []string{filepath.Join(a.home, publicKeyFile)}
	}
	var keys []seal.VerifyingKey
	for _, f := range files {
		text, err := os.ReadFile(f)
		if errors.Is(err, fs.ErrNotExist) && len(c.Key) == 0 {
			return nil, rft.FieldErrorf("key", "--key is needed: there is no %s of a server here; `firekeep model key` prints the key where the model was made", publicKeyFile)
		}
		if err != nil {
			return nil, rft.Wrap(rft.KindNotFound, err, "the key file %s cannot be read", f)
		}
		for _, block := range pemBlocks(string(text)) {
			k, err := seal.ParseVerifyingKey([]byte(block))
			if err != nil {
				return nil, rft.FieldErrorf("key", "%s is not a public key in PEM (ECDSA on P-256)", f)
			}
			keys = append(keys, k)
		}
	}
	return keys, nil
}

// pemBlocks splits a file of several keys.
func pemBlocks(text string) []string {
	const end = "-----END PUBLIC KEY-----"
	var out []string
	for strings.Contains(text, end) {
		i := strings.Index(text, end) + len(end)
		out, text = append(out, strings.TrimSpace(text[:i])), text[i:]
	}
	if strings.TrimSpace(text) != "" || len(out) == 0 {
		out = append(out, text)
	}
	return out
}

type modelKeyCmd struct {
	Rotate bool `help:"Make a new key sign from now on; models signed before keep verifying."`
	All    bool `help:"Print the retired keys too."`
}

// Run implements a command.
func (c *modelKeyCmd) Run(a *app) error {
	client, account, err := a.session()
	if err != nil {
		return err
	}
	read := client.GetSigningKey
	if c.Rotate {
		read = client.RotateSigningKey
	}
	k, err := read(a.ctx, account)
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(k)
	}
	text := k.PEM
	if c.All {
		for _, r := range k.Retired {
			text += r.PEM
		}
	}
	_, err = io.WriteString(a.Stdout, text)
	return err
}

type modelSignCmd struct {
	Name string `arg:"" help:"The model."`
}

// Run implements a command.
func (c *modelSignCmd) Run(a *app) error {
	client, account, id, err := a.named("NAME", c.Name, rft.Models)
	if err != nil {
		return err
	}
	if _, err := client.SignModel(a.ctx, account, id); err != nil {
		return err
	}
	return a.done("signed %s", rft.Name{Account: account, Collection: rft.Models, ID: id})
}

type modelPolicyCmd struct {
	Get modelPolicyGetCmd `cmd:"" default:"1" help:"Show the account's policy for models."`
	Set modelPolicySetCmd `cmd:"" help:"Replace the account's policy for models."`
}

type modelPolicyGetCmd struct{}

// Run implements a command.
func (modelPolicyGetCmd) Run(a *app) error {
	client, account, err := a.session()
	if err != nil {
		return err
	}
	p, err := client.GetModelPolicy(a.ctx, account)
	if err != nil {
		return err
	}
	return a.printJSON(p)
}

type modelPolicySetCmd struct {
	File string `arg:"" default:"-" help:"JSON file with the policy, - = standard input: requireSignature, trustedKeys, destinations, requireApproval, require." placeholder:"FILE"`
}

// maxPolicyFile bounds what is read as a policy.
const maxPolicyFile = 1 << 20

// Run implements a command.
func (c *modelPolicySetCmd) Run(a *app) error {
	client, account, err := a.session()
	if err != nil {
		return err
	}
	raw, err := a.readInput(c.File, maxPolicyFile)
	if err != nil {
		return err
	}
	if !json.Valid(raw) {
		return rft.FieldErrorf("FILE", "the policy is not JSON")
	}
	p, err := client.SetModelPolicy(a.ctx, account, raw)
	if err != nil {
		return err
	}
	return a.printJSON(p)
}

// readInput reads a file, or standard input for "-".
func (a *app) readInput(name string, limit int64) ([]byte, error) {
	in := a.Stdin
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, rft.Wrap(rft.KindNotFound, err, "%s cannot be read", name)
		}
		defer f.Close()
		in = f
	}
	raw, err := io.ReadAll(io.LimitReader(in, limit+1))
	if err != nil {
		return nil, rft.Wrap(rft.KindInvalidArgument, err, "the input cannot be read")
	}
	if int64(len(raw)) > limit {
		return nil, rft.Errorf(rft.KindInvalidArgument, "the input is longer than %d bytes", limit)
	}
	return raw, nil
}

type modelExportsCmd struct{}

// Run implements a command.
func (modelExportsCmd) Run(a *app) error {
	client, account, err := a.session()
	if err != nil {
		return err
	}
	list, err := all(func(o api.ListOptions) ([]api.ExportRequest, api.Page, error) {
		l, err := client.ListExportRequests(a.ctx, account, o)
		return l.Requests, l.Page, err
	})
	if err != nil {
		return err
	}
	var rows [][]string
	for _, r := range list {
		rows = append(rows, []string{id(r.Name), id(r.Model), r.Destination, r.State, r.RequestedBy, r.DecidedBy, at(r.CreateTime)})
	}
	return a.table(list, "ID MODEL DESTINATION STATE REQUESTED-BY DECIDED-BY CREATED", rows)
}

type modelApproveCmd struct {
	ID string `arg:"" help:"The export request."`
}

// Run implements a command.
func (c *modelApproveCmd) Run(a *app) error {
	client, account, err := a.session()
	if err != nil {
		return err
	}
	r, err := client.ApproveExport(a.ctx, account, id(c.ID))
	if err != nil {
		return err
	}
	return a.show(r)
}

type modelRejectCmd struct {
	ID     string `arg:"" help:"The export request."`
	Reason string `help:"Shown with the request."`
}

// Run implements a command.
func (c *modelRejectCmd) Run(a *app) error {
	client, account, err := a.session()
	if err != nil {
		return err
	}
	r, err := client.RejectExport(a.ctx, account, id(c.ID), c.Reason)
	if err != nil {
		return err
	}
	return a.show(r)
}

// modelLoginCmd takes the password from standard input: what is on a command
// line can be read by every process of the host.
type modelLoginCmd struct {
	Host     string `arg:"" help:"Host of the registry, with its port if it has one."`
	Username string `help:"User of the registry; without it the stored login is removed."`
}

// Run implements a command.
func (c *modelLoginCmd) Run(a *app) error {
	client, account, err := a.session()
	if err != nil {
		return err
	}
	l := api.RegistryLogin{Host: c.Host, Username: c.Username}
	if c.Username != "" {
		raw, err := a.readInput("-", 16<<10)
		if err != nil {
			return err
		}
		if l.Password = strings.TrimRight(string(raw), "\r\n"); l.Password == "" {
			return rft.FieldErrorf("username", "the password comes from standard input, and nothing came")
		}
	}
	if err := client.SetRegistryLogin(a.ctx, account, l); err != nil {
		return err
	}
	if c.Username == "" {
		return a.done("removed the login for %s", c.Host)
	}
	return a.done("stored the login for %s", c.Host)
}

// publishSigningKey makes the key that signs models, at the first start, and
// leaves its public part in the home for commands that work without a server.
func publishSigningKey(ctx context.Context, keys *provenance.Keys, home string) error {
	all, err := keys.Verifiers(ctx)
	if err != nil {
		return err
	}
	var text strings.Builder
	for _, k := range all {
		text.WriteString(k.PEM())
	}
	path := filepath.Join(home, publicKeyFile)
	if old, err := os.ReadFile(path); err == nil && string(old) == text.String() {
		return nil
	}
	return writeSecretFile(path, text.String()) // no secret, but nobody else's to change
}

// checkRegistries checks the operator's list of registries.
func checkRegistries(list map[string]runner.Registry) error {
	for host := range list {
		if _, err := provenance.ParseOCI("oci://" + host + "/repository:tag"); err != nil {
			return rft.Errorf(rft.KindInvalidArgument, "%q is not HOST or HOST:PORT", host)
		}
	}
	return nil
}
