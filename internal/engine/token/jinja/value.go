package jinja

import (
	"math"
	"strings"
	"unicode/utf8"
)

// Values are Go values: nil (None), bool, int64, float64, string, Markup,
// Number, *List, *Dict, *Undefined, *Namespace, *function, *loop.
type (
	// Undefined is a name, attribute or item that does not exist.
	Undefined struct{ what string }
	// Markup is a string marked safe: adding to it escapes the other side.
	Markup string
	// Number is an integer beyond 64 bits: it can be printed, not computed with.
	Number string
	// Namespace is what namespace() makes: the one mutable value.
	Namespace struct{ attrs *Dict }
)

type listKind uint8

const (
	listList listKind = iota
	listTuple
	listView // generators, ranges, views: can be iterated, print as lists
)

// List is a list, tuple or view.
type List struct {
	Items []any
	kind  listKind
}

// NewList makes a list.
func NewList(items []any) *List { return &List{Items: items} }

// Dict keeps insertion order.
type Dict struct {
	keys   []any
	values []any
	index  map[any]int
}

// NewDict makes an empty dict.
func NewDict() *Dict { return &Dict{index: map[any]int{}} }

// Len is the number of keys.
func (d *Dict) Len() int { return len(d.keys) }

// hashKey makes equal keys equal Go values: 1, 1.0 and true are one key.
func hashKey(k any) any {
	switch k := k.(type) {
	case bool:
		if k {
			return int64(1)
		}
		return int64(0)
	case float64:
		if k == math.Trunc(k) && math.Abs(k) < 1<<53 {
			return int64(k)
		}
		return k
	case Markup:
		return string(k)
	case nil, int64, string, Number:
		return k
	case *List:
		if k.kind == listTuple {
			return "\x00tuple" + repr(k)
		}
	}
	fail("a %s cannot be a key", typeName(k))
	return nil
}

// Set adds or replaces a key.
func (d *Dict) Set(k, v any) {
	h := hashKey(k)
	if i, ok := d.index[h]; ok {
		d.values[i] = v
		return
	}
	d.index[h] = len(d.keys)
	d.keys, d.values = append(d.keys, k), append(d.values, v)
}

// Get looks a key up.
func (d *Dict) Get(k any) (any, bool) {
	i, ok := d.index[hashKey(k)]
	if !ok {
		return nil, false
	}
	return d.values[i], true
}

// remove deletes a key.
func (d *Dict) remove(k any) {
	h := hashKey(k)
	i, ok := d.index[h]
	if !ok {
		return
	}
	delete(d.index, h)
	d.keys = append(d.keys[:i:i], d.keys[i+1:]...)
	d.values = append(d.values[:i:i], d.values[i+1:]...)
	for at := i; at < len(d.keys); at++ {
		d.index[hashKey(d.keys[at])] = at
	}
}

func typeName(v any) string {
	switch v := v.(type) {
	case nil:
		return "NoneType"
	case bool:
		return "bool"
	case int64, Number:
		return "int"
	case float64:
		return "float"
	case string, Markup:
		return "str"
	case *List:
		if v.kind == listTuple {
			return "tuple"
		}
		return "list"
	case *Dict:
		return "dict"
	case *Undefined:
		return "Undefined"
	case *Namespace:
		return "Namespace"
	}
	return "function"
}

// touch fails when an undefined value is used as something.
func touch(v any) {
	if u, ok := v.(*Undefined); ok {
		fail("%s is undefined", u.what)
	}
}

func truth(v any) bool {
	switch v := v.(type) {
	case nil, *Undefined:
		return false
	case bool:
		return v
	case int64:
		return v != 0
	case float64:
		return v != 0
	case string:
		return v != ""
	case Markup:
		return v != ""
	case *List:
		return v.kind == listView || len(v.Items) > 0
	case *Dict:
		return len(v.keys) > 0
	}
	return true
}

// text returns a string's value.
func text(v any) (string, bool) {
	switch v := v.(type) {
	case string:
		return v, true
	case Markup:
		return string(v), true
	}
	return "", false
}

func wantText(v any, what string) string {
	s, ok := text(v)
	if !ok {
		touch(v)
		fail("%s needs a str, got a %s", what, typeName(v))
	}
	return s
}

// integer reads int or bool.
func integer(v any) (int64, bool) {
	switch v := v.(type) {
	case int64:
		return v, true
	case bool:
		if v {
			return 1, true
		}
		return 0, true
	}
	return 0, false
}

