package cli

import (
	"context"
	"fmt"
	"path/filepath"
	"strconv"
	"time"

	"github.com/firekeep/firekeep/api"
	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/seal"
)

// operatorKeyFile is the file of a home that holds the operator's credential. It
// is no key of a tenant: it makes and ends tenants, and opens none.
const operatorKeyFile = "operator.key"

// operatorKey reads the operator's credential of a home, or makes it, and returns
// what the server compares with.
func operatorKey(home string) (hash []byte, err error) {
	path := filepath.Join(home, operatorKeyFile)
	text, err := readKey(path)
	if err != nil {
		return nil, err
	}
	if text == "" {
		k := seal.NewOperatorKey()
		return k.Hash, writeSecretFile(path, k.Text.Reveal()+"\n")
	}
	if _, err := seal.ParseOperatorKey(text); err != nil {
		return nil, rft.Wrap(rft.KindFailedPrecondition, err, "%s does not hold an operator key; delete it, and the next start makes another one", path)
	}
	return seal.HashAPIKey(text), nil
}

// operator is the client with the operator's credential: of the environment, or
// of the home when the server is on this host.
func (a *app) operator() (*api.Client, error) {
	base, loopbackHost, err := a.baseURL()
	if err != nil {
		return nil, err
	}
	key := a.Env("FIREKEEP_OPERATOR_KEY")
	if key == "" && loopbackHost {
		if key, err = readKey(filepath.Join(a.home, operatorKeyFile)); err != nil {
			return nil, err
		}
	}
	if key == "" {
		return nil, rft.Errorf(rft.KindUnauthenticated, "no operator key: FIREKEEP_OPERATOR_KEY is not set, and %s is not there or not for this server", filepath.Join(a.home, operatorKeyFile))
	}
	h, err := a.httpClient()
	if err != nil {
		return nil, err
	}
	return &api.Client{BaseURL: base, Key: key, HTTP: h, UserAgent: "firekeep-cli/" + a.Version}, nil
}

// whoamiCmd says which server, account and user a key stands for, and where it came
// from.
type whoamiCmd struct{}

// Run implements a command.
func (whoamiCmd) Run(a *app) error {
	client, err := a.client()
	if err != nil {
		return err
	}
	who, err := client.Verify(a.ctx)
	if err != nil {
		return err
	}
	return a.show(struct {
		Server  string `json:"server"`
		Account string `json:"account"`
		Email   string `json:"email"`
	}{client.BaseURL, rft.AccountName(who.Account), who.Email})
}

type accountCmd struct {
	Create  accountCreateCmd  `cmd:"" help:"Make a tenant and its first key, which is shown once."`
	List    accountListCmd    `cmd:"" help:"List tenants."`
	Suspend accountSuspendCmd `cmd:"" help:"Refuse a tenant's keys; its queued jobs wait."`
	Resume  accountResumeCmd  `cmd:"" help:"Let a suspended tenant go on."`
	Delete  accountDeleteCmd  `cmd:"" help:"Delete a tenant for good and shred its key."`
}

type accountCreateCmd struct {
	ID    string `arg:"" help:"Id of the tenant; it can never be used again."`
	Name  string `help:"Shown in lists."`
	Email string `help:"Address of the tenant's administrator."`
}

// Run implements a command.
func (c *accountCreateCmd) Run(a *app) error {
	client, err := a.operator()
	if err != nil {
		return err
	}
	made, err := client.CreateAccount(a.ctx, c.ID, &api.Account{DisplayName: c.Name, Email: c.Email})
	if err != nil {
		return err
	}
	return a.show(made)
}

type accountListCmd struct{}

// Run implements a command.
func (c *accountListCmd) Run(a *app) error {
	client, err := a.operator()
	if err != nil {
		return err
	}
	list, err := all(func(o api.ListOptions) ([]api.Account, api.Page, error) {
		l, err := client.ListAccounts(a.ctx, o)
		return l.Accounts, l.Page, err
	})
	if err != nil {
		return err
	}
	var rows [][]string
	for _, x := range list {
		rows = append(rows, []string{id(x.Name), x.DisplayName, x.SuspendState, at(x.CreateTime)})
	}
	return a.table(list, "ID NAME STATE CREATED", rows)
}

type accountSuspendCmd struct {
	ID string `arg:"" help:"The tenant."`
}

