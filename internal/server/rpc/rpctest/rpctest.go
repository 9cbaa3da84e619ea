// Package rpctest makes requests for every method of the gRPC service, for tests
// that ask all of them the same.
package rpctest

import (
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/firekeep/firekeep/internal/server/gatewaypb"
)

// Methods are the methods of the service.
func Methods() []protoreflect.MethodDescriptor {
	var out []protoreflect.MethodDescriptor
	all := gatewaypb.File_gateway_proto.Services().ByName("Gateway").Methods()
	for i := range all.Len() {
		out = append(out, all.Get(i))
	}
	return out
}

// collections are the kinds of resources by the word in a method's name, longer
// words first.
var collections = []struct{ word, collection string }{{"RlorTrainerJob", "rlorTrainerJobs"}, {"DeployedModel", "deployedModels"},
	{"Deployment", "deployments"}, {"Dataset", "datasets"}, {"Model", "models"}}

// Collection is the kind of resource that a method is about.
func Collection(m protoreflect.MethodDescriptor) string {
	for _, c := range collections {
		if strings.Contains(string(m.Name()), c.word) {
			return c.collection
		}
	}
	return ""
}

// Request is a request of m about the resource id of account; a request that
// makes something lacks what it must have.
func Request(m protoreflect.MethodDescriptor, account, id string) proto.Message {
	in := dynamicpb.NewMessage(m.Input())
	name := "accounts/" + account + "/" + Collection(m) + "/" + id
	if f := m.Input().Fields().ByName("parent"); f != nil {
		in.Set(f, protoreflect.ValueOfString("accounts/"+account))
	}
	if f := m.Input().Fields().ByName("name"); f != nil {
		in.Set(f, protoreflect.ValueOfString(name))
	}
	if f := m.Input().Fields().ByName("deployment"); f != nil && m.Input().Fields().ByName("parent") == nil {
		inner := in.Mutable(f).Message()
		inner.Set(f.Message().Fields().ByName("name"), protoreflect.ValueOfString(name))
	}
	return in
}

// Answer is an empty answer of m.
func Answer(m protoreflect.MethodDescriptor) proto.Message { return dynamicpb.NewMessage(m.Output()) }
