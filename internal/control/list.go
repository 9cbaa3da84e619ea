package control

import (
	"crypto/sha256"
	"encoding/base64"
	"strconv"
	"strings"
	"unicode"

	"github.com/firekeep/firekeep/api"
	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/store"
)

// ListQuery holds the list parameters of the contract.
type ListQuery struct {
	PageSize  int
	PageToken string
	Filter    string
	OrderBy   string
}

// bindLen is how many bytes of a page token tie it to its query.
const bindLen = 8

// options turns q into what the store reads. scope names the list, so that a
// token of one list or of another query is refused.
func (q ListQuery) options(scope, defaultOrder string) (store.ListOptions, error) {
	o := store.ListOptions{Limit: q.PageSize}
	order := q.OrderBy
	if order == "" {
		order = defaultOrder
	}
	first, _, _ := strings.Cut(order, ",")
	fields := strings.Fields(first)
	switch {
	case len(fields) == 2 && strings.EqualFold(fields[1], "desc"):
		o.Desc = true
	case len(fields) > 2 || (len(fields) == 2 && !strings.EqualFold(fields[1], "asc")):
		return o, rft.FieldErrorf("orderBy", `orderBy: want a field, or a field and " desc"`)
	}
	if len(fields) > 0 {
		o.OrderBy = snakeCase(fields[0])
	}
	var err error
	if o.Filter, err = parseFilter(q.Filter); err != nil {
		return o, err
	}
	if q.PageToken != "" {
		raw, err := base64.RawURLEncoding.DecodeString(q.PageToken)
		if err != nil || len(raw) <= bindLen || string(raw[:bindLen]) != q.binding(scope) {
			return o, rft.FieldErrorf("pageToken", "pageToken: is not a token of this list; every other parameter must equal the first call's")
		}
		o.After = string(raw[bindLen:])
	}
	return o, nil
}

// binding is a digest of everything that must not change between two pages.
func (q ListQuery) binding(scope string) string {
	sum := sha256.Sum256([]byte(strings.Join([]string{scope, q.Filter, q.OrderBy, strconv.Itoa(q.PageSize)}, "\x00")))
	return string(sum[:bindLen])
}

// page makes the envelope's page of a store page.
func (q ListQuery) page(scope, next string, total int) api.Page {
	p := api.Page{TotalSize: total}
	if next != "" {
		p.NextPageToken = base64.RawURLEncoding.EncodeToString([]byte(q.binding(scope) + next))
	}
	return p
}

// items maps a page of rows to wire resources; the list is never null.
func items[R, W any](rows []R, wire func(R) W) []W {
	out := make([]W, 0, len(rows))
	for _, r := range rows {
		out = append(out, wire(r))
	}
	return out
}

// parseFilter reads the subset of AIP-160 that clients use: comparisons joined
// by AND. Identifiers may be camelCase or snake_case; values bare or in double
// quotes.
func parseFilter(s string) ([]store.Term, error) {
	bad := func(why string) error { return rft.FieldErrorf("filter", "filter: %s", why) }
	if len(s) > 4096 {
		return nil, bad("is longer than 4096 bytes")
	}
	var terms []store.Term
	in := strings.TrimSpace(s)
	for in != "" {
		if len(terms) > 0 {
			rest, ok := cutWord(in, "AND")
			if !ok {
				return nil, bad("want AND between two comparisons")
			}
			in = rest
		}
		field := in[:span(in, func(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) || r == '_' || r == '.' })]
		if field == "" {
			return nil, bad("want the name of a field")
		}
		in = strings.TrimSpace(in[len(field):])
		op := operator(in)
		if op == "" {
			return nil, bad("want one of = != < <= > >= : behind " + field)
		}
		value, rest, ok := filterValue(strings.TrimSpace(in[len(op):]))
		if !ok {
			return nil, bad("want a value behind " + field)
		}
		if field == "name" { // rows know the last part only, and are of one account
			value = value[strings.LastIndexByte(value, '/')+1:]
		}
		terms = append(terms, store.Term{Field: snakeCase(field), Op: op, Value: value})
		in = strings.TrimSpace(rest)
	}
	return terms, nil
}

func cutWord(s, word string) (string, bool) {
	rest, ok := strings.CutPrefix(s, word)
	if !ok || rest == "" || rest[0] != ' ' {
		return "", false
	}
	return strings.TrimSpace(rest), true
}

func operator(s string) string {
	for _, op := range []string{"!=", "<=", ">=", "=", "<", ">", ":"} {
		if strings.HasPrefix(s, op) {
			return op
		}
	}
	return ""
}

// filterValue cuts a value off the front of s.
func filterValue(s string) (value, rest string, ok bool) {
	if !strings.HasPrefix(s, `"`) {
		n := span(s, func(r rune) bool { return !unicode.IsSpace(r) && r != '(' && r != ')' && r != '"' })
		return s[:n], s[n:], n > 0
	}
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch {
		case s[i] == '"':
			return b.String(), s[i+1:], true
		case s[i] == '\\' && i+1 < len(s):
			i++
		}
		b.WriteByte(s[i])
	}
	return "", "", false
}

// span is the length of the longest prefix of s whose runes satisfy in.
func span(s string, in func(rune) bool) int {
	for i, r := range s {
		if !in(r) {
			return i
		}
	}
	return len(s)
}

// snakeCase is the snake_case spelling of a field path.
func snakeCase(s string) string {
	var b strings.Builder
	for i, r := range s {
		if unicode.IsUpper(r) {
			if i > 0 {
				b.WriteByte('_')
			}
			r = unicode.ToLower(r)
		}
		b.WriteRune(r)
	}
	return b.String()
}
