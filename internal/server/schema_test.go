package server

import (
	"encoding/json"
	"maps"
	"math"
	"reflect"
	"slices"
	"strings"

	"github.com/firekeep/firekeep/api"
)

type object = map[string]any

// schemas turns wire types into JSON Schema. What a client sends is described
// apart from what it gets: numbers may come as strings and null means unset, but
// answers have one form.
type schemas struct {
	components object
	// lenient: numbers may be sent as strings, as proto JSON has it.
	lenient bool
}

func nullable(s object) object { return object{"anyOf": []any{s, object{"type": "null"}}} }

var (
	wholeString = object{"type": "string", "pattern": "^-?[0-9]{1,19}$"}
	anyList     = func(of any) object { return object{"type": "array", "items": of} }
)

// own are the types that write and read themselves: what is sent, what is answered.
var own = map[reflect.Type][2]object{
	reflect.TypeFor[api.Int64]():    {{"anyOf": []any{object{"type": "integer", "format": "int64", "minimum": math.MinInt64, "maximum": math.MaxInt64}, wholeString}}, wholeString},
	reflect.TypeFor[api.Time]():     {orEmpty(object{"type": "string", "format": "date-time"}), orEmpty(object{"type": "string", "format": "date-time"})},
	reflect.TypeFor[api.Duration](): {{"type": "string", "pattern": "^[0-9]{1,9}(\\.[0-9]{1,9})?s$"}, {"type": "string", "pattern": "^-?[0-9]+(\\.[0-9]+)?s$"}},
	reflect.TypeFor[api.Content](): {{"anyOf": []any{stringSchema, anyList(object{"type": "object", "required": []string{"type", "text"},
		"properties": object{"type": object{"const": "text"}, "text": stringSchema}})}}, stringSchema},
	reflect.TypeFor[api.Prompt](): {{"anyOf": []any{stringSchema, object{"type": "array", "items": stringSchema, "minItems": 1},
		object{"type": "array", "items": tokenID, "minItems": 1}, object{"type": "array", "minItems": 1, "items": object{"type": "array", "items": tokenID, "minItems": 1}}}}, nil},
	reflect.TypeFor[api.StringList]():   {{"anyOf": []any{stringSchema, anyList(stringSchema)}}, nil},
	reflect.TypeFor[api.LogprobsMode](): {{"anyOf": []any{object{"type": "boolean"}, object{"type": "integer", "minimum": 0, "maximum": 5}}}, nil},
	reflect.TypeFor[api.Bytes]():        {nil, anyList(object{"type": "integer", "minimum": 0, "maximum": 255})},
	reflect.TypeFor[json.RawMessage]():  {{}, {}},
	reflect.TypeFor[map[int32]float64](): {{"type": "object", "propertyNames": object{"pattern": "^[0-9]{1,9}$"},
		"additionalProperties": object{"type": "number", "minimum": -100, "maximum": 100}}, nil},
}

var tokenID = object{"type": "integer", "minimum": 0, "maximum": 1<<31 - 1}

// bounds of fields, by "Type.field", beside their types.
var bounds = map[string]object{
	"CompletionRequest.temperature": between(0, 2), "CompletionRequest.top_p": between(0, 1), "CompletionRequest.min_p": between(0, 1),
	"CompletionRequest.typical_p": between(0, 1), "CompletionRequest.top_k": between(-1, 1000), "CompletionRequest.n": between(1, 128),
	"CompletionRequest.frequency_penalty": between(-2, 2), "CompletionRequest.presence_penalty": between(-2, 2),
	"CompletionRequest.repetition_penalty": {"exclusiveMinimum": 0, "maximum": 2}, "CompletionRequest.top_logprobs": between(0, 5),
	"CompletionRequest.max_tokens": between(0, 1<<24), "CompletionRequest.max_completion_tokens": between(0, 1<<24), "CompletionRequest.echo_last": between(0, 1<<24),
	"CompletionRequest.prompt_truncate_len": between(1, 1<<24), "CompletionRequest.seed": between(math.MinInt64, math.MaxInt64),
	"CompletionRequest.context_length_exceeded_behavior": oneOf("truncate", "error"),
	"CompletionRequest.service_tier":                     oneOf("auto", "default", "flex", "priority"),
	"CompletionRequest.mirostat_target":                  {"const": 0}, "CompletionRequest.safe_tokenization": {"const": false},
	"ResponseFormat.type": oneOf("text"), "Message.role": oneOf("system", "user", "assistant", "tool", "developer"),
}

