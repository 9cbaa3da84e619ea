package jinja

import (
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

type filterFunc func(st *state, v any, a args) any

var filterTable map[string]filterFunc

func init() {
	filterTable = map[string]filterFunc{
		"default": defaultFilter, "d": defaultFilter, "length": lengthFilter, "count": lengthFilter,
		"upper": onString(strings.ToUpper), "lower": onString(strings.ToLower), "capitalize": onString(capitalize), "title": onString(titleWords),
		"trim": trimFilter, "replace": replaceFilter, "join": joinFilter, "string": func(st *state, v any, a args) any { return st.str(v) },
		"int": intFilter, "float": floatFilter, "abs": absFilter, "round": roundFilter,
		"list": listFilter, "first": firstFilter, "last": lastFilter, "reverse": reverseFilter, "sort": sortFilter, "unique": uniqueFilter,
		"min": extreme(true), "max": extreme(false), "sum": sumFilter, "batch": batchFilter, "slice": nil,
		"items": itemsFilter, "dictsort": dictsortFilter, "map": mapFilter, "attr": attrFilter, "groupby": groupbyFilter,
		"select": selector(false, true), "reject": selector(false, false), "selectattr": selector(true, true), "rejectattr": selector(true, false),
		"tojson": tojson, "safe": func(st *state, v any, a args) any { return Markup(st.str(v)) },
		"escape": escapeFilter, "e": escapeFilter, "forceescape": escapeFilter,
		"indent": indentFilter, "wordcount": wordcount, "center": centerFilter, "truncate": truncateFilter,
		"format": func(st *state, v any, a args) any { return st.percent(st.str(v), &List{a.positional, listTuple}) },
	}
	delete(filterTable, "slice")
}

func onString(f func(string) string) filterFunc {
	return func(st *state, v any, a args) any {
		s := st.str(v)
		st.charge(2 * len(s))
		return f(s)
	}
}

// titleWords is the title filter: words split at spaces, hyphens and brackets.
func titleWords(s string) string {
	start := true
	return strings.Map(func(r rune) rune {
		was := start
		start = unicode.IsSpace(r) || strings.ContainsRune("-({[<", r)
		if was {
			return unicode.ToUpper(r)
		}
		return unicode.ToLower(r)
	}, s)
}

func defaultFilter(st *state, v any, a args) any {
	if isUndefined(v) || truth(a.or(1, "boolean", false)) && !truth(v) {
		return a.or(0, "default_value", "")
	}
	return v
}

func lengthFilter(st *state, v any, a args) any { return int64(length(v)) }

func trimFilter(st *state, v any, a args) any { return stripper(true, true)(st, st.str(v), a) }

func replaceFilter(st *state, v any, a args) any {
	old, with := st.str(a.want(0, "old", "replace")), st.str(a.want(1, "new", "replace"))
	return replace(st, st.str(v), args{positional: []any{old, with, a.or(2, "count", nil)}})
}

func joinFilter(st *state, v any, a args) any {
	items := st.wantItems(v)
	if name, ok := a.get(1, "attribute"); ok {
		items = st.attributes(items, name, nil)
	}
	return st.join(st.str(a.or(0, "d", "")), items, st.str)
}

// path is a.b.0 for the attribute arguments of filters.
func (st *state) path(v, name any) any {
	if i, ok := integer(name); ok {
		return st.item(v, i)
	}
	for _, part := range strings.Split(wantText(name, "attribute"), ".") {
		if n, err := strconv.ParseInt(part, 10, 64); err == nil {
			v = st.item(v, n)
		} else {
			v = st.item(v, part)
		}
	}
	return v
}

func (st *state) attributes(items []any, name, fallback any) []any {
	out := make([]any, len(items))
	st.charge(16 * len(items))
	for i, item := range items {
		st.step(1)
		if out[i] = st.path(item, name); fallback != nil && isUndefined(out[i]) {
			out[i] = fallback
		}
	}
	return out
}

func intFilter(st *state, v any, a args) any {
	fallback := a.or(0, "default", int64(0))
	switch x := v.(type) {
	case float64:
		if math.Abs(x) < 1<<62 {
			return int64(x)
		}
		return fallback
	case Number:
		return x
	}
	if n, ok := integer(v); ok {
		return n
	}
	if s, ok := text(v); ok {
		s = strings.TrimFunc(s, pySpace)
		base := int(wantInt(a.or(1, "base", int64(10)), "int"))
		if n, err := strconv.ParseInt(s, base, 64); err == nil {
			return n
		}
		if f, err := strconv.ParseFloat(s, 64); err == nil && math.Abs(f) < 1<<62 {
			return int64(f)
		}
	}
	return fallback
}

func floatFilter(st *state, v any, a args) any {
	if f, ok := number(v); ok {
		return f
	}
	if s, ok := text(v); ok {
		if f, err := strconv.ParseFloat(strings.TrimFunc(s, pySpace), 64); err == nil {
			return f
		}
	}
	return a.or(0, "default", 0.0)
}

func absFilter(st *state, v any, a args) any {
	if n, ok := integer(v); ok {
		return max(n, -n)
	}
	f, ok := v.(float64)
	if !ok {
		fail("abs needs a number")
	}
	return math.Abs(f)
}

func roundFilter(st *state, v any, a args) any {
	f, ok := number(v)
	if !ok {
		fail("round needs a number")
	}
	scale := math.Pow(10, float64(wantInt(a.or(0, "precision", int64(0)), "round")))
	switch st.str(a.or(1, "method", "common")) {
	case "ceil":
		return math.Ceil(f*scale) / scale
	case "floor":
		return math.Floor(f*scale) / scale
	}
	return math.RoundToEven(f*scale) / scale
}

func listFilter(st *state, v any, a args) any {
	items := st.wantItems(v)
	st.charge(16 * len(items))
	return NewList(slices.Clone(items))
}

func firstFilter(st *state, v any, a args) any {
	if items := st.wantItems(v); len(items) > 0 {
		return items[0]
	}
	return &Undefined{"the first item of an empty sequence"}
}

func lastFilter(st *state, v any, a args) any {
	if items := st.wantItems(v); len(items) > 0 {
		return items[len(items)-1]
	}
	return &Undefined{"the last item of an empty sequence"}
}

func reverseFilter(st *state, v any, a args) any {
	if s, ok := text(v); ok {
		runes := []rune(s)
		st.charge(4 * len(runes))
		slices.Reverse(runes)
		return string(runes)
	}
	items := slices.Clone(st.wantItems(v))
	st.charge(16 * len(items))
	slices.Reverse(items)
	return &List{items, listView}
}

// sortKey folds case unless told not to.
func sortKey(v any, caseSensitive bool) any {
	if s, ok := text(v); ok && !caseSensitive {
		return strings.ToLower(s)
	}
	return v
}

// sorted sorts stably by key.
func (st *state) sorted(items []any, reverse bool, key func(any) any) []any {
	n := len(items)
	st.charge(32 * n)
	st.step(n * (1 + bitLen(n)))
	keys, order := make([]any, n), make([]int, n)
	for i, v := range items {
		keys[i], order[i] = key(v), i
	}
	slices.SortStableFunc(order, func(i, j int) int {
		x, y := keys[i], keys[j]
		if reverse {
			x, y = y, x
		}
		if st.less(x, y) {
			return -1
		}
		if st.less(y, x) {
			return 1
		}
		return 0
	})
	out := make([]any, n)
	for i, at := range order {
		out[i] = items[at]
	}
	return out
}

func bitLen(n int) (bits int) {
	for ; n > 0; n >>= 1 {
		bits++
	}
	return bits
}

func sortFilter(st *state, v any, a args) any {
	sensitive, name := truth(a.or(1, "case_sensitive", false)), a.or(2, "attribute", nil)
	return NewList(st.sorted(st.wantItems(v), truth(a.or(0, "reverse", false)), func(v any) any {
		if name != nil {
			v = st.path(v, name)
		}
		return sortKey(v, sensitive)
	}))
}

func uniqueFilter(st *state, v any, a args) any {
	sensitive, name := truth(a.or(0, "case_sensitive", false)), a.or(1, "attribute", nil)
	seen, out := NewDict(), &List{kind: listView}
	for _, item := range st.wantItems(v) {
		st.step(1)
		k := item
		if name != nil {
			k = st.path(item, name)
		}
		if k = sortKey(k, sensitive); !st.contains(seen, k) {
			seen.Set(k, true)
			out.Items = append(out.Items, item)
		}
	}
	return out
}

func extreme(smallest bool) filterFunc {
	return func(st *state, v any, a args) any {
		items := st.wantItems(v)
		if len(items) == 0 {
			return &Undefined{"the extreme of an empty sequence"}
		}
		sensitive, name := truth(a.or(0, "case_sensitive", false)), a.or(1, "attribute", nil)
		return st.sorted(items, !smallest, func(v any) any {
			if name != nil {
				v = st.path(v, name)
			}
			return sortKey(v, sensitive)
		})[0]
	}
}

func sumFilter(st *state, v any, a args) any {
	items := st.wantItems(v)
	if name, ok := a.get(0, "attribute"); ok && name != nil {
		items = st.attributes(items, name, nil)
	}
	total := a.or(1, "start", int64(0))
	for _, item := range items {
		st.step(1)
		total = st.arith("+", total, item)
	}
	return total
}

func batchFilter(st *state, v any, a args) any {
	n := int(wantInt(a.want(0, "linecount", "batch"), "batch"))
	if n < 1 || n > maxRange {
		fail("batch needs a positive number")
	}
	fill, filled := a.get(1, "fill_with")
	out := &List{kind: listView}
	for part := range slices.Chunk(st.wantItems(v), n) {
		part = slices.Clone(part)
		for filled && fill != nil && len(part) < n {
			part = append(part, fill)
		}
		st.charge(16 * len(part))
		out.Items = append(out.Items, NewList(part))
	}
	return out
}

func itemsFilter(st *state, v any, a args) any {
	if isUndefined(v) {
		return &List{kind: listView}
	}
	d, ok := v.(*Dict)
	if !ok {
		fail("items needs a dict, got a %s", typeName(v))
	}
	return st.pairs(d)
}

func dictsortFilter(st *state, v any, a args) any {
	d, ok := v.(*Dict)
	if !ok {
		touch(v)
		fail("dictsort needs a dict, got a %s", typeName(v))
	}
	at := 0
	if st.str(a.or(1, "by", "key")) == "value" {
		at = 1
	}
	sensitive := truth(a.or(0, "case_sensitive", false))
	return NewList(st.sorted(st.pairs(d).Items, truth(a.or(2, "reverse", false)), func(v any) any {
		return sortKey(v.(*List).Items[at], sensitive)
	}))
}

func mapFilter(st *state, v any, a args) any {
	items := st.wantItems(v)
	if name, ok := a.get(-1, "attribute"); ok {
		return &List{st.attributes(items, name, a.or(-1, "default", nil)), listView}
	}
	if len(a.positional) == 0 {
		fail("map needs a filter")
	}
	name := wantText(a.positional[0], "map")
	fn := filterTable[name]
	if fn == nil {
		fail("map needs a known filter")
	}
	rest := args{a.positional[1:], a.named}
	out := &List{kind: listView}
	st.charge(16 * len(items))
	for _, item := range items {
		st.step(1)
		out.Items = append(out.Items, fn(st, item, rest))
	}
	return out
}

func attrFilter(st *state, v any, a args) any {
	found := st.attr(v, wantText(a.want(0, "name", "attr"), "attr"))
	if isUndefined(found) {
		return &Undefined{"the attribute of a " + typeName(v)} // its name may be content
	}
	return found
}

// selector makes select, reject, selectattr and rejectattr.
func selector(byAttribute, keep bool) filterFunc {
	return func(st *state, v any, a args) any {
		p := a.positional
		get := func(v any) any { return v }
		if byAttribute {
			name := a.want(0, "attribute", "selectattr")
			p = p[1:]
			get = func(v any) any { return st.path(v, name) }
		}
		check := func(v any) bool { return truth(v) }
		if len(p) > 0 {
			name := wantText(p[0], "select")
			fn := testTable[name]
			if fn == nil {
				fail("select needs a known test")
			}
			rest := args{p[1:], a.named}
			check = func(v any) bool { return fn(st, v, rest) }
		}
		out := &List{kind: listView}
		for _, item := range st.wantItems(v) {
			st.step(1)
			if check(get(item)) == keep {
				out.Items = append(out.Items, item)
			}
		}
		st.charge(16 * len(out.Items))
		return out
	}
}

func groupbyFilter(st *state, v any, a args) any {
	name, sensitive := a.want(0, "attribute", "groupby"), truth(a.or(2, "case_sensitive", false))
	key := func(v any) any { return sortKey(st.path(v, name), sensitive) }
	var out []any
	var last any
	for i, item := range st.sorted(st.wantItems(v), false, key) {
		k := key(item)
		if i == 0 || !st.equal(k, last) {
			out = append(out, tuple(st.path(item, name), NewList(nil)))
			last = k
		}
		group := out[len(out)-1].(*List).Items[1].(*List)
		group.Items = append(group.Items, item)
	}
	return NewList(out)
}
