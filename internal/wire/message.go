package wire

import (
	"bytes"
	"encoding/json"
	"io"
	"strconv"
)

// Side is one end of a connection.
type Side uint8

const (
	Broker Side = 1 << iota // the trusted side: the runner
	Engine                  // the sandboxed side
)

// rule says who may send a type of frame, with which flags, and how it flows.
type rule struct {
	from  Side
	flags uint8
	flow  flow
}

// flow says how the receiver accounts for a frame.
type flow uint8

const (
	// ordered frames wait in the receiver's inbox in the order they were sent
	// and cost credit of stream 0: header plus payload.
	ordered flow = iota
	// urgent frames are handled as they arrive and cost nothing.
	urgent
	// data frames belong to a stream and cost its credit: payload.
	data
)

var rules = map[Type]rule{
	TypeHello: {Broker | Engine, 0, urgent}, TypeTask: {Broker, 0, ordered}, TypeOpen: {Broker | Engine, 0, ordered},
	TypeData: {Broker | Engine, FlagEnd, data}, TypeCredit: {Broker | Engine, 0, urgent},
	TypeGroup: {Broker, FlagMore, ordered}, TypeEpochEnd: {Broker, 0, ordered}, TypeThreads: {Broker, 0, urgent},
	TypeMetrics: {Engine, 0, ordered}, TypeProgress: {Engine, 0, ordered}, TypeChunk: {Engine, 0, ordered},
	TypeMark: {Engine, 0, ordered}, TypeDone: {Engine, 0, ordered}, TypeFault: {Engine, 0, ordered},
	TypeCancel: {Broker, 0, urgent}, TypeHeartbeat: {Broker | Engine, 0, urgent}, TypeSample: {Broker, 0, ordered},
	TypeToken: {Engine, 0, ordered}, TypeAdapter: {Broker, 0, ordered}, TypeAck: {Engine, 0, ordered},
	TypeWarning: {Engine, 0, ordered},
}

// typeOf is the frame type of a message that Send accepts, 0 for others.
func typeOf(m any) Type {
	switch m.(type) {
	case Task:
		return TypeTask
	case EpochEnd:
		return TypeEpochEnd
	case Threads:
		return TypeThreads
	case Metrics:
		return TypeMetrics
	case Progress:
		return TypeProgress
	case Chunk:
		return TypeChunk
	case Mark:
		return TypeMark
	case Done:
		return TypeDone
	case Fault:
		return TypeFault
	case Cancel:
		return TypeCancel
	case SampleRequest:
		return TypeSample
	case SampleEvent:
		return TypeToken
	case AdapterChange:
		return TypeAdapter
	case Ack:
		return TypeAck
	case Warning:
		return TypeWarning
	case Group:
		return TypeGroup
	}
	return 0
}

// typeNames are the names of the types in docs/engine-protocol.md.
var typeNames = map[Type]string{
	TypeHello: "Hello", TypeTask: "Task", TypeOpen: "Open", TypeData: "Data", TypeCredit: "Credit", TypeGroup: "Group",
	TypeEpochEnd: "EpochEnd", TypeThreads: "Threads", TypeMetrics: "Metrics", TypeProgress: "Progress", TypeChunk: "Chunk",
	TypeMark: "Mark", TypeDone: "Done", TypeFault: "Fault", TypeCancel: "Cancel", TypeHeartbeat: "Heartbeat",
	TypeSample: "Sample", TypeToken: "Token", TypeAdapter: "Adapter", TypeAck: "Ack", TypeWarning: "Warning",
}

func (t Type) String() string {
	if name, ok := typeNames[t]; ok {
		return name
	}
	return "type " + strconv.Itoa(int(t))
}

// NameOf is the name of the type of a received message.
func NameOf(m any) string {
	if _, ok := m.(*Inbound); ok {
		return TypeOpen.String()
	}
	return typeOf(m).String()
}

// decode turns the payload of a JSON frame into its message.
func decode(t Type, payload []byte) (any, error) {
	switch t {
	case TypeHello:
		return decodeJSON[Hello](t, payload)
	case TypeTask:
		return decodeJSON[Task](t, payload)
	case TypeOpen:
		return decodeJSON[Open](t, payload)
	case TypeCredit:
		return decodeJSON[Credit](t, payload)
	case TypeEpochEnd:
		return decodeJSON[EpochEnd](t, payload)
	case TypeThreads:
		return decodeJSON[Threads](t, payload)
	case TypeMetrics:
		return decodeJSON[Metrics](t, payload)
	case TypeProgress:
		return decodeJSON[Progress](t, payload)
	case TypeChunk:
		return decodeJSON[Chunk](t, payload)
	case TypeMark:
		return decodeJSON[Mark](t, payload)
	case TypeDone:
		return decodeJSON[Done](t, payload)
	case TypeFault:
		return decodeJSON[Fault](t, payload)
	case TypeCancel:
		return decodeJSON[Cancel](t, payload)
	case TypeSample:
		return decodeJSON[SampleRequest](t, payload)
	case TypeToken:
		return decodeJSON[SampleEvent](t, payload)
	case TypeAdapter:
		return decodeJSON[AdapterChange](t, payload)
	case TypeAck:
		return decodeJSON[Ack](t, payload)
	case TypeWarning:
		return decodeJSON[Warning](t, payload)
	}
	return nil, violation("unknown-type", "frame type %d holds no message", t)
}

// decodeJSON accepts exactly one JSON object with known fields.
func decodeJSON[T any](t Type, payload []byte) (any, error) {
	var m T
	d := json.NewDecoder(bytes.NewReader(payload))
	d.DisallowUnknownFields()
	if trimmed := bytes.TrimLeft(payload, " \t\r\n"); len(trimmed) == 0 || trimmed[0] != '{' {
		return nil, violation("bad-json", "the payload of frame type %d is not a JSON object", t)
	}
	// The decoder's own text may quote the payload, so it is dropped.
	if err := d.Decode(&m); err != nil {
		return nil, violation("bad-json", "the payload of frame type %d does not decode", t)
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, violation("trailing-bytes", "bytes follow the message of frame type %d", t)
	}
	return m, nil
}
