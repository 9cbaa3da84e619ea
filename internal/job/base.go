package job

import (
	"context"

	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/store"
)

// standing finds the base that something of account stands on. It goes by the name
// and asks anew: an account that read a base once, or reads a LoRA on it, need not
// be one that may read it now.
func (s *Service) standing(ctx context.Context, account, field, name, uid string) (store.Model, error) {
	base, err := s.catalog.Model(ctx, account, field, name)
	if err == nil && base.UID != uid {
		err = rft.Errorf(rft.KindFailedPrecondition, "%s is another model than the one that was there under this name", base.Name())
	}
	return base, err
}
