package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode"
)

// maxDepth bounds the nesting of a document that Unmarshal reads.
const maxDepth = 64

// Unmarshal reads proto JSON into v: every object key of a struct may be
// written in camelCase or snake_case, numbers may be strings, null leaves a
// field alone but is no document, and unknown keys are skipped. Keys of maps are kept as they are.
// An error names the field by its path and never quotes a value.
func Unmarshal(data []byte, v any) error {
	plain, err := canonical(data, v)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(plain, v); err != nil {
		return &JSONError{Reason: "not what the field expects"}
	}
	return nil
}

// canonical rewrites a document for the type that v points to: known keys in
// camelCase, and no others.
func canonical(data []byte, v any) ([]byte, error) {
	t := reflect.TypeOf(v)
	if t == nil || t.Kind() != reflect.Pointer {
		return nil, fmt.Errorf("api: Unmarshal needs a pointer, got %T", v)
	}
	if bytes.Equal(bytes.TrimSpace(data), []byte("null")) {
		return nil, &JSONError{Reason: "want an object"}
	}
	n := normaliser{dec: json.NewDecoder(bytes.NewReader(data))}
	n.dec.UseNumber()
	if err := n.value(t.Elem(), "", 0); err != nil {
		return nil, err
	}
	if _, err := n.dec.Token(); err != io.EOF {
		return nil, &JSONError{Reason: "more than one JSON value"}
	}
	return n.out.Bytes(), nil
}

// JSONError is a document that Unmarshal cannot read.
type JSONError struct {
	Field  string // "trainingConfig.loraRank", "" for the document
	Reason string
}

func (e *JSONError) Error() string {
	if e.Field == "" {
		return "request body: " + e.Reason
	}
	return e.Field + ": " + e.Reason
}

// normaliser rewrites a document of the lenient dialect into what
// encoding/json reads strictly, guided by the type that will receive it.
type normaliser struct {
	dec *json.Decoder
	out bytes.Buffer
}

var unmarshalerType = reflect.TypeFor[json.Unmarshaler]()

func (n *normaliser) value(t reflect.Type, path string, depth int) error {
	if depth > maxDepth {
		return &JSONError{path, "nested too deeply"}
	}
	for t.Kind() == reflect.Pointer && !t.Implements(unmarshalerType) {
		t = t.Elem()
	}
	if t.Implements(unmarshalerType) || reflect.PointerTo(t).Implements(unmarshalerType) {
		return n.own(t, path)
	}
	switch t.Kind() {
	case reflect.Struct, reflect.Map:
		return n.object(t, path, depth)
	case reflect.Slice:
		return n.array(t, path, depth)
	case reflect.Interface: // any: as it stands
		var raw json.RawMessage
		if err := n.dec.Decode(&raw); err != nil {
			return &JSONError{path, "not valid JSON"}
		}
		n.out.Write(raw)
		return nil
	}
	return n.scalar(t, path)
}

// own passes a value to a type that reads itself, and reports its complaint
// under the field's name.
func (n *normaliser) own(t reflect.Type, path string) error {
	var raw json.RawMessage
	if err := n.dec.Decode(&raw); err != nil {
		return &JSONError{path, "not valid JSON"}
	}
	if string(raw) != "null" {
		for t.Kind() == reflect.Pointer {
			t = t.Elem()
		}
		if err := json.Unmarshal(raw, reflect.New(t).Interface()); err != nil {
			return &JSONError{path, reasonOf(err)}
		}
	}
	n.out.Write(raw)
	return nil
}

func reasonOf(err error) string {
	if r, ok := err.(reason); ok {
		return string(r)
	}
	return "not what the field expects"
}

// reason is an error text of this package's own types; it quotes no input.
type reason string

func (r reason) Error() string { return string(r) }

// IsFieldReason reports whether err is a complaint of one of this package's
// types about its input; its text quotes none of it.
func IsFieldReason(err error) bool {
	var r reason
	return errors.As(err, &r)
}

