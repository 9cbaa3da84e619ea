package jinja

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf16"
)

// str is Python's str().
func (st *state) str(v any) string {
	if s, ok := text(v); ok {
		return s
	}
	if _, ok := v.(*Undefined); ok {
		return ""
	}
	s := repr(v)
	st.charge(len(s))
	return s
}

// repr is Python's repr().
func repr(v any) string {
	var b strings.Builder
	writeRepr(&b, v, 0)
	return b.String()
}

// maxRepr bounds the text of one value.
const maxRepr = 64 << 20

func writeRepr(b *strings.Builder, v any, depth int) {
	if depth > 100 || b.Len() > maxRepr {
		fail("a value is too large or nested too deep to be printed")
	}
	switch v := v.(type) {
	case nil:
		b.WriteString("None")
	case bool:
		b.WriteString(map[bool]string{true: "True", false: "False"}[v])
	case int64:
		b.WriteString(strconv.FormatInt(v, 10))
	case Number:
		b.WriteString(string(v))
	case float64:
		b.WriteString(floatText(v))
	case string:
		writeQuoted(b, v)
	case Markup:
		writeQuoted(b, string(v))
	case *List:
		writeListRepr(b, v, depth)
	case *Dict:
		b.WriteByte('{')
		for i, k := range v.keys {
			if i > 0 {
				b.WriteString(", ")
			}
			writeRepr(b, k, depth+1)
			b.WriteString(": ")
			writeRepr(b, v.values[i], depth+1)
		}
		b.WriteByte('}')
	case *Undefined:
		b.WriteString("Undefined")
	default:
		fmt.Fprintf(b, "<%s>", typeName(v))
	}
}

func writeListRepr(b *strings.Builder, v *List, depth int) {
	open, end := "[", "]"
	if v.kind == listTuple {
		open, end = "(", ")"
		if len(v.Items) == 1 {
			end = ",)"
		}
	}
	b.WriteString(open)
	for i, item := range v.Items {
		if i > 0 {
			b.WriteString(", ")
		}
		writeRepr(b, item, depth+1)
	}
	b.WriteString(end)
}

// floatText is Python's repr of a float.
func floatText(f float64) string {
	switch {
	case math.IsNaN(f):
		return "nan"
	case math.IsInf(f, 0):
		return map[bool]string{true: "inf", false: "-inf"}[f > 0]
	}
	if a := math.Abs(f); a != 0 && (a < 1e-4 || a >= 1e16) {
		return strconv.FormatFloat(f, 'e', -1, 64)
	}
	s := strconv.FormatFloat(f, 'f', -1, 64)
	if !strings.Contains(s, ".") {
		s += ".0"
	}
	return s
}

// writeQuoted prefers single quotes, as Python does.
func writeQuoted(b *strings.Builder, s string) {
	quote := '\''
	if strings.Contains(s, "'") && !strings.Contains(s, `"`) {
		quote = '"'
	}
	b.WriteRune(quote)
	for _, r := range s {
		switch {
		case r == quote || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\r':
			b.WriteString(`\r`)
		case r == '\t':
			b.WriteString(`\t`)
		case r < ' ' || r == 0x7f:
			fmt.Fprintf(b, `\x%02x`, r)
		case r < 0x7f || unicode.IsPrint(r):
			b.WriteRune(r)
		case r <= 0xff:
			fmt.Fprintf(b, `\x%02x`, r)
		case r <= 0xffff:
			fmt.Fprintf(b, `\u%04x`, r)
		default:
			fmt.Fprintf(b, `\U%08x`, r)
		}
	}
	b.WriteRune(quote)
}

// jsonWriter is json.dumps.
type jsonWriter struct {
	st        *state
	b         strings.Builder
	ascii     bool
	sortKeys  bool
	indent    string // of one level
	newlines  bool
	item, key string // separators
}

func (w *jsonWriter) value(v any, depth int) {
	if depth > 100 || w.b.Len() > maxRepr {
		fail("a value is too large or nested too deep for JSON")
	}
	switch v := v.(type) {
	case nil:
		w.b.WriteString("null")
	case bool:
		w.b.WriteString(strconv.FormatBool(v))
	case int64:
		w.b.WriteString(strconv.FormatInt(v, 10))
	case Number:
		w.b.WriteString(string(v))
	case float64:
		w.b.WriteString(jsonFloat(v))
	case string:
		w.quoted(v)
	case Markup:
		w.quoted(string(v))
	case *List:
		w.list(v, depth)
	case *Dict:
		w.dict(v, depth)
	default:
		fail("Object of type %s is not JSON serializable", typeName(v))
	}
}

func jsonFloat(f float64) string {
	switch {
	case math.IsNaN(f):
		return "NaN"
	case math.IsInf(f, 1):
		return "Infinity"
	case math.IsInf(f, -1):
		return "-Infinity"
	}
	return floatText(f)
}

func (w *jsonWriter) newline(depth int) {
	if w.newlines {
		w.b.WriteByte('\n')
		w.b.WriteString(strings.Repeat(w.indent, depth))
	}
}

func (w *jsonWriter) list(v *List, depth int) {
	if len(v.Items) == 0 {
		w.b.WriteString("[]")
		return
	}
	w.b.WriteByte('[')
	for i, item := range v.Items {
		if i > 0 {
			w.b.WriteString(w.item)
		}
		w.newline(depth + 1)
		w.value(item, depth+1)
	}
	w.newline(depth)
	w.b.WriteByte(']')
}

func (w *jsonWriter) dict(v *Dict, depth int) {
	if len(v.keys) == 0 {
		w.b.WriteString("{}")
		return
	}
	order := make([]int, len(v.keys))
	for i := range order {
		order[i] = i
	}
	if w.sortKeys {
		slices.SortStableFunc(order, func(i, j int) int {
			if w.st.less(v.keys[i], v.keys[j]) {
				return -1
			}
			if w.st.less(v.keys[j], v.keys[i]) {
				return 1
			}
			return 0
		})
	}
	w.b.WriteByte('{')
	for n, i := range order {
		if n > 0 {
			w.b.WriteString(w.item)
		}
		w.newline(depth + 1)
		w.mapKey(v.keys[i])
		w.b.WriteString(w.key)
		w.value(v.values[i], depth+1)
	}
	w.newline(depth)
	w.b.WriteByte('}')
}

// mapKey writes a key as a string, as json.dumps does with scalars.
func (w *jsonWriter) mapKey(k any) {
	if s, ok := text(k); ok {
		w.quoted(s)
		return
	}
	if _, list := k.(*List); list {
		fail("keys must be str, int, float, bool or None")
	}
	w.b.WriteByte('"')
	w.value(k, 0)
	w.b.WriteByte('"')
}

var jsonEscapes = map[rune]string{'"': `\"`, '\\': `\\`, '\n': `\n`, '\r': `\r`, '\t': `\t`, '\b': `\b`, '\f': `\f`}

func (w *jsonWriter) quoted(s string) {
	w.b.WriteByte('"')
	for _, r := range s {
		if e, ok := jsonEscapes[r]; ok {
			w.b.WriteString(e)
		} else if r < ' ' || w.ascii && r > 0x7e && r <= 0xffff {
			fmt.Fprintf(&w.b, `\u%04x`, r)
		} else if w.ascii && r > 0xffff {
			hi, lo := utf16.EncodeRune(r)
			fmt.Fprintf(&w.b, `\u%04x\u%04x`, hi, lo)
		} else {
			w.b.WriteRune(r)
		}
	}
	w.b.WriteByte('"')
}
