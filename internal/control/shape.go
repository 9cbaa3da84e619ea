package control

import (
	"context"

	"github.com/firekeep/firekeep/api"
	"github.com/firekeep/firekeep/internal/authz"
	"github.com/firekeep/firekeep/internal/rft"
)

// Shapes are combinations of accelerators that a fleet offers. Here there are
// none: programs that look for one find that, and deploy without.

// anyAccount is how clients ask for the shapes of every account they may see.
const anyAccount = "-"

func (c *Control) shapes(ctx context.Context, who Caller, action authz.Action, account, name string) error {
	if account == anyAccount {
		account, name = who.Account, rft.AccountName(who.Account)
	}
	return c.allow(ctx, who, action, account, name)
}

// ListShapes lists no shapes.
func (c *Control) ListShapes(ctx context.Context, who Caller, account string) (*api.ShapeList, error) {
	if err := c.shapes(ctx, who, authz.ListShapes, account, rft.AccountName(account)); err != nil {
		return nil, err
	}
	return &api.ShapeList{Shapes: []api.Shape{}}, nil
}

// ListShapeVersions lists no versions of shapes.
func (c *Control) ListShapeVersions(ctx context.Context, who Caller, account string) (*api.ShapeVersionList, error) {
	if err := c.shapes(ctx, who, authz.ListShapes, account, rft.AccountName(account)); err != nil {
		return nil, err
	}
	return &api.ShapeVersionList{Versions: []api.Shape{}}, nil
}

// GetShape finds no shape.
func (c *Control) GetShape(ctx context.Context, who Caller, account, shape, version string) error {
	name := rft.Name{Account: account, Collection: "deploymentShapes", ID: shape}.String()
	if version != "" {
		name += "/versions/" + version
	}
	if err := c.shapes(ctx, who, authz.GetShape, account, name); err != nil {
		return err
	}
	// What an absent shape of one's own costs, a foreign one costs too.
	if err := c.lookNowhere(ctx, authz.GetShape, name); err != nil {
		return err
	}
	return authz.NotFound(name)
}
