package rows

import (
	"encoding/json"
	"errors"
	"testing"

	"github.com/firekeep/firekeep/internal/engine"
)

// FuzzRows: no row panics, every refusal is a Problem, whatever is accepted is
// valid JSON, and pieces do not matter.
func FuzzRows(f *testing.F) {
	f.Add([]byte(good))
	for _, c := range badRows {
		f.Add([]byte(c.rows))
	}
	f.Add([]byte(one(msgs + "," + evals + `,"token_ids":[1,2],"logprobs":[null,-1],"finish_reason":"length","tools":[{}]`)))
	f.Add([]byte(`{"messages":[{"role":"user","content":[{"type":"text","text":"\ud83d\ude00"}]},{"role":"assistant","content":null,"tool_calls":[]}],"reward":-1e-3}`))
	f.Add([]byte(preference))
	f.Add([]byte(plainRow + "\n" + plainRow))
	f.Fuzz(func(t *testing.T, raw []byte) {
		g, err := ParseGroup(raw, 1)
		var p *engine.Problem
		if err != nil && !errors.As(err, &p) {
			t.Fatalf("%T", err)
		}
		if err == nil && !oneSample(g.Format) && !json.Valid(raw) {
			t.Fatal("accepted what is not JSON")
		}
		if _, _, whole := validate(string(raw), 1<<20); true {
			_, _, pieces := validate(string(raw), 3)
			if (whole == nil) != (pieces == nil) || whole != nil && whole.Error() != pieces.Error() {
				t.Fatalf("whole %v, in pieces %v", whole, pieces)
			}
		}
	})
}