func (n *normaliser) object(t reflect.Type, path string, depth int) error {
	tok, err := n.dec.Token()
	if err != nil {
		return &JSONError{path, "not valid JSON"}
	}
	if tok == nil {
		n.out.WriteString("null")
		return nil
	}
	if tok != json.Delim('{') {
		return &JSONError{path, "want an object"}
	}
	var known map[string]field
	if t.Kind() == reflect.Struct {
		known = fieldsOf(t)
	}
	n.out.WriteByte('{')
	first := true
	for n.dec.More() {
		tok, err := n.dec.Token()
		if err != nil {
			return &JSONError{path, "not valid JSON"}
		}
		key := tok.(string)
		f := field{name: key}
		if known != nil {
			var ok bool
			if f, ok = known[key]; !ok {
				if err := n.skip(path); err != nil {
					return err
				}
				continue
			}
		} else {
			f.typ = t.Elem()
		}
		if !first {
			n.out.WriteByte(',')
		}
		first = false
		quoted, _ := json.Marshal(f.name)
		n.out.Write(quoted)
		n.out.WriteByte(':')
		read := n.value
		if known == nil {
			read = n.member
		}
		if err := read(f.typ, join(path, f.name), depth+1); err != nil {
			return err
		}
	}
	if _, err := n.dec.Token(); err != nil {
		return &JSONError{path, "not valid JSON"}
	}
	n.out.WriteByte('}')
	return nil
}

func (n *normaliser) skip(path string) error {
	var raw json.RawMessage
	if err := n.dec.Decode(&raw); err != nil {
		return &JSONError{path, "not valid JSON"}
	}
	return nil
}

func (n *normaliser) array(t reflect.Type, path string, depth int) error {
	tok, err := n.dec.Token()
	if err != nil {
		return &JSONError{path, "not valid JSON"}
	}
	if tok == nil {
		n.out.WriteString("null")
		return nil
	}
	if tok != json.Delim('[') {
		return &JSONError{path, "want a list"}
	}
	n.out.WriteByte('[')
	for i := 0; n.dec.More(); i++ {
		if i > 0 {
			n.out.WriteByte(',')
		}
		if err := n.member(t.Elem(), fmt.Sprintf("%s[%d]", path, i), depth+1); err != nil {
			return err
		}
	}
	if _, err := n.dec.Token(); err != nil {
		return &JSONError{path, "not valid JSON"}
	}
	n.out.WriteByte(']')
	return nil
}

// member reads a value of a list or a map. null leaves a field out; a member cannot
// be left out.
func (n *normaliser) member(t reflect.Type, path string, depth int) error {
	at := n.out.Len()
	if err := n.value(t, path, depth); err != nil {
		return err
	}
	anything := t.Kind() == reflect.Interface || t.Kind() == reflect.Pointer || t == reflect.TypeFor[json.RawMessage]()
	if !anything && string(n.out.Bytes()[at:]) == "null" {
		return &JSONError{path, "want a value, not null"}
	}
	return nil
}

func (n *normaliser) scalar(t reflect.Type, path string) error {
	tok, err := n.dec.Token()
	if err != nil {
		return &JSONError{path, "not valid JSON"}
	}
	switch tok.(type) {
	case json.Delim:
		return &JSONError{path, "want a " + wantOf(t.Kind())}
	case nil:
		n.out.WriteString("null")
		return nil
	}
	text, isNumber := tok.(json.Number)
	quoted, isString := tok.(string)
	switch t.Kind() {
	case reflect.String:
		if !isString {
			return &JSONError{path, "want a string"}
		}
		b, _ := json.Marshal(quoted)
		n.out.Write(b)
		return nil
	case reflect.Bool:
		if b, ok := tok.(bool); ok {
			n.out.WriteString(strconv.FormatBool(b))
			return nil
		}
	case reflect.Int, reflect.Int32, reflect.Int64:
		// An int of a wire type is 32 bits on the wire, whatever it is here.
		bits := 32
		if t.Kind() == reflect.Int64 {
			bits = 64
		}
		if s, ok := wholeNumber(string(text)+quoted, bits); ok && (isNumber || isString) {
			n.out.WriteString(s)
			return nil
		}
	case reflect.Float32, reflect.Float64:
		if f, err := strconv.ParseFloat(string(text)+quoted, t.Bits()); err == nil && (isNumber || isString) && f-f == 0 {
			n.out.WriteString(strconv.FormatFloat(f, 'g', -1, 64))
			return nil
		}
	}
	return &JSONError{path, "want a " + wantOf(t.Kind())}
}

