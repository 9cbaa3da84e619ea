package jinja

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

type method func(st *state, self any, a args) any

// method finds a bound method; nil without one.
func (st *state) method(v any, name string) any {
	var m method
	switch v.(type) {
	case string, Markup:
		m = stringMethods[name]
	case *Dict:
		m = dictMethods[name]
	case *List:
		m = listMethods[name]
	}
	if m == nil {
		return nil
	}
	return &function{name, func(st *state, a args) any { return m(st, v, a) }}
}

// mutation stands for the methods that change their object: the sandbox of
// transformers refuses them.
func mutation(st *state, self any, a args) any {
	fail("the template changes a %s, which is not allowed", typeName(self))
	return nil
}

var listMethods, dictMethods, stringMethods map[string]method

func init() {
	listMethods = map[string]method{
		"append": mutation, "extend": mutation, "insert": mutation, "pop": mutation, "remove": mutation, "sort": mutation,
		"reverse": mutation, "clear": mutation,
		"copy": func(st *state, self any, a args) any {
			l := self.(*List)
			st.charge(16 * len(l.Items))
			return &List{append([]any(nil), l.Items...), l.kind}
		},
		"index": func(st *state, self any, a args) any {
			for i, v := range self.(*List).Items {
				if st.equal(v, a.want(0, "value", "index")) {
					return int64(i)
				}
			}
			fail("the value is not in the list")
			return nil
		},
		"count": func(st *state, self any, a args) any {
			n := int64(0)
			for _, v := range self.(*List).Items {
				if st.equal(v, a.want(0, "value", "count")) {
					n++
				}
			}
			return n
		},
	}
	dictMethods = map[string]method{
		"setdefault": mutation, "update": mutation, "pop": mutation, "popitem": mutation, "clear": mutation,
		"get": func(st *state, self any, a args) any {
			if v, ok := self.(*Dict).Get(a.want(0, "key", "get")); ok {
				return v
			}
			return a.or(1, "default", nil)
		},
		"items":  func(st *state, self any, a args) any { return st.pairs(self.(*Dict)) },
		"keys":   func(st *state, self any, a args) any { return &List{self.(*Dict).keys, listView} },
		"values": func(st *state, self any, a args) any { return &List{self.(*Dict).values, listView} },
		"copy":   func(st *state, self any, a args) any { return newDict(st, args{positional: []any{self}}) },
	}
	stringMethods = map[string]method{
		"upper": mapped(strings.ToUpper), "lower": mapped(strings.ToLower), "casefold": mapped(strings.ToLower),
		"capitalize": mapped(capitalize), "title": mapped(title), "swapcase": mapped(swapcase),
		"strip": stripper(true, true), "lstrip": stripper(true, false), "rstrip": stripper(false, true),
		"split": split, "rsplit": rsplit, "splitlines": splitlines, "replace": replace, "join": join,
		"startswith": affix(strings.HasPrefix), "endswith": affix(strings.HasSuffix),
		"removeprefix": trimmed(strings.TrimPrefix), "removesuffix": trimmed(strings.TrimSuffix),
		"find": finder(strings.Index, false), "rfind": finder(strings.LastIndex, false),
		"index": finder(strings.Index, true), "rindex": finder(strings.LastIndex, true),
		"count": count, "partition": partition, "rpartition": rpartition, "zfill": zfill,
		"ljust": justified(0), "rjust": justified(1), "center": justified(2), "format": format,
		"isdigit": every(unicode.IsDigit), "isdecimal": every(unicode.IsDigit), "isnumeric": every(unicode.IsNumber),
		"isalpha": every(unicode.IsLetter), "isspace": every(unicode.IsSpace),
		"isalnum": every(func(r rune) bool { return unicode.IsLetter(r) || unicode.IsNumber(r) }),
		"isupper": cased(unicode.IsUpper, unicode.IsLower), "islower": cased(unicode.IsLower, unicode.IsUpper),
	}
}

func (st *state) pairs(d *Dict) *List {
	st.charge(64 * d.Len())
	out := &List{kind: listView}
	for i, k := range d.keys {
		out.Items = append(out.Items, &List{[]any{k, d.values[i]}, listTuple})
	}
	return out
}

func self(v any) string {
	s, _ := text(v)
	return s
}

// mapped makes a method of a function on strings.
func mapped(f func(string) string) method {
	return func(st *state, v any, a args) any {
		s := self(v)
		st.charge(2 * len(s))
		return f(s)
	}
}

