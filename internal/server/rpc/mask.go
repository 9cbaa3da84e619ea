package rpc

import (
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
)

// mask reduces an answer to the top-level fields that the request's read_mask
// names: of a resource, or of each item of a list. A name always stays.
func mask(out, req any) {
	asked, ok := req.(interface{ GetReadMask() *fieldmaskpb.FieldMask })
	m, isMessage := out.(proto.Message)
	if !ok || !isMessage || len(asked.GetReadMask().GetPaths()) == 0 {
		return
	}
	keep := map[protoreflect.Name]bool{"name": true}
	for _, path := range asked.GetReadMask().GetPaths() {
		if path == "*" {
			return
		}
		keep[top(path)] = true
	}
	r := m.ProtoReflect()
	for i := range r.Descriptor().Fields().Len() {
		f := r.Descriptor().Fields().Get(i)
		if f.IsList() && f.Message() != nil && r.Descriptor().Fields().ByName("next_page_token") != nil {
			items := r.Get(f).List()
			for j := range items.Len() {
				prune(items.Get(j).Message(), keep)
			}
			return
		}
	}
	if r.Descriptor().Fields().ByName("name") != nil {
		prune(r, keep)
	}
}

// top is the first segment of a path of a mask.
func top(path string) protoreflect.Name {
	for i := range len(path) {
		if path[i] == '.' {
			return protoreflect.Name(path[:i])
		}
	}
	return protoreflect.Name(path)
}

func prune(m protoreflect.Message, keep map[protoreflect.Name]bool) {
	m.Range(func(f protoreflect.FieldDescriptor, _ protoreflect.Value) bool {
		if !keep[f.Name()] {
			m.Clear(f)
		}
		return true
	})
}