func wantInt(v any, what string) int64 {
	n, ok := integer(v)
	if !ok {
		touch(v)
		fail("%s needs an int, got a %s", what, typeName(v))
	}
	return n
}

// number reads int, bool or float as float64.
func number(v any) (float64, bool) {
	if n, ok := integer(v); ok {
		return float64(n), true
	}
	f, ok := v.(float64)
	return f, ok
}

// length is Python's len.
func length(v any) int {
	switch v := v.(type) {
	case string:
		return utf8.RuneCountInString(v)
	case Markup:
		return utf8.RuneCountInString(string(v))
	case *List:
		return len(v.Items)
	case *Dict:
		return len(v.keys)
	case *Undefined:
		return 0
	}
	fail("a %s has no length", typeName(v))
	return 0
}

// items lists what iterating yields; ok is false for what cannot be iterated.
func (st *state) items(v any) (items []any, ok bool) {
	switch v := v.(type) {
	case *List:
		return v.Items, true
	case *Dict:
		return v.keys, true
	case *Undefined:
		return nil, true
	}
	s, ok := text(v)
	if !ok {
		return nil, false
	}
	st.charge(16 * len(s))
	for _, r := range s {
		items = append(items, string(r))
	}
	return items, true
}

func (st *state) wantItems(v any) []any {
	items, ok := st.items(v)
	if !ok {
		fail("a %s cannot be iterated", typeName(v))
	}
	return items
}

// equal is Python's ==.
func (st *state) equal(a, b any) bool {
	st.step(1)
	st.enterValue()
	defer func() { st.valueDepth-- }()
	if x, ok := number(a); ok {
		if y, ok := number(b); ok {
			i, iok := integer(a)
			j, jok := integer(b)
			return x == y && (!iok || !jok || i == j)
		}
		return false
	}
	if x, ok := text(a); ok {
		y, ok := text(b)
		return ok && x == y
	}
	switch x := a.(type) {
	case *List:
		y, ok := b.(*List)
		if !ok || x.kind != y.kind || len(x.Items) != len(y.Items) {
			return false
		}
		for i := range x.Items {
			if !st.equal(x.Items[i], y.Items[i]) {
				return false
			}
		}
		return true
	case *Dict:
		y, ok := b.(*Dict)
		if !ok || len(x.keys) != len(y.keys) {
			return false
		}
		for i, k := range x.keys {
			if v, ok := y.Get(k); !ok || !st.equal(x.values[i], v) {
				return false
			}
		}
		return true
	case *Undefined:
		_, ok := b.(*Undefined)
		return ok
	}
	return a == b
}

// less is Python's <; it fails where Python does.
func (st *state) less(a, b any) bool {
	st.step(1)
	st.enterValue()
	defer func() { st.valueDepth-- }()
	touch(a)
	touch(b)
	if x, ok := number(a); ok {
		if y, ok := number(b); ok {
			return x < y
		}
	}
	if x, ok := text(a); ok {
		if y, ok := text(b); ok {
			return x < y
		}
	}
	x, ok := a.(*List)
	y, ok2 := b.(*List)
	if ok && ok2 && x.kind == y.kind {
		for i := range min(len(x.Items), len(y.Items)) {
			if !st.equal(x.Items[i], y.Items[i]) {
				return st.less(x.Items[i], y.Items[i])
			}
		}
		return len(x.Items) < len(y.Items)
	}
	fail("a %s and a %s have no order", typeName(a), typeName(b))
	return false
}

// contains is Python's "in".
func (st *state) contains(container, v any) bool {
	if s, ok := text(container); ok {
		sub, ok := text(v)
		if !ok {
			touch(v)
			fail("'in <string>' needs a str, got a %s", typeName(v))
		}
		return strings.Contains(s, sub)
	}
	if d, ok := container.(*Dict); ok {
		if _, undefined := v.(*Undefined); undefined {
			return false
		}
		_, found := d.Get(v)
		return found
	}
	items, ok := st.items(container)
	if !ok {
		fail("a %s contains nothing", typeName(container))
	}
	st.step(len(items))
	for _, item := range items {
		if st.equal(item, v) {
			return true
		}
	}
	return false
}

// With returns a copy in which first leads with v unless the dict has it, and
// last is set to v.
func (d *Dict) With(first string, v any, last string) *Dict {
	out := NewDict()
	out.Set(first, v)
	for i, k := range d.keys {
		out.Set(k, d.values[i])
	}
	out.Set(last, v)
	return out
}
