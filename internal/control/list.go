package control

import (
	"cmp"
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
	var err error
	if o.OrderBy, err = parseOrder(cmp.Or(q.OrderBy, defaultOrder)); err != nil {
		return o, err
	}
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

// parseOrder reads fields in commas, each with " desc" behind it or without.
func parseOrder(s string) (by []store.Order, err error) {
	if strings.TrimSpace(s) == "" {
		return nil, nil
	}
	for key := range strings.SplitSeq(s, ",") {
		words := strings.Fields(key)
		if len(words) == 0 || len(words) > 2 || len(words) == 2 && !strings.EqualFold(words[1], "desc") && !strings.EqualFold(words[1], "asc") {
			return nil, rft.FieldErrorf("orderBy", `orderBy: want fields with commas between them, each a name, or a name and " desc"`)
		}
		by = append(by, store.Order{Field: snakeCase(words[0]), Desc: len(words) == 2 && strings.EqualFold(words[1], "desc")})
	}
	return by, nil
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
