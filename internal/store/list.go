package store

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/firekeep/firekeep/internal/rft"
)

// ListOptions select one page of a list.
type ListOptions struct {
	Limit   int     // 0 = 50, at most 200
	After   string  // Page.Next of the page before, "" = from the start
	OrderBy []Order // none = by name
	Filter  []Term  // all must hold
}

// Order is one key of a list's order: a field that the list can be filtered by.
type Order struct {
	Field string
	Desc  bool
}

// Term is one comparison of a filter. Fields are those of the wire contract
// in snake_case ("state", "display_name", "base_model", "create_time", ...).
type Term struct {
	Field string
	Op    string // = != < <= > >= and ":" (contains)
	Value string // with = and !=, "*" stands for any text in texts; ":" with "*" alone asks whether there is a value
	// Any, in place of a comparison: all terms of one of these lists must hold.
	Any [][]Term
	// Not turns the term around.
	Not bool
}

// Page is one page of a list.
type Page[T any] struct {
	Items []T
	Next  string // "" = last page
	Total int    // rows that match the filter, over all pages
}

// columns says how a table can be filtered and ordered: field -> column, with
// the suffix "#" for integers and "@" for times. A field that is true of every row
// is the column "1#".
type columns map[string]string

// column is a column and the kind of its values: "", "#" or "@".
func (c columns) column(field string) (name, kind string, ok bool) {
	col, ok := c[field]
	if !ok {
		switch field { // of every table
		case "name":
			col = "id"
		case "create_time", "created_time":
			col = "created@"
		case "update_time":
			col = "updated@"
		default:
			return "", "", false
		}
	}
	name = strings.TrimRight(col, "#@")
	return name, col[len(name):], true
}

// listing is a list query in the making.
type listing struct {
	where []string
	args  []any
	keys  []orderKey // the last is the resource's id, the tie-breaker
	limit int
}

// orderKey is a column that a list is ordered by.
type orderKey struct {
	column string
	number bool // it holds integers (times, flags, sequence numbers)
	desc   bool
}

// maxOrder bounds the keys of an order.
const maxOrder = 8

// newListing checks o against the table's columns.
func newListing(o ListOptions, cols columns) (*listing, error) {
	l := &listing{limit: o.Limit}
	switch {
	case l.limit < 0:
		return nil, rft.FieldErrorf("pageSize", "pageSize: must not be negative, got %d", l.limit)
	case l.limit == 0:
		l.limit = 50
	case l.limit > 200:
		l.limit = 200
	}
	if err := l.orderBy(o.OrderBy, cols); err != nil {
		return nil, err
	}
	for _, t := range o.Filter {
		cond, args, err := termSQL(t, cols)
		if err != nil {
			return nil, err
		}
		l.and(cond, args...)
	}
	return l, nil
}

func (l *listing) orderBy(by []Order, cols columns) error {
	if len(by) > maxOrder {
		return rft.FieldErrorf("orderBy", "orderBy: %d fields; at most %d are accepted", len(by), maxOrder)
	}
	last := orderKey{column: "id"}
	for _, o := range by {
		name, kind, ok := cols.column(o.Field)
		if !ok {
			return rft.FieldErrorf("orderBy", "orderBy: the list cannot be ordered by %q", o.Field)
		}
		last.desc = o.Desc
		if name == "id" { // no two are equal, so what follows says nothing
			break
		}
		if name != "1" { // equal in every row
			l.keys = append(l.keys, orderKey{name, kind != "", o.Desc})
		}
	}
	l.keys = append(l.keys, last)
	return nil
}

// termSQL renders a term.
func termSQL(t Term, cols columns) (sql string, args []any, err error) {
	if t.Any == nil {
		sql, args, err = comparison(t, cols)
	} else {
		sql, args, err = anyOf(t.Any, cols)
	}
	if err == nil && t.Not {
		sql = "NOT (" + sql + ")"
	}
	return sql, args, err
}

func anyOf(lists [][]Term, cols columns) (string, []any, error) {
	var args []any
	var either []string
	for _, list := range lists {
		var all []string
		for _, t := range list {
			sql, more, err := termSQL(t, cols)
			if err != nil {
				return "", nil, err
			}
			all, args = append(all, sql), append(args, more...)
		}
		either = append(either, strings.Join(all, " AND "))
	}
	return "(" + strings.Join(either, " OR ") + ")", args, nil
}

// comparison renders one comparison.
func comparison(t Term, cols columns) (string, []any, error) {
	name, kind, ok := cols.column(t.Field)
	if !ok {
		return "", nil, rft.FieldErrorf("filter", "filter: field %q cannot be filtered by", t.Field)
	}
	if t.Op == ":" && t.Value == "*" {
		return presence(name, kind), nil, nil
	}
	arg, err := operand(t, kind)
	if err != nil {
		return "", nil, err
	}
	switch {
	case t.Op == ":" && kind == "":
		return like(name, "", "%"+likeEscape(t.Value)+"%")
	case (t.Op == "=" || t.Op == "!=") && kind == "" && strings.Contains(t.Value, "*"):
		return like(name, strings.TrimSuffix(strings.Replace(t.Op, "!=", "NOT ", 1), "="), strings.ReplaceAll(likeEscape(t.Value), "*", "%"))
	case t.Op == ":":
		return name + " = ?", []any{arg}, nil
	case slices.Contains([]string{"=", "!=", "<", "<=", ">", ">="}, t.Op):
		return name + " " + t.Op + " ?", []any{arg}, nil
	}
	return "", nil, rft.FieldErrorf("filter", "filter: operator %q is not supported", t.Op)
}

