package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/firekeep/firekeep/api"
	"github.com/firekeep/firekeep/internal/audit"
	"github.com/firekeep/firekeep/internal/rft"
)

type auditCmd struct {
	List   auditListCmd   `cmd:"" help:"List entries, the newest first."`
	Verify auditVerifyCmd `cmd:"" help:"Verify a log offline: a directory or an exported bundle, against a pinned key and older tree heads."`
	Export auditExportCmd `cmd:"" help:"Write the log out as JSON Lines, OCSF, or a bundle that verifies."`
	Follow auditFollowCmd `cmd:"" help:"Write entries as they are logged, for a SIEM."`
	Head   auditHeadCmd   `cmd:"" help:"Print the signed tree head, to be kept elsewhere."`
	Key    auditKeyCmd    `cmd:"" help:"Print the log's public key, to be pinned elsewhere."`
}

// auditScope says whose entries.
type auditScope struct {
	AllAccounts bool `help:"Entries of every account; for the operator of the server."`
}

func (s auditScope) of(account string) string {
	if s.AllAccounts {
		return api.AllAccounts
	}
	return account
}

// auditSpan selects by time: an RFC 3339 time, a date, or a duration before now.
type auditSpan struct {
	From string `help:"Begin: a time (2026-11-22T08:00:00Z), a date, or so long ago (24h)." placeholder:"TIME"`
	To   string `help:"End, likewise." placeholder:"TIME"`
}

func (s auditSpan) options() (o api.AuditOptions, err error) {
	if o.From, err = moment("from", s.From); err != nil {
		return o, err
	}
	o.To, err = moment("to", s.To)
	return o, err
}

func moment(flag, s string) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	for _, layout := range []string{time.RFC3339Nano, time.DateOnly} {
		if t, err := time.Parse(layout, s); err == nil {
			return t, nil
		}
	}
	if d, err := time.ParseDuration(s); err == nil {
		return time.Now().Add(-d), nil
	}
	return time.Time{}, rft.FieldErrorf(flag, "--%s: want a time such as 2026-11-22T08:00:00Z, a date, or a duration such as 24h", flag)
}

type auditListCmd struct {
	auditScope
	auditSpan
	Principal string `help:"Of this principal: an e-mail, or a name." placeholder:"NAME"`
	Action    string `help:"Of this operation, such as CreateDataset." placeholder:"NAME"`
	Resource  string `help:"On resources whose name holds this." placeholder:"TEXT"`
	Result    string `help:"With this result: OK, PERMISSION_DENIED, ..." placeholder:"CODE"`
	Filter    string `help:"A filter of the API, such as api_key_id=\"...\"." placeholder:"FILTER"`
	Limit     int    `default:"50" help:"At most so many."`
}

// filter joins what the flags select.
func (c *auditListCmd) filter() string {
	var terms []string
	for _, t := range []struct{ field, op, value string }{{"email", "=", c.Principal}, {"method", "=", c.Action}, {"resource", ":", c.Resource}, {"result", "=", c.Result}} {
		if t.value != "" {
			terms = append(terms, t.field+" "+t.op+" "+quoted(t.value))
		}
	}
	if c.Filter != "" {
		terms = append(terms, c.Filter)
	}
	return strings.Join(terms, " AND ")
}

