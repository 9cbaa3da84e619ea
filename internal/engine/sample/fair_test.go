package sample

import "testing"

// finishOrder submits requests and returns their ids in the order of their ends.
func finishOrder(t *testing.T, s *Sampler, requests ...Request) []uint64 {
	t.Helper()
	var order []uint64
	for _, r := range requests {
		left := max(r.N, 1)
		err := s.Submit(r, func(e Event) {
			if e.Finish != "" {
				if left--; left == 0 {
					order = append(order, e.ID)
				}
			}
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	drain(t, s)
	return order
}

func one(id, caller uint64, n int) Request {
	return Request{ID: id, Caller: caller, Prompt: prompt(id, 10), N: n, MaxTokens: 8, TopP: 1, IgnoreEOS: true}
}

// Twenty requests of one caller do not make another's single one wait for them.
func TestCallersTakeTurns(t *testing.T) {
	var all []Request
	for id := range uint64(20) {
		all = append(all, one(id, 1, 1))
	}
	all = append(all, one(99, 2, 1))
	for place, id := range finishOrder(t, newTiny(t, 1, Options{MaxSequences: 2}), all...) {
		if id == 99 && place > 4 {
			t.Errorf("the other caller's request ended at place %d of 21", place)
		}
	}
	for i := range all {
		all[i].Caller = 0 // one caller: the order of arrival
	}
	order := finishOrder(t, newTiny(t, 1, Options{MaxSequences: 2}), all...)
	if order[20] != 99 {
		t.Errorf("one caller's requests end in the order %v", order)
	}
}

// Neither does one request for many completions.
func TestManyCompletionsLeaveRoom(t *testing.T) {
	order := finishOrder(t, newTiny(t, 1, Options{MaxSequences: 4}), one(1, 1, 60), one(2, 2, 1), one(3, 3, 2))
	if order[2] != 1 {
		t.Errorf("the requests end in the order %v", order)
	}
}

// A caller that works alone gets every place.
func TestAloneGetsEverything(t *testing.T) {
	s := newTiny(t, 1, Options{MaxSequences: 6})
	for id := range uint64(8) {
		if err := s.Submit(one(id, 7, 1), func(Event) {}); err != nil {
			t.Fatal(err)
		}
	}
	most := 0
	for s.Step() {
		most = max(most, s.Load().Running)
	}
	if most != 6 || len(s.callers) != 0 {
		t.Errorf("%d at once of 6 places, %d callers left", most, len(s.callers))
	}
}
