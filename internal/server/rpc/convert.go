package rpc

import (
	"encoding/json"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/firekeep/firekeep/api"
	"github.com/firekeep/firekeep/internal/control"
	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/server/gatewaypb"
)

// named splits a full resource name. A name that cannot be one is NOT_FOUND: the
// SDK asks for such names to learn whether they are free.
func named(name string, c rft.Collection) (account, id string, err error) {
	part := strings.SplitN(name, "/", 4)
	if len(part) != 4 || part[0] != "accounts" || part[2] != string(c) || part[3] == "" {
		return "", "", rft.Errorf(rft.KindNotFound, "no resource has this name; names are accounts/{account}/%s/{id}", c)
	}
	return part[1], part[3], nil
}

// parent is the account that a collection is of.
func parent(name string) (account string, err error) {
	account, ok := strings.CutPrefix(name, "accounts/")
	if !ok || account == "" || strings.Contains(account, "/") {
		return "", rft.FieldErrorf("parent", "parent: must be accounts/{account}")
	}
	return account, nil
}

// listRequest is what all requests for a list have.
type listRequest interface {
	GetParent() string
	GetPageSize() int32
	GetPageToken() string
	GetFilter() string
	GetOrderBy() string
}

// listed reads a request for a list.
func listed(r listRequest) (account string, q control.ListQuery, err error) {
	if r.GetPageSize() < 0 {
		return "", q, rft.FieldErrorf("page_size", "page_size: want a whole number that is not negative")
	}
	account, err = parent(r.GetParent())
	return account, control.ListQuery{PageSize: int(r.GetPageSize()), PageToken: r.GetPageToken(), Filter: r.GetFilter(), OrderBy: r.GetOrderBy()}, err
}

// resource reads a message as the resource of package api that has the same form
// in JSON; what the resource does not have is left out, as from a JSON body.
func resource(m proto.Message, to any) error {
	b, err := protojson.Marshal(m)
	if err != nil {
		return rft.Wrap(rft.KindInvalidArgument, err, "the request cannot be read")
	}
	if err := api.Unmarshal(b, to); err != nil {
		return rft.Wrap(rft.KindInvalidArgument, err, "%s", err.Error()) // it quotes no value
	}
	return nil
}

// message writes a resource of package api as the message of the same form.
func message[M proto.Message](of any, m M) (M, error) {
	fields := map[string]any{}
	b, err := json.Marshal(of)
	if err == nil {
		err = json.Unmarshal(b, &fields)
	}
	if err != nil {
		return m, err
	}
	for k, v := range fields {
		if v == "" { // the zero of everything; of a time, nothing that a message can hold
			delete(fields, k)
		}
	}
	if b, err = json.Marshal(fields); err != nil {
		return m, err
	}
	return m, protojson.UnmarshalOptions{DiscardUnknown: true}.Unmarshal(b, m)
}

// messages is message for a list.
func messages[T any, M proto.Message](all []T, fresh func() M) ([]M, error) {
	out := make([]M, 0, len(all))
	for i := range all {
		m, err := message(&all[i], fresh())
		if err != nil {
			return nil, err
		}
		out = append(out, m)
	}
	return out, nil
}

func statusOf(s api.Status) *gatewaypb.Status {
	return &gatewaypb.Status{Code: gatewaypb.Code(gatewaypb.Code_value[s.Code]), Message: s.Message}
}

func at(t api.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(time.Time(t.Time))
}
