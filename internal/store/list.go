package store

import (
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/firekeep/firekeep/internal/rft"
)

// ListOptions select one page of a list.
type ListOptions struct {
	Limit int    // 0 = 50, at most 200
	After string // Page.Next of the page before, "" = from the start
	// OrderBy is "" or "name", "create_time" or "update_time".
	OrderBy string
	Desc    bool
	Filter  []Term // all must hold
}

// Term is one comparison of a filter. Fields are those of the wire contract
// in snake_case ("state", "display_name", "base_model", "create_time", ...).
type Term struct {
	Field string
	Op    string // = != < <= > >= and ":" (contains)
	Value string
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

// listing is a list query in the making.
type listing struct {
	where []string
	args  []any
	order string // column
	id    string // column of the resource id, the tie-breaker
	desc  bool
	limit int
	// number: the order column holds integers (times, sequence numbers).
	number bool
}

// newListing checks o against the table's columns.
func newListing(o ListOptions, cols columns) (*listing, error) {
	l := &listing{order: "id", id: "id", desc: o.Desc, limit: o.Limit}
	switch {
	case l.limit < 0:
		return nil, rft.FieldErrorf("pageSize", "pageSize: must not be negative, got %d", l.limit)
	case l.limit == 0:
		l.limit = 50
	case l.limit > 200:
		l.limit = 200
	}
	switch o.OrderBy {
	case "", "name":
	case "create_time", "created_time":
		l.order, l.number = "created", true
	case "update_time":
		l.order, l.number = "updated", true
	default:
		return nil, rft.FieldErrorf("orderBy", "orderBy: %q is not one of name, create_time, update_time", o.OrderBy)
	}
	for _, t := range o.Filter {
		if err := l.term(t, cols); err != nil {
			return nil, err
		}
	}
	return l, nil
}

// term adds one comparison.
func (l *listing) term(t Term, cols columns) error {
	col, ok := cols[t.Field]
	if !ok {
		return rft.FieldErrorf("filter", "filter: field %q cannot be filtered by", t.Field)
	}
	name, kind := strings.TrimRight(col, "#@"), ""
	if name != col {
		kind = col[len(name):]
	}
	var arg any = t.Value
	switch kind {
	case "#":
		n, err := filterInt(t.Value)
		if err != nil {
			return rft.FieldErrorf("filter", "filter: %s wants a number or a boolean", t.Field)
		}
		arg = n
	case "@":
		at, err := time.Parse(time.RFC3339Nano, t.Value)
		if err != nil {
			return rft.FieldErrorf("filter", "filter: %s wants an RFC 3339 time", t.Field)
		}
		arg = at.UnixMicro()
	}
	switch t.Op {
	case "=", "!=", "<", "<=", ">", ">=":
		l.and(name+" "+t.Op+" ?", arg)
	case ":":
		if kind != "" {
			l.and(name+" = ?", arg)
			break
		}
		l.and("LOWER("+name+") LIKE ? ESCAPE '!'", "%"+likeEscape(strings.ToLower(t.Value))+"%")
	default:
		return rft.FieldErrorf("filter", "filter: operator %q is not supported", t.Op)
	}
	return nil
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
	op, dir := ">", ""
	if l.desc {
		op, dir = "<", " DESC"
	}
	where, args := append([]string(nil), l.where...), append([]any(nil), l.args...)
	if after != "" {
		value, id, err := l.cursor(after)
		if err != nil {
			return "", nil, err
		}
		where = append(where, fmt.Sprintf("(%s %s ? OR (%s = ? AND %s %s ?))", l.order, op, l.order, l.id, op))
		args = append(args, value, value, id)
	}
	sql := ""
	if len(where) > 0 {
		sql = " WHERE " + strings.Join(where, " AND ")
	}
	return fmt.Sprintf("%s ORDER BY %s%s, %s%s LIMIT %d", sql, l.order, dir, l.id, dir, l.limit+1), args, nil
}

// next is the cursor behind a row.
func (l *listing) next(id string, created, updated time.Time) string {
	value := id
	switch l.order {
	case "created":
		value = strconv.FormatInt(created.UnixMicro(), 10)
	case "updated":
		value = strconv.FormatInt(updated.UnixMicro(), 10)
	}
	return base64.RawURLEncoding.EncodeToString([]byte(l.order + "\x00" + value + "\x00" + id))
}

func (l *listing) cursor(s string) (value, id any, err error) {
	bad := rft.FieldErrorf("pageToken", "pageToken: is not a token of this list")
	raw, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil {
		return nil, nil, bad
	}
	part := strings.Split(string(raw), "\x00")
	if len(part) != 3 || part[0] != l.order {
		return nil, nil, bad
	}
	if !l.number {
		return part[1], part[2], nil
	}
	n, err := strconv.ParseInt(part[1], 10, 64)
	if err != nil {
		return nil, nil, bad
	}
	if l.id == l.order {
		return n, n, nil
	}
	return n, part[2], nil
}

func formatSeq(n int64) string { return strconv.FormatInt(n, 10) }
