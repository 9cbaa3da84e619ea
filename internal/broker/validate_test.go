package broker_test

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/firekeep/firekeep/internal/broker"
	"github.com/firekeep/firekeep/internal/engine"
	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/wire"
)

// row is one row of a dataset: a group whose samples answer with their scores.
func row(prompt string, scores ...float64) string {
	var samples []string
	for i, s := range scores {
		samples = append(samples, fmt.Sprintf(
			`{"messages":[{"role":"user","content":%q},{"role":"assistant","content":"answer %d"}],"evals":{"score":%v}}`, prompt, i, s))
	}
	return `{"samples":[` + strings.Join(samples, ",") + "]}\n"
}

// TestValidate: ranges tile the objects, counts add up, and a bad row is named
// by object and line, not by its content.
func TestValidate(t *testing.T) {
	first := row("a", 0, 1) + "\n" + row("b", 1, 0)
	second := row("c", 0.5, 0.25)
	var got []string
	c := start(t, broker.Options{Name: "validate"})
	done, err := c.Validate(t.Context(), wire.ValidateTask{Format: "RL", Objects: 2}, files(file("one.jsonl", []byte(first)), file("two.jsonl", []byte(second))),
		func(c wire.Chunk) error {
			text, at := first, c.Offset
			if c.Object == 1 {
				text = second
			}
			for _, n := range c.Lengths {
				got = append(got, strings.TrimSpace(text[at:at+n]))
				at += n
			}
			return nil
		})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{strings.TrimSpace(row("a", 0, 1)), strings.TrimSpace(row("b", 1, 0)), strings.TrimSpace(second)}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("ranges hold %q", got)
	}
	if done.Rows != 3 || done.Groups != 3 || done.Samples != 6 || done.SamplesPerGroup != 2 || done.Bytes != int64(len(first)+len(second)) {
		t.Errorf("%+v", done)
	}

	bad := start(t, broker.Options{Name: "validate"})
	_, err = bad.Validate(t.Context(), wire.ValidateTask{Objects: 1}, files(file("bad.jsonl", []byte(row("secret", 1, 2)+`{"samples":[]}`+"\n"))),
		func(wire.Chunk) error { return nil })
	var p *engine.Problem
	if rft.KindOf(err) != rft.KindInvalidArgument || !errors.As(err, &p) || p.Object != "bad.jsonl" || p.Line != 2 || strings.Contains(err.Error(), "secret") {
		t.Errorf("%v, %+v", err, p)
	}
}