// Run implements a command.
func (c *accountSuspendCmd) Run(a *app) error {
	client, err := a.operator()
	if err != nil {
		return err
	}
	if _, err := client.SuspendAccount(a.ctx, c.ID); err != nil {
		return err
	}
	return a.done("suspended %s", rft.AccountName(c.ID))
}

type accountResumeCmd struct {
	ID string `arg:"" help:"The tenant."`
}

// Run implements a command.
func (c *accountResumeCmd) Run(a *app) error {
	client, err := a.operator()
	if err != nil {
		return err
	}
	if _, err := client.ResumeAccount(a.ctx, c.ID); err != nil {
		return err
	}
	return a.done("resumed %s", rft.AccountName(c.ID))
}

type accountDeleteCmd struct {
	ID      string        `arg:"" help:"The tenant."`
	Confirm string        `required:"" help:"The id once more: models, datasets, keys and the key that everything was sealed under are gone afterwards." placeholder:"ID"`
	Wait    time.Duration `default:"1m" help:"How long to wait for the tenant's jobs to end."`
}

// Run implements a command. It repeats the deletion while jobs end.
func (c *accountDeleteCmd) Run(a *app) error {
	client, err := a.operator()
	if err != nil {
		return err
	}
	if c.Confirm != c.ID {
		return rft.FieldErrorf("confirm", "--confirm must repeat the id %s", c.ID)
	}
	ctx, cancel := context.WithTimeout(a.ctx, c.Wait)
	defer cancel()
	for {
		err := client.DeleteAccount(a.ctx, c.ID)
		if err == nil {
			return a.done("deleted %s", rft.AccountName(c.ID))
		}
		if kindOf(err) != rft.KindAborted {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(time.Second):
		}
	}
}

type quotaCmd struct {
	List quotaListCmd `cmd:"" help:"Show the limits of the account and what is used of them."`
	Get  quotaGetCmd  `cmd:"" help:"Show one limit."`
	Set  quotaSetCmd  `cmd:"" aliases:"update" help:"Change a limit; with --operator its ceiling."`
}

type quotaListCmd struct{}

// Run implements a command.
func (c *quotaListCmd) Run(a *app) error {
	client, account, err := a.session()
	if err != nil {
		return err
	}
	list, err := client.ListQuotas(a.ctx, account)
	if err != nil {
		return err
	}
	var rows [][]string
	for _, q := range list.Quotas {
		rows = append(rows, []string{id(q.Name), limit(q.Value), limit(q.MaxValue), strconv.FormatFloat(q.Usage, 'f', -1, 64)})
	}
	return a.table(list.Quotas, "ID LIMIT CEILING USED", rows)
}

func limit(n api.Int64) string {
	if n == 0 {
		return "none"
	}
	return strconv.FormatInt(int64(n), 10)
}

type quotaGetCmd struct {
	ID string `arg:"" help:"requests-per-second, queued-jobs, concurrent-steps or storage-bytes." complete:"quotas"`
}

// Run implements a command.
func (c *quotaGetCmd) Run(a *app) error {
	client, account, err := a.session()
	if err != nil {
		return err
	}
	q, err := client.GetQuota(a.ctx, account, id(c.ID))
	if err != nil {
		return err
	}
	return a.show(q)
}

type quotaSetCmd struct {
	ID       string `arg:"" help:"requests-per-second, queued-jobs, concurrent-steps or storage-bytes." complete:"quotas"`
	Value    int64  `arg:"" help:"The limit; 0 = the server's default."`
	Operator string `help:"Set the ceiling of this tenant, with the operator's key." placeholder:"ACCOUNT"`
}

// Run implements a command.
func (c *quotaSetCmd) Run(a *app) error {
	var q *api.Quota
	if c.Operator != "" {
		client, err := a.operator()
		if err != nil {
			return err
		}
		ceiling := c.Value
		if ceiling == 0 {
			ceiling = -1
		}
		if q, err = client.UpdateQuota(a.ctx, c.Operator, c.ID, &api.Quota{MaxValue: api.Int64(ceiling)}); err != nil {
			return err
		}
	} else {
		client, account, err := a.session()
		if err != nil {
			return err
		}
		if q, err = client.UpdateQuota(a.ctx, account, c.ID, &api.Quota{Value: api.Int64(c.Value)}); err != nil {
			return err
		}
	}
	if a.json {
		return a.printJSON(q)
	}
	_, err := fmt.Fprintf(a.Stdout, "%s %s, ceiling %s\n", id(q.Name), limit(q.Value), limit(q.MaxValue))
	return err
}
