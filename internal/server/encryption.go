package server

import (
	"context"

	"github.com/firekeep/firekeep/api"
	"github.com/firekeep/firekeep/internal/control"
)

// encryptionRoutes are the operations on the key-encryption key of an account.
func encryptionRoutes(cp func(method, pattern string, h func(*request) error) route) []route {
	const k = "/v1/accounts/{account}/encryptionKey"
	return []route{
		cp("GET", k, onKey((*control.Control).GetEncryptionKey)),
		cp("POST", k+":set", setEncryptionKey),
		cp("POST", k+":rotate", onKey((*control.Control).RotateEncryptionKey)),
		cp("POST", k+":disable", onKey((*control.Control).DisableEncryptionKey)),
		cp("POST", k+":enable", onKey((*control.Control).EnableEncryptionKey)),
		cp("POST", k+":shred", shredEncryptionKey),
	}
}

// onKey is an operation that needs no more than the account.
func onKey(op func(*control.Control, context.Context, control.Caller, string) (*api.EncryptionKey, error)) func(*request) error {
	return func(rq *request) error {
		v, err := op(rq.s.control, rq.ctx(), rq.caller, rq.params["account"])
		return rq.reply(v, err)
	}
}

func setEncryptionKey(rq *request) error {
	var k api.EncryptionKey
	if err := rq.decode(&k); err != nil {
		return err
	}
	v, err := rq.s.control.SetEncryptionKey(rq.ctx(), rq.caller, rq.params["account"], &k)
	return rq.reply(v, err)
}

func shredEncryptionKey(rq *request) error {
	var r api.ShredRequest
	if err := rq.decode(&r); err != nil {
		return err
	}
	v, err := rq.s.control.ShredEncryptionKey(rq.ctx(), rq.caller, rq.params["account"], &r)
	return rq.reply(v, err)
}