func between(low, high int) object { return object{"minimum": low, "maximum": high} }
func oneOf(words ...string) object { return object{"enum": words} }

func (s *schemas) ofValue(v any) object { return s.of(reflect.TypeOf(v), false) }

// of is the schema of a type, as it is sent (input) or answered.
func (s *schemas) of(t reflect.Type, input bool) object {
	if o, ok := own[t]; ok {
		if input {
			return o[0]
		}
		return o[1]
	}
	if t == reflect.TypeFor[api.Logprobs]() {
		return object{"anyOf": []any{s.of(reflect.TypeFor[openAILogprobs](), false), s.of(reflect.TypeFor[api.LegacyLogprobs](), false)}}
	}
	switch t.Kind() {
	case reflect.Pointer:
		return s.of(t.Elem(), input)
	case reflect.Struct:
		return s.structure(t, input)
	case reflect.Slice, reflect.Array:
		return anyList(s.of(t.Elem(), input))
	case reflect.Map:
		return object{"type": "object", "additionalProperties": s.of(t.Elem(), input)}
	case reflect.String:
		return maps.Clone(stringSchema)
	case reflect.Bool:
		return object{"type": "boolean"}
	case reflect.Float32, reflect.Float64:
		if input && s.lenient {
			return object{"anyOf": []any{object{"type": "number"}, object{"type": "string", "pattern": "^-?[0-9]{1,9}(\\.[0-9]{1,9})?$"}}}
		}
		return object{"type": "number"}
	case reflect.Interface:
		return object{}
	}
	if input && s.lenient {
		return object{"anyOf": []any{object{"type": "integer", "minimum": -1 << 31, "maximum": 1<<31 - 1}, object{"type": "string", "pattern": "^-?[0-9]{1,9}$"}}}
	}
	return object{"type": "integer"}
}

// openAILogprobs is the first of the two shapes of api.Logprobs.
type openAILogprobs struct {
	Content []api.TokenLogprob `json:"content"`
}

// structure refers to the component that describes a struct.
func (s *schemas) structure(t reflect.Type, input bool) object {
	if t.NumField() == 0 {
		return object{"type": "object"}
	}
	name := t.Name()
	if name == "openAILogprobs" {
		name = "Logprobs"
	}
	if input {
		name = strings.TrimSuffix(name, "Request") + "Request"
	}
	ref := object{"$ref": "#/components/schemas/" + name}
	if name == "" || name == "Request" { // anonymous
		return s.fields(t, input)
	}
	if _, done := s.components[name]; !done {
		s.components[name] = object{} // a type may hold itself
		s.components[name] = s.fields(t, input)
	}
	return ref
}

func (s *schemas) fields(t reflect.Type, input bool) object {
	properties, required := object{}, []string{}
	for _, f := range reflect.VisibleFields(t) {
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "-" || !f.IsExported() || f.Anonymous && name == "" {
			continue
		}
		if name == "" {
			name = f.Name
		}
		schema := s.of(f.Type, input)
		if strings.Contains(","+options+",", ",string,") {
			schema = wholeString
		}
		if b, ok := bounds[t.Name()+"."+name]; ok && input {
			schema = maps.Clone(schema)
			maps.Copy(schema, b)
		}
		optional := strings.Contains(options, "omit")
		_, isOwn := own[f.Type]
		switch {
		case input && len(schema) > 0, !input && !optional && !isOwn && f.Type.Kind() == reflect.Pointer:
			schema = nullable(schema)
		}
		properties[name] = schema
		if !input && !optional {
			required = append(required, name)
		}
	}
	out := object{"type": "object", "properties": properties}
	if slices.Sort(required); len(required) > 0 {
		out["required"] = required
	}
	return out
}