func capitalize(s string) string {
	_, n := utf8.DecodeRuneInString(s)
	return strings.ToTitle(s[:n]) + strings.ToLower(s[n:])
}

// title is str.title: a letter behind a non-letter is upper.
func title(s string) string {
	inWord := false
	return strings.Map(func(r rune) rune {
		letter := unicode.IsLetter(r)
		defer func() { inWord = letter }()
		if letter && inWord {
			return unicode.ToLower(r)
		}
		return unicode.ToTitle(r)
	}, s)
}

func swapcase(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsUpper(r) {
			return unicode.ToLower(r)
		}
		return unicode.ToUpper(r)
	}, s)
}

// pySpace is str.isspace of one rune: Unicode white space and the four
// information separators.
func pySpace(r rune) bool { return unicode.IsSpace(r) || r >= 0x1c && r <= 0x1f }

func stripper(left, right bool) method {
	return func(st *state, v any, a args) any {
		s, in := self(v), pySpace
		if cut := a.or(0, "chars", nil); cut != nil {
			chars := wantText(cut, "strip")
			in = func(r rune) bool { return strings.ContainsRune(chars, r) }
		}
		st.step(len(s)/64 + 1)
		if left {
			s = strings.TrimLeftFunc(s, in)
		}
		if right {
			s = strings.TrimRightFunc(s, in)
		}
		return s
	}
}

func (st *state) list(parts []string) *List {
	st.charge(16 * len(parts))
	out := &List{Items: make([]any, len(parts))}
	for i, p := range parts {
		out.Items[i] = p
	}
	return out
}

func splitArgs(a args) (sep string, spaces bool, most int) {
	v := a.or(0, "sep", nil)
	if v == nil {
		spaces = true
	} else if sep = wantText(v, "split"); sep == "" {
		fail("an empty separator")
	}
	return sep, spaces, int(wantInt(a.or(1, "maxsplit", int64(-1)), "maxsplit"))
}

func split(st *state, v any, a args) any {
	s := self(v)
	sep, spaces, most := splitArgs(a)
	st.charge(len(s))
	if !spaces {
		if most < 0 {
			return st.list(strings.Split(s, sep))
		}
		return st.list(strings.SplitN(s, sep, most+1))
	}
	if most < 0 {
		return st.list(strings.FieldsFunc(s, pySpace))
	}
	var parts []string
	for s = strings.TrimLeftFunc(s, pySpace); s != ""; s = strings.TrimLeftFunc(s, pySpace) {
		end := strings.IndexFunc(s, pySpace)
		if end < 0 || len(parts) == most {
			if len(parts) == most {
				s = strings.TrimRightFunc(s, pySpace)
			}
			parts = append(parts, s)
			break
		}
		parts, s = append(parts, s[:end]), s[end:]
	}
	return st.list(parts)
}

func rsplit(st *state, v any, a args) any {
	s := self(v)
	sep, spaces, most := splitArgs(a)
	if most < 0 || spaces && most < 0 {
		return split(st, v, a)
	}
	if spaces {
		fail("rsplit without a separator but with maxsplit is not supported")
	}
	st.charge(len(s))
	parts := strings.Split(s, sep)
	if keep := len(parts) - most; keep > 1 {
		parts = append([]string{strings.Join(parts[:keep], sep)}, parts[keep:]...)
	}
	return st.list(parts)
}

func splitlines(st *state, v any, a args) any {
	s, keep := self(v), truth(a.or(0, "keepends", false))
	st.charge(len(s))
	var parts []string
	for s != "" {
		end := strings.IndexFunc(s, func(r rune) bool {
			return r >= '\n' && r <= '\r' || r >= 0x1c && r <= 0x1e || r == 0x85 || r == 0x2028 || r == 0x2029
		})
		if end < 0 {
			parts = append(parts, s)
			break
		}
		_, n := utf8.DecodeRuneInString(s[end:])
		if strings.HasPrefix(s[end:], "\r\n") {
			n = 2
		}
		line := s[:end]
		if keep {
			line = s[:end+n]
		}
		parts, s = append(parts, line), s[end+n:]
	}
	return st.list(parts)
}

