package audit

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf16"

	"github.com/firekeep/firekeep/internal/store"
)

// Event is one entry of the log. Its bytes there are its JSON in the canonical
// form of RFC 8785, so that every program that knows the fields computes the same
// hash. It holds ids, counts and digests; the names and addresses of people stay
// in the database, where they can be corrected and erased.
type Event struct {
	Account  string            `json:"account"`
	Action   string            `json:"action"`   // "CreateDataset"
	Decision string            `json:"decision"` // "allow", "deny", ""
	Detail   map[string]string `json:"detail"`
	Policy   string            `json:"policy"` // ids of what decided
	Resource string            `json:"resource"`
	Result   string            `json:"result"` // "OK" or the kind of the refusal
	Seq      int64             `json:"seq"`    // 1, 2, ...: the event lies at index seq-1
	Source   Client            `json:"source"`
	Time     string            `json:"time"` // RFC 3339, UTC, microseconds
	Version  int               `json:"v"`    // 1
	Who      Who               `json:"who"`
}

// Client is where a request came from.
type Client struct {
	Agent string `json:"agent"`
	IP    string `json:"ip"`
	Key   string `json:"key"` // id of the API key
}

// Who is the principal.
type Who struct {
	ID   string `json:"id"`   // "accounts/main/users/ann", or a part of Firekeep ("runner")
	Kind string `json:"kind"` // store.ActorUser, ...
}

const (
	eventVersion = 1
	timeFormat   = "2006-01-02T15:04:05.000000Z"
	// maxLeafBytes is what an entry of the tiles format can hold.
	maxLeafBytes = 1<<16 - 1
)

// eventOf is the event of an outbox row.
func eventOf(r store.AuditRow) Event {
	who := Who{ID: cmp.Or(r.ActorID, r.Actor), Kind: cmp.Or(r.ActorKind, store.ActorSystem)}
	return Event{Account: r.Account, Action: r.Method, Decision: r.Decision, Detail: r.Detail, Policy: r.Policy, Resource: r.Resource, Result: r.Result, Seq: r.Seq,
		Source: Client{Agent: r.UserAgent, IP: r.ClientIP, Key: r.APIKeyID}, Time: r.Time.UTC().Format(timeFormat), Version: eventVersion, Who: who}
}

// row is the outbox row of an event, as far as the log knows it.
func (e Event) row() (store.AuditRow, error) {
	at, err := time.Parse(timeFormat, e.Time)
	if err != nil {
		return store.AuditRow{}, err
	}
	return store.AuditRow{Seq: e.Seq, Time: at, Result: e.Result, LogIndex: e.Seq - 1, Act: store.Act{Account: e.Account, Actor: e.Who.ID, ActorID: e.Who.ID, ActorKind: e.Who.Kind,
		Method: e.Action, Resource: e.Resource, APIKeyID: e.Source.Key, ClientIP: e.Source.IP, UserAgent: e.Source.Agent, Decision: e.Decision, Policy: e.Policy, Detail: e.Detail}}, nil
}

// Leaf is the event's bytes in the log.
func (e Event) Leaf() []byte {
	b := append(make([]byte, 0, 512), `{"account":`...)
	b = appendString(b, e.Account)
	b = appendField(b, "action", e.Action)
	b = appendField(b, "decision", e.Decision)
	b = append(b, `,"detail":{`...)
	for i, k := range slices.SortedFunc(maps.Keys(e.Detail), compareUTF16) {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(appendString(b, k), ':')
		b = appendString(b, e.Detail[k])
	}
	b = append(b, '}')
	b = appendField(b, "policy", e.Policy)
	b = appendField(b, "resource", e.Resource)
	b = appendField(b, "result", e.Result)
	b = strconv.AppendInt(append(b, `,"seq":`...), e.Seq, 10)
	b = appendString(append(b, `,"source":{"agent":`...), e.Source.Agent)
	b = appendField(b, "ip", e.Source.IP)
	b = append(appendField(b, "key", e.Source.Key), '}')
	b = appendField(b, "time", e.Time)
	b = strconv.AppendInt(append(b, `,"v":`...), int64(e.Version), 10)
	b = appendString(append(b, `,"who":{"id":`...), e.Who.ID)
	return append(appendField(b, "kind", e.Who.Kind), "}}"...)
}

func appendField(b []byte, name, value string) []byte {
	b = append(append(append(b, `,"`...), name...), `":`...)
	return appendString(b, value)
}

// appendString writes a JSON string as RFC 8785 does: nothing escaped that need
// not be.
func appendString(b []byte, s string) []byte {
	const hex = "0123456789abcdef"
	b = append(b, '"')
	for _, r := range s { // bytes that are no UTF-8 become U+FFFD
		switch {
		case r == '"' || r == '\\':
			b = append(b, '\\', byte(r))
		case r >= 0x20:
			b = append(b, string(r)...)
		default:
			if i := strings.IndexRune("\b\t\n\f\r", r); i >= 0 {
				b = append(b, '\\', "btnfr"[i])
			} else {
				b = append(b, '\\', 'u', '0', '0', hex[r>>4], hex[r&15])
			}
		}
	}
	return append(b, '"')
}

// compareUTF16 orders keys by their UTF-16 code units, as RFC 8785 wants.
func compareUTF16(a, b string) int {
	return slices.Compare(utf16.Encode([]rune(a)), utf16.Encode([]rune(b)))
}

var errLeaf = errors.New("audit: not an event in its canonical form")

// ParseLeaf reads an entry of the log. It takes one spelling of an event only:
// the bytes that Leaf writes.
func ParseLeaf(leaf []byte) (Event, error) {
	if len(leaf) > maxLeafBytes {
		return Event{}, errLeaf
	}
	dec := json.NewDecoder(bytes.NewReader(leaf))
	dec.DisallowUnknownFields()
	var e Event
	if err := dec.Decode(&e); err != nil {
		return Event{}, errLeaf
	}
	if e.Version != eventVersion || e.Seq < 1 || !bytes.Equal(e.Leaf(), leaf) {
		return Event{}, errLeaf
	}
	return e, nil
}
