package jinja

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

func tojson(st *state, v any, a args) any {
	w := &jsonWriter{st: st, item: ", ", key: ": ", ascii: truth(a.or(0, "ensure_ascii", false)), sortKeys: truth(a.or(3, "sort_keys", false))}
	if indent := a.or(1, "indent", nil); indent != nil {
		w.item, w.newlines = ",", true
		if s, ok := text(indent); ok {
			w.indent = s
		} else {
			w.indent = strings.Repeat(" ", int(min(max(wantInt(indent, "tojson"), 0), 100)))
		}
	}
	if sep := a.or(2, "separators", nil); sep != nil {
		parts := st.wantItems(sep)
		if len(parts) != 2 {
			fail("separators need two strings")
		}
		w.item, w.key = wantText(parts[0], "separators"), wantText(parts[1], "separators")
	}
	w.value(v, 0)
	st.charge(w.b.Len())
	return w.b.String()
}

var htmlEscapes = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", "'", "&#39;", `"`, "&#34;")

func escapeHTML(s string) string { return htmlEscapes.Replace(s) }

func escapeFilter(st *state, v any, a args) any {
	if m, ok := v.(Markup); ok {
		return m
	}
	s := st.str(v)
	st.charge(6 * len(s))
	return Markup(escapeHTML(s))
}

func indentFilter(st *state, v any, a args) any {
	s, pad := st.str(v), ""
	if width := a.or(0, "width", int64(4)); true {
		if p, ok := text(width); ok {
			pad = p
		} else {
			pad = st.padding(" ", wantInt(width, "indent"))
		}
	}
	first, blank := truth(a.or(1, "first", false)), truth(a.or(2, "blank", false))
	lines := strings.Split(s, "\n")
	st.charge(len(s) + len(pad)*len(lines))
	for i := range lines {
		if (i > 0 || first) && (blank || lines[i] != "" || i == 0) {
			lines[i] = pad + lines[i]
		}
	}
	return strings.Join(lines, "\n")
}

func wordcount(st *state, v any, a args) any {
	n, in := int64(0), false
	for _, r := range st.str(v) {
		if w := isWordRune(r); w != in {
			if in = w; in {
				n++
			}
		}
	}
	return n
}

func isWordRune(r rune) bool { return r == '_' || unicode.IsLetter(r) || unicode.IsNumber(r) }

func centerFilter(st *state, v any, a args) any {
	return justified(2)(st, st.str(v), args{positional: []any{a.or(0, "width", int64(80))}})
}

func truncateFilter(st *state, v any, a args) any {
	s, n := st.str(v), wantInt(a.or(0, "length", int64(255)), "truncate")
	end := st.str(a.or(2, "end", "..."))
	leeway := wantInt(a.or(3, "leeway", int64(5)), "truncate")
	runes := []rune(s)
	if int64(len(runes)) <= n+leeway {
		return s
	}
	keep := n - int64(utf8.RuneCountInString(end))
	if keep < 0 {
		fail("truncate needs a length of at least its end")
	}
	s = string(runes[:keep])
	if !truth(a.or(1, "killwords", false)) {
		if i := strings.LastIndexByte(s, ' '); i >= 0 {
			s = s[:i]
		}
	}
	return s + end
}
