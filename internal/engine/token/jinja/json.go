package jinja

import (
	"bytes"
	"encoding/json"
	"strings"
)

// FromJSON reads a JSON value: objects become *Dict in their order, numbers
// int64, Number or float64. raw must be valid JSON.
func FromJSON(raw []byte) (v any, err error) {
	defer recovered(&err)
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	return fromJSON(d, 0), nil
}

func fromJSON(d *json.Decoder, depth int) any {
	t, err := d.Token()
	if err != nil || depth > maxNesting {
		fail("the JSON is malformed or nested too deep")
	}
	switch t := t.(type) {
	case json.Delim:
		if t == '[' {
			out := NewList(nil)
			for d.More() {
				out.Items = append(out.Items, fromJSON(d, depth+1))
			}
			closing(d)
			return out
		}
		out := NewDict()
		for d.More() {
			k := fromJSON(d, depth+1)
			out.Set(k, fromJSON(d, depth+1))
		}
		closing(d)
		return out
	case json.Number:
		if i, err := t.Int64(); err == nil {
			return i
		}
		if !strings.ContainsAny(t.String(), ".eE") {
			return Number(t.String())
		}
		f, err := t.Float64()
		if err != nil {
			fail("a number of the JSON is out of range")
		}
		return f
	}
	return t // string, bool, nil
}

func closing(d *json.Decoder) {
	if _, err := d.Token(); err != nil {
		fail("the JSON is malformed")
	}
}
