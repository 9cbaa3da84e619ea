package control

import (
	"context"
	"crypto/rand"
	"errors"
	"unicode/utf8"

	"github.com/firekeep/firekeep/api"
	"github.com/firekeep/firekeep/internal/authz"
	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/store"
)

// checkDisplayName keeps display names to the contract's 63 characters.
func checkDisplayName(s string) error {
	if utf8.RuneCountInString(s) > 63 {
		return rft.FieldErrorf("displayName", "displayName: is longer than 63 characters")
	}
	return nil
}

// newID is the id of a new resource: the caller's, or one made here.
func newID(field, id string) (string, error) {
	if id != "" {
		return id, rft.CheckID(field, id)
	}
	const alphabet = "abcdefghijklmnopqrstuvwxyz0123456789"
	var b [10]byte
	rand.Read(b[:]) // never fails
	for i := range b {
		// The first is a letter: ids of this server pass the rule for ids of users.
		n := len(alphabet)
		if i == 0 {
			n = 26
		}
		b[i] = alphabet[int(b[i])%n]
	}
	return string(b[:]), nil
}

// model finds the model that a field refers to: of the caller's account, or
// published by the operator.
func (c *Control) model(ctx context.Context, field, ref, account string) (store.Model, error) {
	return c.Catalog.Model(ctx, account, field, ref)
}

// reference is what a request calls a resource; ref may be "".
type reference struct {
	ref  string
	kind rft.Collection
}

// touching is what policies can look at: the account, and what the request names, in
// full where that can be read.
func touching(account string, refs ...reference) authz.Resource {
	res := authz.Resource{Account: account, Name: rft.AccountName(account)}
	for _, r := range refs {
		if r.ref == "" {
			continue
		}
		if n, err := rft.ParseName("", r.ref, account, r.kind); err == nil {
			r.ref = n.String()
		}
		res.Refs = append(res.Refs, r.ref)
	}
	return res
}

// badPatch names the field of a request that cannot be applied.
func badPatch(err error) error {
	var bad *api.JSONError
	if errors.As(err, &bad) {
		return rft.FieldErrorf(bad.Field, "%s", bad.Error())
	}
	return rft.Wrap(rft.KindInvalidArgument, err, "the request body is not what this operation expects")
}