// quoted is a value of a filter.
func quoted(s string) string { return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"` }

// Run implements a command.
func (c *auditListCmd) Run(a *app) error {
	client, account, err := a.session()
	if err != nil {
		return err
	}
	span, err := c.options()
	if err != nil {
		return err
	}
	list := []api.AuditLog{}
	o := api.ListOptions{PageSize: min(max(c.Limit, 1), 200), Filter: c.filter()}
	for {
		page, err := client.ListAuditLogs(a.ctx, c.of(account), span, o)
		if err != nil {
			return err
		}
		list = append(list, page.AuditLogs...)
		if o.PageToken = page.NextPageToken; o.PageToken == "" || len(list) >= c.Limit {
			break
		}
	}
	list = list[:min(len(list), max(c.Limit, 1))]
	var rows [][]string
	for _, e := range list {
		rows = append(rows, []string{e.ID, at(e.Timestamp), e.Principal, e.Method, e.Resource, e.Status.Code, e.ClientIP})
	}
	return a.table(list, "ID TIME PRINCIPAL ACTION RESOURCE RESULT FROM", rows)
}

type auditExportCmd struct {
	auditScope
	auditSpan
	Format string `enum:"jsonl,ocsf,bundle" default:"jsonl" help:"jsonl, ocsf (Open Cybersecurity Schema Framework), or bundle (verifies by itself)."`
	Out    string `short:"o" help:"File to write; standard output by default." placeholder:"PATH"`
}

// Run implements a command.
func (c *auditExportCmd) Run(a *app) error {
	client, account, err := a.session()
	if err != nil {
		return err
	}
	o, err := c.options()
	if err != nil {
		return err
	}
	o.Format = c.Format
	in, err := client.ExportAuditLogs(a.ctx, c.of(account), o)
	if err != nil {
		return err
	}
	defer in.Close()
	if c.Out == "" || c.Out == "-" {
		_, err = io.Copy(a.bytesOut(), in)
		return broken(err)
	}
	return writeWhole(c.Out, in)
}

// broken is the error of an export that ended early.
func broken(err error) error {
	if err == nil {
		return nil
	}
	return rft.Wrap(rft.KindUnavailable, err, "the export broke off: it is not whole")
}

// writeWhole writes a file that is there only when it is whole.
func writeWhole(path string, in io.Reader) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".firekeep-export-*")
	if err != nil {
		return rft.Wrap(rft.KindFailedPrecondition, err, "%s cannot be written", path)
	}
	defer os.Remove(f.Name())
	if _, err := io.Copy(f, in); err != nil {
		f.Close()
		return broken(err)
	}
	if err = errors.Join(f.Sync(), f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return rft.Wrap(rft.KindFailedPrecondition, err, "%s cannot be written", path)
	}
	return nil
}

type auditFollowCmd struct {
	auditScope
	After  int64  `help:"Begin behind this entry; all from the first by default." placeholder:"ID"`
	Format string `enum:"jsonl,ocsf" default:"jsonl" help:"jsonl or ocsf."`
}

// Run implements a command. A stream that breaks is taken up behind the last
// entry that was written; ending the command is how it ends.
func (c *auditFollowCmd) Run(a *app) error {
	client, account, err := a.session()
	if err != nil {
		return err
	}
	o := api.AuditOptions{Format: c.Format, After: c.After}
	for {
		begun := o.After
		err := client.FollowAuditLogs(a.ctx, c.of(account), o, func(seq int64, event json.RawMessage) error {
			if _, err := a.bytesOut().Write(append(event, '\n')); err != nil {
				return rft.Wrap(rft.KindCancelled, err, "the output is closed")
			}
			o.After = max(o.After, seq)
			return nil
		})
		var remote *api.Error
		switch {
		case a.ctx.Err() != nil:
			return nil
		case !errors.As(err, &remote) || remote.Kind != string(rft.KindUnavailable) || o.After == begun && remote.HTTP != 0:
			return err
		}
		select {
		case <-a.ctx.Done():
			return nil
		case <-time.After(time.Second):
		}
	}
}

type auditHeadCmd struct{}

// Run implements a command.
func (c *auditHeadCmd) Run(a *app) error {
	client, account, err := a.session()
	if err != nil {
		return err
	}
	h, err := client.AuditHead(a.ctx, account)
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(h)
	}
	_, err = io.WriteString(a.Stdout, h.Head)
	return err
}

type auditKeyCmd struct{}

// Run implements a command.
func (c *auditKeyCmd) Run(a *app) error {
	client, account, err := a.session()
	if err != nil {
		return err
	}
	h, err := client.AuditHead(a.ctx, account)
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(map[string]string{"key": h.Key})
	}
	_, err = fmt.Fprintln(a.Stdout, h.Key)
	return err
}

type auditVerifyCmd struct {
	Path       string   `arg:"" optional:"" help:"A log's directory or a bundle; HOME/audit by default."`
	Key        string   `help:"The pinned public key, or a file that holds it." placeholder:"KEY|FILE"`
	Checkpoint []string `help:"An older tree head that was kept: a file, or a directory of them such as a copy of the mirror. May be repeated." placeholder:"PATH"`
}