func replace(st *state, v any, a args) any {
	s, old, with := self(v), wantText(a.want(0, "old", "replace"), "replace"), wantText(a.want(1, "new", "replace"), "replace")
	most := -1
	if m := a.or(2, "count", nil); m != nil {
		most = int(wantInt(m, "replace"))
	}
	if n := strings.Count(s, old); n > 0 && len(with) > st.limits.Bytes/n {
		st.charge(st.limits.Bytes + 1)
	} else {
		st.charge(len(s) + n*len(with))
	}
	return strings.Replace(s, old, with, most)
}

func join(st *state, v any, a args) any {
	return st.join(self(v), st.wantItems(a.want(0, "iterable", "join")), func(v any) string { return wantText(v, "join") })
}

func (st *state) join(sep string, items []any, str func(any) string) string {
	var b strings.Builder
	for i, item := range items {
		if i > 0 {
			st.charge(len(sep))
			b.WriteString(sep)
		}
		s := str(item)
		st.charge(len(s))
		b.WriteString(s)
	}
	return b.String()
}

func affix(has func(s, affix string) bool) method {
	return func(st *state, v any, a args) any {
		if l, ok := a.want(0, "prefix", "startswith").(*List); ok && l.kind == listTuple {
			for _, p := range l.Items {
				if has(self(v), wantText(p, "startswith")) {
					return true
				}
			}
			return false
		}
		return has(self(v), wantText(a.positional[0], "startswith"))
	}
}

func trimmed(f func(s, affix string) string) method {
	return func(st *state, v any, a args) any {
		return f(self(v), wantText(a.want(0, "prefix", "removeprefix"), "removeprefix"))
	}
}

func finder(f func(s, sub string) int, must bool) method {
	return func(st *state, v any, a args) any {
		s := self(v)
		if len(a.positional) > 1 {
			fail("find with bounds is not supported")
		}
		st.step(len(s)/64 + 1)
		i := f(s, wantText(a.want(0, "sub", "find"), "find"))
		if i < 0 {
			if must {
				fail("substring not found")
			}
			return int64(-1)
		}
		return int64(utf8.RuneCountInString(s[:i]))
	}
}

func count(st *state, v any, a args) any {
	st.step(len(self(v))/64 + 1)
	return int64(strings.Count(self(v), wantText(a.want(0, "sub", "count"), "count")))
}

func tuple(items ...any) any { return &List{items, listTuple} }

func partition(st *state, v any, a args) any {
	sep := wantText(a.want(0, "sep", "partition"), "partition")
	if before, after, ok := strings.Cut(self(v), sep); ok {
		return tuple(before, sep, after)
	}
	return tuple(self(v), "", "")
}

func rpartition(st *state, v any, a args) any {
	s, sep := self(v), wantText(a.want(0, "sep", "rpartition"), "rpartition")
	if i := strings.LastIndex(s, sep); i >= 0 {
		return tuple(s[:i], sep, s[i+len(sep):])
	}
	return tuple("", "", s)
}

// padding makes n runes of fill.
func (st *state) padding(fill string, n int64) string {
	if n <= 0 {
		return ""
	}
	return st.repeat(fill, n).(string)
}

func zfill(st *state, v any, a args) any {
	s := self(v)
	pad := st.padding("0", wantInt(a.want(0, "width", "zfill"), "zfill")-int64(utf8.RuneCountInString(s)))
	if s != "" && (s[0] == '-' || s[0] == '+') {
		return s[:1] + pad + s[1:]
	}
	return pad + s
}

// justified pads right (0), left (1) or both (2).
func justified(side int) method {
	return func(st *state, v any, a args) any {
		s, fill := self(v), wantText(a.or(1, "fillchar", " "), "a fill character")
		width := wantInt(a.want(0, "width", "ljust"), "a width")
		room := max(width-int64(utf8.RuneCountInString(s)), 0)
		switch side {
		case 0:
			return s + st.padding(fill, room)
		case 1:
			return st.padding(fill, room) + s
		}
		left := room/2 + room&width&1
		return st.padding(fill, left) + s + st.padding(fill, room-left)
	}
}

func every(in func(rune) bool) method {
	return func(st *state, v any, a args) any {
		s := self(v)
		st.step(len(s)/64 + 1)
		return s != "" && strings.IndexFunc(s, func(r rune) bool { return !in(r) }) < 0
	}
}

func cased(want, not func(rune) bool) method {
	return func(st *state, v any, a args) any {
		s := self(v)
		return strings.IndexFunc(s, want) >= 0 && strings.IndexFunc(s, not) < 0
	}
}