func wantOf(k reflect.Kind) string {
	switch k {
	case reflect.String:
		return "string"
	case reflect.Bool:
		return "boolean"
	case reflect.Float32, reflect.Float64:
		return "finite number"
	}
	return "whole number"
}

// wholeNumber reads an integer that may be written as 1, 1.0 or 1e3.
func wholeNumber(s string, bits int) (string, bool) {
	if i, err := strconv.ParseInt(s, 10, bits); err == nil {
		return strconv.FormatInt(i, 10), true
	}
	if len(s) > 32 || strings.ContainsAny(s, "xXpP_/") {
		return "", false
	}
	// The exponent is bounded before big.Rat would expand it.
	if f, err := strconv.ParseFloat(s, 64); err != nil || f > 1e19 || f < -1e19 || (f != 0 && f < 1 && f > -1) {
		return "", false
	}
	r, ok := new(big.Rat).SetString(s)
	if !ok || !r.IsInt() || !r.Num().IsInt64() {
		return "", false
	}
	i, err := strconv.ParseInt(r.Num().String(), 10, bits)
	return strconv.FormatInt(i, 10), err == nil
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

// field is one JSON field of a struct.
type field struct {
	name string
	typ  reflect.Type
}

var fieldCache sync.Map // reflect.Type -> map[string]field

// fieldsOf maps every accepted spelling of t's fields to the field.
func fieldsOf(t reflect.Type) map[string]field {
	if m, ok := fieldCache.Load(t); ok {
		return m.(map[string]field)
	}
	m := map[string]field{}
	for _, sf := range reflect.VisibleFields(t) {
		name, _, _ := strings.Cut(sf.Tag.Get("json"), ",")
		if name == "-" || !sf.IsExported() || (sf.Anonymous && name == "") {
			continue
		}
		if name == "" {
			name = sf.Name
		}
		f := field{name, sf.Type}
		m[name], m[snake(name)] = f, f
	}
	fieldCache.Store(t, m)
	return m
}

// snake is the snake_case spelling of a camelCase name.
func snake(name string) string {
	var b strings.Builder
	for i, r := range name {
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

// Int64 is a 64-bit integer: a JSON string out, a string or a number in.
type Int64 int64

func (i Int64) MarshalJSON() ([]byte, error) {
	return []byte(`"` + strconv.FormatInt(int64(i), 10) + `"`), nil
}

func (i *Int64) UnmarshalJSON(b []byte) error {
	if string(b) == "null" {
		return nil
	}
	s, ok := wholeNumber(strings.Trim(string(b), `"`), 64)
	if !ok {
		return reason("want a whole number of 64 bits")
	}
	v, err := strconv.ParseInt(s, 10, 64)
	*i = Int64(v)
	return err
}

// Time is a point in time: RFC 3339 in UTC with microseconds out, any RFC 3339
// in. The zero Time is left out of structs by omitzero and is "" elsewhere.
type Time struct{ time.Time }

// At is the wire form of t.
func At(t time.Time) Time { return Time{t} }

func (t Time) MarshalJSON() ([]byte, error) {
	if t.IsZero() {
		return []byte(`""`), nil
	}
	return []byte(t.UTC().Format(`"2006-01-02T15:04:05.000000Z"`)), nil
}

func (t *Time) UnmarshalJSON(b []byte) error {
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return reason("want a time as an RFC 3339 string")
	}
	if s == "" {
		t.Time = time.Time{}
		return nil
	}
	v, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		return reason("want a time as an RFC 3339 string")
	}
	t.Time = v
	return nil
}

// Duration is a proto duration: "300s".
type Duration time.Duration

func (d Duration) MarshalJSON() ([]byte, error) {
	return []byte(`"` + strconv.FormatFloat(time.Duration(d).Seconds(), 'f', -1, 64) + `s"`), nil
}

func (d *Duration) UnmarshalJSON(b []byte) error {
	if string(b) == "null" {
		return nil
	}
	var s string
	if err := json.Unmarshal(b, &s); err != nil || !strings.HasSuffix(s, "s") {
		return reason(`want a duration in seconds such as "300s"`)
	}
	f, err := strconv.ParseFloat(strings.TrimSuffix(s, "s"), 64)
	if err != nil || f < -9e9 || f > 9e9 || f != f {
		return reason(`want a duration in seconds such as "300s"`)
	}
	*d = Duration(f * float64(time.Second))
	return nil
}