// Run implements a command. It needs no server and no network.
func (c *auditVerifyCmd) Run(a *app) error {
	path := c.Path
	if path == "" {
		path = filepath.Join(a.home, auditDir)
	}
	src, err := audit.Open(path)
	if err != nil {
		return err
	}
	key, pinned, err := c.key(src, path)
	if err != nil {
		return err
	}
	heads, err := readHeads(c.Checkpoint)
	if err != nil {
		return err
	}
	r, err := audit.Verify(a.ctx, src, key, heads...)
	if err != nil {
		return err
	}
	return a.auditVerdict(r, pinned)
}

// auditVerdict prints a report and fails when something was found.
func (a *app) auditVerdict(r *audit.Report, pinned bool) error {
	if a.json {
		if err := a.printJSON(map[string]any{"verified": r.OK(), "pinned": pinned, "report": r}); err != nil {
			return err
		}
	} else {
		for _, f := range r.Findings {
			fmt.Fprintf(a.Stdout, "%s: %s\n", f.Kind, oneLine(f.Message))
		}
		if r.OK() {
			fmt.Fprintf(a.Stdout, "verified: %d entries from %d on, root %s, log %s, held against %d other tree heads\n", r.Size-r.First, r.First, r.Root, r.Origin, r.Heads-r.Unchecked)
		}
		if r.Hidden > 0 {
			fmt.Fprintf(a.Stdout, "  %d entries are known by their hash only\n", r.Hidden)
		}
		if r.Unchecked > 0 {
			fmt.Fprintf(a.Stdout, "  %d tree heads lie before the first entry and could not be checked\n", r.Unchecked)
		}
		if !pinned {
			fmt.Fprintf(a.Stderr, "  the key came with the log: pin it (--key) to notice a log that was signed anew with another\n")
		}
	}
	if !r.OK() {
		return &quiet{rft.Errorf(rft.KindDataLoss, "the audit log does not verify: %s", r.Findings[0].Message), a.json}
	}
	return nil
}

// key is the pinned key, or the one that lies beside the log.
func (c *auditVerifyCmd) key(src audit.Source, path string) (key note.Verifier, pinned bool, err error) {
	text := c.Key
	switch {
	case text != "" && !strings.Contains(text, "+"):
		b, err := os.ReadFile(text)
		if err != nil {
			return nil, false, rft.Wrap(rft.KindNotFound, err, "the key file %s cannot be read", text)
		}
		text = string(b)
	case text != "":
	default:
		if text, err = besideKey(src, path); err != nil {
			return nil, false, err
		}
	}
	key, err = audit.ParseKey(strings.TrimSpace(text))
	return key, c.Key != "", err
}

// besideKey is the key that came with a log.
func besideKey(src audit.Source, path string) (string, error) {
	if b, ok := src.(audit.Bundle); ok {
		return b.Verifier()
	}
	for _, p := range []string{filepath.Join(path, audit.VerifierFile), filepath.Join(filepath.Dir(filepath.Clean(path)), audit.VerifierFile)} {
		if b, err := os.ReadFile(p); err == nil {
			return string(b), nil
		}
	}
	return "", rft.FieldErrorf("key", "--key: the log has no %s beside it; name the key that was pinned", audit.VerifierFile)
}

// maxHeads bounds the tree heads of one verification.
const maxHeads = 100_000

// readHeads reads tree heads from files and directories.
func readHeads(paths []string) (heads [][]byte, err error) {
	for _, p := range paths {
		err := filepath.WalkDir(p, func(path string, e fs.DirEntry, err error) error {
			if err != nil || e.IsDir() {
				return err
			}
			if len(heads) == maxHeads {
				return fmt.Errorf("more than %d tree heads", maxHeads)
			}
			b, err := readHead(path)
			heads = append(heads, b)
			return err
		})
		if err != nil {
			return nil, rft.Wrap(rft.KindNotFound, err, "the tree heads in %s cannot be read", p)
		}
	}
	return heads, nil
}

func readHead(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, 64<<10+1))
}