// operand is a term's value as its column holds it.
func operand(t Term, kind string) (any, error) {
	switch kind {
	case "#":
		n, err := filterInt(t.Value)
		if err != nil {
			return nil, rft.FieldErrorf("filter", "filter: %s wants a number or a boolean", t.Field)
		}
		return n, nil
	case "@":
		at, err := time.Parse(time.RFC3339Nano, t.Value)
		if err != nil {
			return nil, rft.FieldErrorf("filter", "filter: %s wants an RFC 3339 time", t.Field)
		}
		return at.UnixMicro(), nil
	}
	return t.Value, nil
}

func presence(name, kind string) string {
	if kind != "" {
		return name + " <> 0"
	}
	return name + " <> ''"
}

// like compares without regard to case, which both databases do alike only so.
func like(name, not, pattern string) (string, []any, error) {
	return "LOWER(" + name + ") " + not + "LIKE ? ESCAPE '!'", []any{strings.ToLower(pattern)}, nil
}

func (l *listing) and(cond string, args ...any) {
	l.where = append(l.where, cond)
	l.args = append(l.args, args...)
}

func filterInt(s string) (int64, error) {
	switch strings.ToLower(s) {
	case "true":
		return 1, nil
	case "false":
		return 0, nil
	}
	return strconv.ParseInt(s, 10, 64)
}

func likeEscape(s string) string {
	return strings.NewReplacer("!", "!!", "%", "!%", "_", "!_").Replace(s)
}

// condition renders WHERE and its arguments, without the cursor.
func (l *listing) condition() string {
	if len(l.where) == 0 {
		return ""
	}
	return " WHERE " + strings.Join(l.where, " AND ")
}

// page renders WHERE with the cursor, ORDER BY and LIMIT. One row more than the
// page tells whether another page follows.
func (l *listing) page(after string) (string, []any, error) {
	where, args := append([]string(nil), l.where...), append([]any(nil), l.args...)
	if after != "" {
		values, err := l.cursor(after)
		if err != nil {
			return "", nil, err
		}
		cond, more := l.behind(values)
		where, args = append(where, cond), append(args, more...)
	}
	sql := ""
	if len(where) > 0 {
		sql = " WHERE " + strings.Join(where, " AND ")
	}
	by := make([]string, len(l.keys))
	for i, k := range l.keys {
		by[i] = k.column
		if k.desc {
			by[i] += " DESC"
		}
	}
	return fmt.Sprintf("%s ORDER BY %s LIMIT %d", sql, strings.Join(by, ", "), l.limit+1), args, nil
}

// behind selects the rows behind the one with these values of the keys: equal in
// the first keys, and further on in the next.
func (l *listing) behind(values []any) (string, []any) {
	var either []string
	var args []any
	equal := ""
	for i, k := range l.keys {
		op := " > ?"
		if k.desc {
			op = " < ?"
		}
		either = append(either, equal+k.column+op)
		args = append(append(args, values[:i]...), values[i])
		equal += k.column + " = ? AND "
	}
	return "(" + strings.Join(either, " OR ") + ")", args
}

// next is the cursor behind a row, whose fields these are.
func (l *listing) next(row []field) (string, error) {
	cursor := make([]any, 0, 2*len(l.keys))
	for _, k := range l.keys {
		i := slices.IndexFunc(row, func(f field) bool { return f.col == k.column })
		if i < 0 {
			return "", fmt.Errorf("store: a list is ordered by %s, which its rows do not have", k.column)
		}
		v, err := column{row[i].ptr}.Value()
		if err != nil {
			return "", err
		}
		cursor = append(cursor, k.column, v)
	}
	b, err := json.Marshal(cursor)
	return base64.RawURLEncoding.EncodeToString(b), err
}

// cursor reads the values of the keys.
func (l *listing) cursor(s string) ([]any, error) {
	bad := rft.FieldErrorf("pageToken", "pageToken: is not a token of this list")
	raw, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil {
		return nil, bad
	}
	var cursor []any
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	if err := dec.Decode(&cursor); err != nil || len(cursor) != 2*len(l.keys) {
		return nil, bad
	}
	values := make([]any, len(l.keys))
	for i, k := range l.keys {
		var ok bool
		switch v := cursor[2*i+1].(type) {
		case string:
			values[i], ok = v, !k.number
		case json.Number:
			n, err := v.Int64()
			values[i], ok = n, k.number && err == nil
		}
		if !ok || cursor[2*i] != k.column {
			return nil, bad
		}
	}
	return values, nil
}
