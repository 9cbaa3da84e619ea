package api

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// resources maps a vector's name to the type that it is of.
var resources = map[string]func() any{
	"account": func() any { return new(Account) }, "api-key": func() any { return new(APIKey) }, "connection": func() any { return new(Connection) },
	"dataset": func() any { return new(Dataset) }, "model-base": func() any { return new(Model) }, "model-lora": func() any { return new(Model) },
	"step": func() any { return new(RlorTrainerJob) }, "deployment": func() any { return new(Deployment) }, "deployed-model": func() any { return new(DeployedModel) },
	"operation": func() any { return new(Operation) }, "step-metrics": func() any { return new(StepMetricsList) },
}

// TestVectors reads each vector's "in", as lenient clients write it, and holds
// the result against "out", byte for byte. Python reads the same files.
func TestVectors(t *testing.T) {
	files, err := filepath.Glob("testdata/vectors/*.json")
	if err != nil || len(files) != len(resources) {
		t.Fatalf("%d vectors for %d types: %v", len(files), len(resources), err)
	}
	for _, path := range files {
		name := strings.TrimSuffix(filepath.Base(path), ".json")
		var v struct {
			In  json.RawMessage `json:"in"`
			Out json.RawMessage `json:"out"`
		}
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(b, &v); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		for _, side := range []json.RawMessage{v.In, v.Out} {
			got := resources[name]()
			if err := Unmarshal(side, got); err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			out, err := Marshal(got)
			var want bytes.Buffer
			if e := json.Compact(&want, v.Out); err != nil || e != nil || string(out) != want.String() {
				t.Errorf("%s: got\n%s\nwant\n%s", name, out, want.String())
			}
		}
	}
}

func TestUnmarshalErrors(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{`{"trainingConfig":{"loraRank":"eight"}}`, "trainingConfig.loraRank: want a whole number"},
		{`{"training_config":{"lora_rank":1.5}}`, "trainingConfig.loraRank: want a whole number"},
		{`{"trainingConfig":{"loraRank":1e99999}}`, "trainingConfig.loraRank: want a whole number"},
		{`{"trainingConfig":{"learningRate":"NaN"}}`, "trainingConfig.learningRate: want a finite number"},
		{`{"trainingConfig":[]}`, "trainingConfig: want an object"},
		{`{"rewardWeights":"score"}`, "rewardWeights: want a list"},
		{`{"rewardWeights":[1]}`, "rewardWeights[0]: want a string"},
		{`{"rewardWeights":["a",null]}`, "rewardWeights[1]: want a value, not null"},
		{`{"firekeep":{"annotations":{"a":null}}}`, "firekeep.annotations.a: want a value, not null"},
		{`{"keepAlive":"yes"}`, "keepAlive: want a boolean"},
		{`{"firekeep":{"seed":"9223372036854775808"}}`, "firekeep.seed: want a whole number of 64 bits"},
		{`{"createTime":"yesterday"}`, "createTime: want a time as an RFC 3339 string"},
		{`{"state":`, "state: not valid JSON"},
		{`{} {}`, "request body: more than one JSON value"},
		{`[]`, "request body: want an object"},
		{`null`, "request body: want an object"},
		{`{"trainingConfig":{"loraRank":2147483648}}`, "trainingConfig.loraRank: want a whole number"},
		{`{"firekeep":{"annotations":` + strings.Repeat(`{"a":`, 5) + `1` + strings.Repeat(`}`, 5) + `}}`, "firekeep.annotations.a: want a string"},
	} {
		err := Unmarshal([]byte(c.in), new(RlorTrainerJob))
		if err == nil || err.Error() != c.want {
			t.Errorf("%s: %v, want %s", c.in, err, c.want)
		}
	}
}

// TestSpellings: both spellings of every field of every resource are the same.
func TestSpellings(t *testing.T) {
	for name, f := range map[string]struct{ camel, snake string }{
		"merged": {`{"trainingConfig":{"loraRank":8,"epochs":2}}`, `{"training_config":{"loraRank":8},"trainingConfig":{"epochs":"2"}}`},
		"null":   {`{}`, `{"trainingConfig":null,"reward_weights":null}`},
		"extra":  {`{"dataset":"d"}`, `{"dataset":"d","my_own":{"deep":[1,2,{"x":null}]}}`},
	} {
		var a, b RlorTrainerJob
		if err := Unmarshal([]byte(f.camel), &a); err != nil {
			t.Fatal(err)
		}
		if err := Unmarshal([]byte(f.snake), &b); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(a, b) {
			t.Errorf("%s: %+v and %+v", name, a, b)
		}
	}
}

// FuzzUnmarshal: whatever is read must read the same when written again.
func FuzzUnmarshal(f *testing.F) {
	files, _ := filepath.Glob("testdata/vectors/*.json")
	for _, path := range files {
		var v struct {
			In json.RawMessage `json:"in"`
		}
		b, _ := os.ReadFile(path)
		_ = json.Unmarshal(b, &v)
		f.Add([]byte(v.In))
	}
	f.Add([]byte(`{"training_config":{"learning_rate":"1e-5","lora_rank":8.0}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var j, again RlorTrainerJob
		if Unmarshal(data, &j) != nil {
			return
		}
		out, err := Marshal(&j)
		if err != nil {
			t.Fatalf("cannot be written: %v", err)
		}
		if err := Unmarshal(out, &again); err != nil {
			t.Fatalf("cannot be read again: %v\n%s", err, out)
		}
	})
}

func FuzzCompletionRequest(f *testing.F) {
	f.Add([]byte(`{"model":"m","messages":[{"role":"user","content":[{"type":"text","text":"a"}]}],"logprobs":2,"stop":"x"}`))
	f.Add([]byte(`{"model":"m","prompt":[[1,2],[3]],"stop":["a","b"],"logprobs":true}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var r CompletionRequest
		if json.Unmarshal(data, &r) != nil {
			return
		}
		if _, err := json.Marshal(r); err != nil {
			t.Fatal(err)
		}
	})
}
