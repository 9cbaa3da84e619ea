package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/firekeep/firekeep/api"
)

// printJSON prints v as one indented JSON document.
func (a *app) printJSON(v any) error {
	b, err := api.Marshal(v)
	if err != nil {
		return err
	}
	var out bytes.Buffer
	if err := json.Indent(&out, b, "", "  "); err != nil {
		return err
	}
	out.WriteByte('\n')
	_, err = a.Stdout.Write(out.Bytes())
	return err
}

// show prints a resource: as JSON, or its set fields for people.
func (a *app) show(v any) error {
	if a.json {
		return a.printJSON(v)
	}
	b, err := api.Marshal(v)
	if err != nil {
		return err
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.UseNumber()
	w := tabwriter.NewWriter(a.Stdout, 0, 0, 2, ' ', 0)
	if err := describe(w, dec, ""); err != nil {
		return err
	}
	return w.Flush()
}

// describe writes the next value of dec as lines "path value", leaving out what
// is empty.
func describe(w io.Writer, dec *json.Decoder, path string) error {
	tok, err := dec.Token()
	if err != nil {
		return err
	}
	switch t := tok.(type) {
	case json.Delim:
		for i := 0; dec.More(); i++ {
			child := fmt.Sprintf("%s[%d]", path, i)
			if t == '{' {
				key, err := dec.Token()
				if err != nil {
					return err
				}
				child = strings.TrimPrefix(path+"."+key.(string), ".")
			}
			if err := describe(w, dec, child); err != nil {
				return err
			}
		}
		_, err = dec.Token()
		return err
	case string:
		if t == "" || t == "0" || strings.HasSuffix(t, "_UNSPECIFIED") {
			return nil
		}
		_, err = fmt.Fprintf(w, "%s\t%s\n", oneLine(path), oneLine(t))
	case json.Number:
		if t == "0" {
			return nil
		}
		_, err = fmt.Fprintf(w, "%s\t%s\n", oneLine(path), t)
	case bool:
		if t {
			_, err = fmt.Fprintf(w, "%s\ttrue\n", oneLine(path))
		}
	}
	return err
}

// table prints rows under a heading, or v as JSON.
func (a *app) table(v any, heading string, rows [][]string) error {
	if a.json {
		return a.printJSON(v)
	}
	if len(rows) == 0 {
		_, err := fmt.Fprintln(a.Stderr, "nothing there")
		return err
	}
	w := tabwriter.NewWriter(a.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, strings.ReplaceAll(heading, " ", "\t"))
	for _, r := range rows {
		for i, cell := range r {
			r[i] = oneLine(cell)
		}
		fmt.Fprintln(w, strings.Join(r, "\t"))
	}
	return w.Flush()
}

// all walks the pages of a list.
func all[T any](fetch func(api.ListOptions) ([]T, api.Page, error)) ([]T, error) {
	out := []T{}
	for o := (api.ListOptions{PageSize: 200}); ; {
		items, page, err := fetch(o)
		if err != nil {
			return nil, err
		}
		out = append(out, items...)
		if o.PageToken = page.NextPageToken; o.PageToken == "" || len(items) == 0 {
			return out, nil
		}
	}
}

// id is the last segment of a resource name.
func id(name string) string { return name[strings.LastIndexByte(name, '/')+1:] }

// stateOf is the state to show of what can fail: the wire has no FAILED for
// datasets and models, but UPLOADING with a status.
func stateOf(state string, s api.Status) string {
	if state != "READY" && s.Code != "" && s.Code != "OK" {
		return "FAILED"
	}
	return state
}

// at shows a time.
func at(t api.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.Local().Format("2006-01-02 15:04:05")
}

// done confirms an action to people.
func (a *app) done(format string, args ...any) error {
	if a.json {
		return a.printJSON(struct{}{})
	}
	_, err := fmt.Fprintln(a.Stdout, oneLine(fmt.Sprintf(format, args...)))
	return err
}
