package cli

import (
	"fmt"
	"slices"

	"github.com/firekeep/firekeep/api"
	"github.com/firekeep/firekeep/internal/rft"
)

// Most commands are one operation on one resource; these run them.

// showing runs an operation on a resource and shows what it answers.
func showing[T any](a *app, field, ref string, of rft.Collection, op func(c *api.Client, account, id string) (*T, error)) error {
	client, account, id, err := a.named(field, ref, of)
	if err != nil {
		return err
	}
	v, err := op(client, account, id)
	if err != nil {
		return err
	}
	return a.show(v)
}

// doing runs an operation on a resource that answers nothing.
func doing(a *app, did, field, ref string, of rft.Collection, op func(c *api.Client, account, id string) error) error {
	client, account, id, err := a.named(field, ref, of)
	if err != nil {
		return err
	}
	if err := op(client, account, id); err != nil {
		return err
	}
	return a.done("%s %s", did, rft.Name{Account: account, Collection: of, ID: id})
}

// listing prints every page of a list as a table.
func listing[T any](a *app, heading string, fetch func(c *api.Client, account string, o api.ListOptions) ([]T, api.Page, error), row func(T) []string) error {
	client, account, err := a.session()
	if err != nil {
		return err
	}
	list, err := all(func(o api.ListOptions) ([]T, api.Page, error) { return fetch(client, account, o) })
	if err != nil {
		return err
	}
	var rows [][]string
	for _, v := range list {
		rows = append(rows, row(v))
	}
	return a.table(list, heading, rows)
}

// changes collects the fields of an update that were given.
type changes []string

// set takes a flag that was given into the body of an update.
func set[T any](fields *changes, name string, to, from *T) {
	if from != nil {
		*to = *from
		*fields = append(*fields, name)
	}
}

// some refuses an update of nothing.
func (f changes) some(flags ...string) error {
	if len(f) > 0 {
		return nil
	}
	slices.Sort(flags)
	return rft.FieldErrorf(flags[0], "nothing to change: give at least one of %s", fmt.Sprint(flags))
}
