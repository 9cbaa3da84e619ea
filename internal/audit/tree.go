package audit

import (
	"crypto/sha256"

	"golang.org/x/mod/sumdb/tlog"
)

// tree is the Merkle tree of RFC 6962 over the entries added so far, kept as the
// roots of its complete subtrees, the largest first.
type tree struct {
	n    int64
	subs []tlog.Hash
	// complete is told of every subtree that has become complete; nil = nobody.
	complete func(level int, index int64, h tlog.Hash)
}

// leafHash is the hash of an entry.
func leafHash(leaf []byte) tlog.Hash { return tlog.RecordHash(leaf) }

// add appends the hash of an entry.
func (t *tree) add(h tlog.Hash) {
	index := t.n
	t.report(0, index, h)
	for level := 1; index&1 == 1; level++ {
		h = tlog.NodeHash(t.subs[len(t.subs)-1], h)
		t.subs = t.subs[:len(t.subs)-1]
		index >>= 1
		t.report(level, index, h)
	}
	t.subs = append(t.subs, h)
	t.n++
}

func (t *tree) report(level int, index int64, h tlog.Hash) {
	if t.complete != nil {
		t.complete(level, index, h)
	}
}

// root is the tree's hash.
func (t *tree) root() tlog.Hash {
	if len(t.subs) == 0 {
		return sha256.Sum256(nil)
	}
	h := t.subs[len(t.subs)-1]
	for i := len(t.subs) - 2; i >= 0; i-- {
		h = tlog.NodeHash(t.subs[i], h)
	}
	return h
}

// subtrees is how many complete subtrees a tree of n entries has.
func subtrees(n int64) (count int) {
	for ; n > 0; n &= n - 1 {
		count++
	}
	return count
}
