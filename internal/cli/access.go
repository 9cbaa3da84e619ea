package cli

import (
	"encoding/csv"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/firekeep/firekeep/api"
	"github.com/firekeep/firekeep/internal/rft"
)

type userCmd struct {
	Create userCreateCmd `cmd:"" help:"Add a person or a service account."`
	Role   userRoleCmd   `cmd:"" help:"Change the role of a user, from the next request on."`
	Update userUpdateCmd `cmd:"" help:"Change name and address of a user."`
	Get    userGetCmd    `cmd:"" help:"Show a user."`
	List   userListCmd   `cmd:"" help:"List users."`
}

type userCreateCmd struct {
	ID             string `arg:"" help:"Id of the user."`
	Role           string `required:"" help:"admin, user, contributor, inference-user, or custom with --preset."`
	Preset         string `help:"The account's own role that the user has." placeholder:"ROLE"`
	Email          string `help:"Address."`
	Name           string `help:"Shown in lists."`
	ServiceAccount bool   `help:"A program, not a person."`
}

// Run implements a command.
func (c *userCreateCmd) Run(a *app) error {
	client, account, err := a.session()
	if err != nil {
		return err
	}
	u := &api.User{Role: c.Role, PermissionPreset: c.Preset, Email: c.Email, DisplayName: c.Name, ServiceAccount: c.ServiceAccount}
	made, err := client.CreateUser(a.ctx, account, c.ID, u)
	if err != nil {
		return err
	}
	return a.show(made)
}

type userRoleCmd struct {
	ID     string `arg:"" help:"The user." complete:"users"`
	Role   string `arg:"" help:"The new role."`
	Preset string `help:"The account's own role, for the role custom." placeholder:"ROLE"`
}

// Run implements a command.
func (c *userRoleCmd) Run(a *app) error {
	client, account, err := a.session()
	if err != nil {
		return err
	}
	u, err := client.UpdateUser(a.ctx, account, c.ID, &api.User{Role: c.Role, PermissionPreset: c.Preset}, "role", "permissionPreset")
	if err != nil {
		return err
	}
	return a.show(u)
}

type userGetCmd struct {
	ID string `arg:"" help:"The user." complete:"users"`
}

// Run implements a command.
func (c *userGetCmd) Run(a *app) error {
	return showing(a, "ID", c.ID, rft.Users, func(client *api.Client, account, id string) (*api.User, error) {
		return client.GetUser(a.ctx, account, id)
	})
}

type userUpdateCmd struct {
	ID    string `arg:"" help:"The user." complete:"users"`
	Email string `help:"The new address."`
	Name  string `aliases:"display-name" help:"The new name."`
}

// Run implements a command.
func (c *userUpdateCmd) Run(a *app) error {
	var fields []string
	if c.Email != "" {
		fields = append(fields, "email")
	}
	if c.Name != "" {
		fields = append(fields, "displayName")
	}
	if len(fields) == 0 {
		return rft.FieldErrorf("email", "nothing to change: give --email or --name")
	}
	return showing(a, "ID", c.ID, rft.Users, func(client *api.Client, account, id string) (*api.User, error) {
		return client.UpdateUser(a.ctx, account, id, &api.User{Email: c.Email, DisplayName: c.Name}, fields...)
	})
}

type userListCmd struct{}

// Run implements a command.
func (c *userListCmd) Run(a *app) error {
	client, account, err := a.session()
	if err != nil {
		return err
	}
	list, err := all(func(o api.ListOptions) ([]api.User, api.Page, error) {
		l, err := client.ListUsers(a.ctx, account, o)
		return l.Users, l.Page, err
	})
	if err != nil {
		return err
	}
	var rows [][]string
	for _, u := range list {
		rows = append(rows, []string{id(u.Name), strings.TrimSuffix(u.Role+"/"+u.PermissionPreset, "/"), u.Email, at(u.CreateTime)})
	}
	return a.table(list, "ID ROLE EMAIL CREATED", rows)
}

