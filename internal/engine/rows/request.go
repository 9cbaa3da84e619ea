package rows

import (
	"crypto/sha256"
	"strings"

	"github.com/firekeep/firekeep/internal/engine"
)

// Bounds of a dataset of requests: what is remembered to find a custom_id twice
// stays below a few hundred megabytes.
const (
	maxCustomID = 512 // bytes
	maxRequests = 4_000_000
)

// requestID stands for a custom_id, which nobody keeps.
type requestID [16]byte

// request is a row of a batch: {"custom_id":"…","body":{…}}. The fields are
// where the values begin (later), 0 = absent.
type request struct{ id, body int }

func (q *request) any() bool { return q.id > 0 || q.body > 0 }

// finishRequest checks the two fields. What is in the body is the sampler's to
// judge: a request that it refuses gets an error as its answer.
func (p *rowParser) finishRequest(q *request) row {
	if q.id == 0 {
		p.fail(RuleCustomID, "custom_id", "the row has no custom_id, which its answer is found by")
	}
	if p.at = q.id; p.peek() != '"' {
		p.skip()
		p.fail(RuleCustomID, "custom_id", "is no string")
	}
	id := p.key()
	if len(id) > maxCustomID || strings.TrimSpace(string(id)) == "" {
		p.fail(RuleCustomID, "custom_id", "a custom_id has 1 to %d bytes and is not blank", maxCustomID)
	}
	if q.body == 0 {
		p.fail(RuleNoBody, "body", "the row has no body: the request that it asks for")
	}
	if p.at = q.body; p.peek() != '{' {
		p.skip()
		p.fail(RuleNoBody, "body", "is no object")
	}
	sum := sha256.Sum256(id)
	return row{format: FormatBatch, request: requestID(sum[:16])}
}

// unique refuses a custom_id that an earlier row has: two answers could not be
// told apart.
func (v *Validator) unique(r *row) *engine.Problem {
	if r.format != FormatBatch {
		return nil
	}
	if v.requests == nil {
		v.requests = map[requestID]struct{}{}
	}
	if _, ok := v.requests[r.request]; ok {
		return problem(v.line, 0, RuleCustomID, "custom_id", "an earlier row has the same custom_id")
	}
	if len(v.requests) == maxRequests {
		return problem(v.line, 0, RuleTooManyRequests, "", "a batch has at most %d rows; make several of it", maxRequests)
	}
	v.requests[r.request] = struct{}{}
	return nil
}
