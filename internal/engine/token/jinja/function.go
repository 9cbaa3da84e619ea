package jinja

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// args are evaluated arguments of a call.
type args struct {
	positional []any
	named      *Dict // nil without
}

// function is anything callable.
type function struct {
	name string
	fn   func(st *state, a args) any
}

func (f *function) call(st *state, a args) any {
	st.step(1)
	return f.fn(st, a)
}

// get is the argument at position i or by name.
func (a args) get(i int, name string) (any, bool) {
	if i >= 0 && i < len(a.positional) {
		return a.positional[i], true
	}
	if a.named != nil && name != "" {
		return a.named.Get(name)
	}
	return nil, false
}

func (a args) or(i int, name string, fallback any) any {
	if v, ok := a.get(i, name); ok {
		return v
	}
	return fallback
}

func (a args) want(i int, name, of string) any {
	v, ok := a.get(i, name)
	if !ok {
		fail("%s needs the argument %q", of, name)
	}
	return v
}

const maxRange = 100000

// builtins are the global names.
func builtins() map[string]any {
	table := map[string]any{}
	for name, fn := range map[string]func(*state, args) any{
		"raise_exception": raiseException, "range": rangeFunction, "namespace": namespaceFunction,
		"dict": dictFunction, "strftime_now": strftimeNow, "joiner": joiner, "cycler": cycler,
	} {
		table[name] = &function{name, fn}
	}
	return table
}

func raiseException(st *state, a args) any {
	panic(&Error{Message: st.str(a.or(0, "message", "")), Raised: true})
}

func rangeFunction(st *state, a args) any {
	var v []int64
	for _, p := range a.positional {
		v = append(v, wantInt(p, "range"))
	}
	lo, hi, by := int64(0), int64(0), int64(1)
	switch len(v) {
	case 1:
		hi = v[0]
	case 2:
		lo, hi = v[0], v[1]
	case 3:
		lo, hi, by = v[0], v[1], v[2]
	default:
		fail("range needs one to three integers")
	}
	if by == 0 {
		fail("range needs a step other than zero")
	}
	out := &List{kind: listView}
	for i := lo; by > 0 && i < hi || by < 0 && i > hi; i += by {
		if len(out.Items) >= maxRange {
			fail("range is longer than %d", maxRange)
		}
		out.Items = append(out.Items, i)
		if by > 0 && i > i+by || by < 0 && i < i+by {
			break
		}
	}
	st.charge(16 * len(out.Items))
	return out
}

// newDict is dict(mapping or pairs, **named).
func newDict(st *state, a args) *Dict {
	d := NewDict()
	if len(a.positional) > 0 {
		if m, ok := a.positional[0].(*Dict); ok {
			for i, k := range m.keys {
				d.Set(k, m.values[i])
			}
		} else {
			for _, pair := range st.wantItems(a.positional[0]) {
				kv := st.wantItems(pair)
				if len(kv) != 2 {
					fail("dict needs pairs")
				}
				d.Set(kv[0], kv[1])
			}
		}
	}
	if a.named != nil {
		for i, k := range a.named.keys {
			d.Set(k, a.named.values[i])
		}
	}
	st.charge(64 * d.Len())
	return d
}

func dictFunction(st *state, a args) any { return newDict(st, a) }

func namespaceFunction(st *state, a args) any {
	d := newDict(st, a)
	for _, k := range d.keys {
		if s, ok := text(k); ok && strings.HasPrefix(s, "_") {
			fail("a namespace stores no attribute that begins with an underscore")
		}
	}
	return &Namespace{d}
}

func joiner(st *state, a args) any {
	used, sep := false, a.or(0, "sep", ", ")
	return &function{"joiner", func(*state, args) any {
		if !used {
			used = true
			return ""
		}
		return sep
	}}
}

func cycler(st *state, a args) any {
	if len(a.positional) == 0 {
		fail("cycler needs an item")
	}
	at, d := 0, NewDict()
	d.Set("next", &function{"next", func(*state, args) any {
		v := a.positional[at%len(a.positional)]
		at++
		d.Set("current", a.positional[at%len(a.positional)])
		return v
	}})
	d.Set("reset", &function{"reset", func(*state, args) any {
		at = 0
		d.Set("current", a.positional[0])
		return nil
	}})
	d.Set("current", a.positional[0])
	return &Namespace{d}
}

// strftimeNow formats the rendering's clock.
func strftimeNow(st *state, a args) any {
	return strftime(st.now(), wantText(a.want(0, "format", "strftime_now"), "strftime_now"))
}

// goLayout maps directives of strftime to layouts of package time.
var goLayout = map[byte]string{'Y': "2006", 'm': "01", 'd': "02", 'H': "15", 'I': "03", 'M': "04", 'S': "05", 'y': "06", 'B': "January",
	'b': "Jan", 'h': "Jan", 'A': "Monday", 'a': "Mon", 'p': "PM", 'Z': "", 'z': "", 'e': "_2", 'D': "01/02/06", 'F': "2006-01-02",
	'T': "15:04:05", 'R': "15:04", 'j': "002", 'c': "Mon Jan _2 15:04:05 2006", 'x': "01/02/06", 'X': "15:04:05"}

// unpadded are the directives with "-": no leading zero.
var unpadded = map[byte]string{'d': "2", 'm': "1", 'I': "3", 'y': "06"}

func strftime(now time.Time, format string) string {
	var b strings.Builder
	for i := 0; i < len(format); i++ {
		if format[i] != '%' || i+1 == len(format) {
			b.WriteByte(format[i])
			continue
		}
		i++
		if format[i] == '-' && i+1 < len(format) {
			i++
			switch format[i] {
			case 'H':
				b.WriteString(strconv.Itoa(now.Hour()))
			case 'M':
				b.WriteString(strconv.Itoa(now.Minute()))
			case 'S':
				b.WriteString(strconv.Itoa(now.Second()))
			case 'j':
				b.WriteString(strconv.Itoa(now.YearDay()))
			default:
				b.WriteString(now.Format(unpadded[format[i]]))
			}
			continue
		}
		switch layout, ok := goLayout[format[i]]; {
		case ok:
			b.WriteString(now.Format(layout))
		case format[i] == '%':
			b.WriteByte('%')
		case format[i] == 'f':
			fmt.Fprintf(&b, "%06d", now.Nanosecond()/1000)
		default:
			b.WriteByte('%')
			b.WriteByte(format[i])
		}
	}
	return b.String()
}