type roleCmd struct {
	Create roleCreateCmd `cmd:"" help:"Make a role of the account's own from Cedar policies, or replace them."`
	Get    roleGetCmd    `cmd:"" help:"Print the policies of a role."`
	List   roleListCmd   `cmd:"" help:"List the account's own roles."`
	Delete roleDeleteCmd `cmd:"" help:"Delete a role that nobody has."`
}

type roleCreateCmd struct {
	ID     string `arg:"" help:"Id of the role; users have it as custom with this preset."`
	Policy string `required:"" help:"File with Cedar policies, - = standard input." placeholder:"PATH"`
	Name   string `help:"Shown in lists."`
}

// Run implements a command.
func (c *roleCreateCmd) Run(a *app) error {
	client, account, err := a.session()
	if err != nil {
		return err
	}
	text, err := a.readInput(c.Policy, maxSecret)
	if err != nil {
		return err
	}
	made, err := client.PutRole(a.ctx, account, c.ID, &api.Role{DisplayName: c.Name, Policy: string(text)})
	if err != nil {
		return err
	}
	return a.show(made)
}

type roleGetCmd struct {
	ID string `arg:"" help:"The role." complete:"roles"`
}

// Run implements a command.
func (c *roleGetCmd) Run(a *app) error {
	client, account, err := a.session()
	if err != nil {
		return err
	}
	r, err := client.GetRole(a.ctx, account, c.ID)
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(r)
	}
	_, err = fmt.Fprintln(a.Stdout, strings.TrimRight(r.Policy, "\n"))
	return err
}

type roleListCmd struct{}

// Run implements a command.
func (c *roleListCmd) Run(a *app) error {
	client, account, err := a.session()
	if err != nil {
		return err
	}
	list, err := all(func(o api.ListOptions) ([]api.Role, api.Page, error) {
		l, err := client.ListRoles(a.ctx, account, o)
		return l.Roles, l.Page, err
	})
	if err != nil {
		return err
	}
	var rows [][]string
	for _, r := range list {
		rows = append(rows, []string{id(r.Name), r.DisplayName, r.CreatedBy, at(r.UpdateTime)})
	}
	return a.table(list, "ID NAME BY UPDATED", rows)
}

type roleDeleteCmd struct {
	ID string `arg:"" help:"The role." complete:"roles"`
}

// Run implements a command.
func (c *roleDeleteCmd) Run(a *app) error {
	client, account, err := a.session()
	if err != nil {
		return err
	}
	if err := client.DeleteRole(a.ctx, account, c.ID); err != nil {
		return err
	}
	return a.done("deleted %s", c.ID)
}

type keyRotateCmd struct {
	ID      string        `arg:"" help:"Id of the key."`
	User    string        `default:"admin" help:"Whose key." complete:"users"`
	Overlap time.Duration `default:"24h" help:"How long the old key works on."`
}

// Run implements a command.
func (c *keyRotateCmd) Run(a *app) error {
	client, account, err := a.session()
	if err != nil {
		return err
	}
	seconds := api.Int64(c.Overlap / time.Second)
	made, err := client.RotateAPIKey(a.ctx, account, c.User, &api.RotateAPIKeyRequest{KeyID: c.ID, OverlapSeconds: &seconds})
	if err != nil {
		return err
	}
	return a.show(made)
}

type accessCmd struct {
	Review  accessReviewCmd  `cmd:"" help:"Say who can read, train, serve and export, and with which keys; with --sign sign it off."`
	History accessHistoryCmd `cmd:"" help:"List the reviews that were signed off."`
}

type accessReviewCmd struct {
	Format  string `default:"table" enum:"table,csv,json" help:"table, csv or json."`
	Sign    string `help:"Sign off the review with this digest, as it was printed." placeholder:"DIGEST"`
	Comment string `help:"Kept with the signature."`
}

