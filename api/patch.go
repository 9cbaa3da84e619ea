package api

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
)

// Patch is the body of an update: what is in it changes, the rest stays. With a
// mask only the fields change that the mask names, and those that the body lacks
// are cleared.
type Patch struct {
	Body []byte
	Mask []string // camelCase or snake_case paths; nil = what the body has
}

// Apply changes the resource that v points to. Objects are merged field by
// field; lists, maps and values are replaced; null clears.
func (p Patch) Apply(v any) error {
	body := p.Body
	if len(bytes.TrimSpace(body)) == 0 {
		body = []byte("{}")
	}
	plain, err := canonical(body, v)
	if err != nil {
		return err
	}
	now, err := json.Marshal(v)
	if err != nil {
		return err
	}
	var old, change map[string]any
	if err := decodeNumbers(now, &old); err != nil {
		return err
	}
	if err := decodeNumbers(plain, &change); err != nil {
		return &JSONError{Reason: "want an object"}
	}
	if p.Mask == nil {
		merge(old, change, reflect.TypeOf(v).Elem())
	}
	for _, path := range p.Mask {
		copyPath(old, change, strings.Split(path, "."))
	}
	merged, err := json.Marshal(old)
	if err != nil {
		return err
	}
	fresh := reflect.New(reflect.TypeOf(v).Elem())
	if err := Unmarshal(merged, fresh.Interface()); err != nil {
		return err
	}
	reflect.ValueOf(v).Elem().Set(fresh.Elem())
	return nil
}

// Has reports whether the patch speaks of a top-level field.
func (p Patch) Has(field string) bool {
	if p.Mask == nil {
		var keys map[string]json.RawMessage
		if json.Unmarshal(p.Body, &keys) != nil {
			return false
		}
		for k := range keys {
			if Camel(k) == field {
				return true
			}
		}
		return false
	}
	for _, path := range p.Mask {
		top, _, _ := strings.Cut(path, ".")
		if Camel(top) == field {
			return true
		}
	}
	return false
}

func decodeNumbers(data []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	return d.Decode(v)
}

// merge changes old in place; t is the type that they are of.
func merge(old, change map[string]any, t reflect.Type) {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	for k, v := range change {
		inner, isObject := v.(map[string]any)
		was, had := old[k].(map[string]any)
		field := fieldType(t, k)
		switch {
		case v == nil:
			delete(old, k)
		case isObject && had && field != nil && field.Kind() == reflect.Struct:
			merge(was, inner, field)
		default:
			old[k] = v
		}
	}
}

// fieldType is the type of a struct's field by its JSON key, without pointers.
func fieldType(t reflect.Type, key string) reflect.Type {
	if t.Kind() != reflect.Struct {
		return nil
	}
	for i := range t.NumField() {
		name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
		if name != key {
			continue
		}
		f := t.Field(i).Type
		for f.Kind() == reflect.Pointer {
			f = f.Elem()
		}
		return f
	}
	return nil
}

// copyPath sets in old what from has at path, or clears it.
func copyPath(old, from map[string]any, path []string) {
	key := Camel(strings.TrimSpace(path[0]))
	v, has := from[key]
	if len(path) > 1 {
		inner, _ := v.(map[string]any)
		was, ok := old[key].(map[string]any)
		if !ok {
			if inner == nil {
				return
			}
			was = map[string]any{}
			old[key] = was
		}
		copyPath(was, inner, path[1:])
		return
	}
	if !has || v == nil {
		delete(old, key)
		return
	}
	old[key] = v
}

// Camel is the camelCase spelling of a snake_case name.
func Camel(s string) string {
	head, rest, found := strings.Cut(s, "_")
	for found {
		var part string
		part, rest, found = strings.Cut(rest, "_")
		if part != "" {
			head += strings.ToUpper(part[:1]) + part[1:]
		}
	}
	return head
}