// Run implements a command.
func (c *accessReviewCmd) Run(a *app) error {
	client, account, err := a.session()
	if err != nil {
		return err
	}
	var r *api.AccessReview
	if c.Sign != "" {
		r, err = client.SignAccessReview(a.ctx, account, &api.SignReviewRequest{Digest: c.Sign, Comment: c.Comment})
	} else {
		r, err = client.AccessReview(a.ctx, account)
	}
	if err != nil {
		return err
	}
	switch {
	case a.json || c.Format == "json":
		return a.printJSON(r)
	case c.Format == "csv":
		return writeReview(a.Stdout, r)
	}
	var rows [][]string
	for _, u := range r.Users {
		rows = append(rows, []string{u.User, strings.TrimSuffix(u.Role+"/"+u.Preset, "/"), tick(u.Read), tick(u.Train), tick(u.Serve), tick(u.Export), tick(u.Administer), keysOf(u)})
	}
	if err := a.table(r, "USER ROLE READ TRAIN SERVE EXPORT ADMIN KEYS", rows); err != nil {
		return err
	}
	if r.SignedBy != "" {
		return a.done("signed off by %s as %s", r.SignedBy, r.Name)
	}
	return a.done("digest %s", r.Digest)
}

func tick(yes bool) string {
	if yes {
		return "yes"
	}
	return "-"
}

// keysOf shows the keys of a user with their expiry and last use.
func keysOf(u api.AccessOfUser) string {
	var out []string
	for _, k := range u.Keys {
		out = append(out, fmt.Sprintf("%s (%s, until %s, used %s)", k.KeyID, k.Kind, day(k.ExpireTime), day(k.LastUsed)))
	}
	return strings.Join(out, "; ")
}

func day(t api.Time) string {
	if t.IsZero() {
		return "never"
	}
	return t.UTC().Format("2006-01-02")
}

// writeReview writes one line per user and key. A cell that a spreadsheet would
// take for a formula is quoted.
func writeReview(out io.Writer, r *api.AccessReview) error {
	w := csv.NewWriter(out)
	_ = w.Write([]string{"account", "user", "email", "service_account", "role", "read", "train", "serve", "export", "administer", "actions", "own_actions", "some_actions",
		"key", "key_name", "key_kind", "key_created", "key_expires", "key_last_used", "review_digest"})
	for _, u := range r.Users {
		keys := u.Keys
		if len(keys) == 0 {
			keys = []api.AccessKey{{}}
		}
		for _, k := range keys {
			some := make([]string, 0, len(u.SomeActions))
			for _, action := range slices.Sorted(maps.Keys(u.SomeActions)) {
				some = append(some, action+": "+strings.Join(u.SomeActions[action], " "))
			}
			row := []string{r.Account, u.User, u.Email, fmt.Sprint(u.ServiceAccount), strings.TrimSuffix(u.Role+"/"+u.Preset, "/"), fmt.Sprint(u.Read), fmt.Sprint(u.Train),
				fmt.Sprint(u.Serve), fmt.Sprint(u.Export), fmt.Sprint(u.Administer), strings.Join(u.Actions, " "), strings.Join(u.OwnActions, " "), strings.Join(some, "; "),
				k.KeyID, k.DisplayName, k.Kind, timestamp(k.CreateTime), timestamp(k.ExpireTime), timestamp(k.LastUsed), r.Digest}
			for i, cell := range row {
				if cell != "" && strings.ContainsRune("=+-@\t\r", rune(cell[0])) {
					row[i] = "'" + cell
				}
			}
			_ = w.Write(row)
		}
	}
	w.Flush()
	return w.Error()
}

func timestamp(t api.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

type accessHistoryCmd struct{}

// Run implements a command.
func (c *accessHistoryCmd) Run(a *app) error {
	client, account, err := a.session()
	if err != nil {
		return err
	}
	list, err := all(func(o api.ListOptions) ([]api.AccessReview, api.Page, error) {
		l, err := client.ListAccessReviews(a.ctx, account, o)
		return l.AccessReviews, l.Page, err
	})
	if err != nil {
		return err
	}
	var rows [][]string
	for _, r := range list {
		rows = append(rows, []string{id(r.Name), at(r.CreateTime), r.SignedBy, r.Digest, r.Comment})
	}
	return a.table(list, "ID TIME BY DIGEST COMMENT", rows)
}
