package control

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/firekeep/firekeep/api"
	"github.com/firekeep/firekeep/internal/authz"
	"github.com/firekeep/firekeep/internal/catalog"
	"github.com/firekeep/firekeep/internal/custody"
	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/seal"
	"github.com/firekeep/firekeep/internal/store"
)

// TransferPath is where URLs that the server signed lead to. Clients send and
// read files there without a key: what the URL may do is sealed into its last
// segment.
const TransferPath = "/v1/transfers/"

// Lifetimes of signed URLs. Clients ask for new ones in less.
const (
	uploadLife   = time.Hour
	downloadLife = 15 * time.Minute
)

// maxFileName bounds a file's name in a map of URLs.
const maxFileName = 255

// ticket is what a signed URL stands for: one file of one dataset, in one
// direction, in the name of the key that asked for it. It holds no longer than
// that key does.
type ticket struct {
	Method  string `json:"m"` // PUT or GET
	Account string `json:"a"`
	ID      string `json:"d"` // of the dataset
	UID     string `json:"u"` // one that was deleted and made anew is another
	Key     string `json:"k"` // id of the API key
	Size    int64  `json:"s,omitempty"`
	Expires int64  `json:"e"` // Unix seconds
}

// ticketPurpose binds sealed tickets to what they are for.
var ticketPurpose = []byte("firekeep/transfer/1")

// maxTicket bounds what strangers can have opened.
const maxTicket = 2048

func (c *Control) sealTicket(t ticket) (string, error) {
	raw, err := json.Marshal(t)
	if err != nil {
		return "", err
	}
	sealed, err := c.KEK.Encrypt(raw, ticketPurpose)
	if err != nil {
		return "", rft.Wrap(rft.KindInternal, err, "the URL cannot be signed")
	}
	return TransferPath + base64.RawURLEncoding.EncodeToString(sealed), nil
}

// openTicket reads a ticket back. What is not ours, and what is too old, get the
// same answer.
func openTicket(kek seal.KEK, text, method string, now time.Time) (ticket, error) {
	var t ticket
	refused := rft.Errorf(rft.KindPermissionDenied, "this URL is not valid, or no longer; ask for a new one")
	if len(text) > maxTicket {
		return t, refused
	}
	sealed, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil {
		return t, refused
	}
	raw, err := kek.Decrypt(sealed, ticketPurpose)
	if err != nil || json.Unmarshal(raw, &t) != nil || now.Unix() >= t.Expires || t.Method != method {
		return ticket{}, refused
	}
	return t, nil
}

// UploadEndpoint returns, by file name, the paths that the files of a dataset may
// be sent to. A dataset has one file; files has its size in bytes.
func (c *Control) UploadEndpoint(ctx context.Context, who Caller, account, id string, files map[string]int64) (map[string]string, error) {
	name := datasetName(account, id)
	if err := c.allow(ctx, who, authz.UploadDataset, account, name); err != nil {
		return nil, err
	}
	if err := c.checkFiles(files); err != nil {
		return nil, err
	}
	d, err := c.DB.Dataset(ctx, account, id)
	if err != nil {
		return nil, err
	}
	if d.ExternalURL != "" {
		return nil, rft.Errorf(rft.KindFailedPrecondition, "%s takes no upload: its rows lie in a bucket", d.Name())
	}
	out := map[string]string{}
	for file, size := range files {
		if out[file], err = c.sealTicket(ticket{Method: http.MethodPut, Account: account, ID: d.ID, UID: d.UID, Key: who.KeyID, Size: size, Expires: c.now().Add(uploadLife).Unix()}); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (c *Control) checkFiles(files map[string]int64) error {
	const field = "filenameToSize"
	switch {
	case c.Uploads == UploadsRefused:
		return rft.Errorf(rft.KindFailedPrecondition, "this server takes no uploads; put the rows in a bucket and give its URL as dataset.externalUrl")
	case len(files) != 1:
		return rft.FieldErrorf(field, "%s: want one file with its size in bytes; several files go into a bucket, registered as dataset.externalUrl", field)
	}
	for file, size := range files {
		if file == "" || len(file) > maxFileName || !utf8.ValidString(file) {
			return rft.FieldErrorf(field, "%s: want file names of 1 to %d bytes", field, maxFileName)
		}
		if size < 1 || size > catalog.MaxUploadBytes {
			return rft.FieldErrorf(field, "%s: a file has 1 byte to %d MiB; put more rows into a bucket and register its URL", field, catalog.MaxUploadBytes>>20)
		}
	}
	return nil
}

// DownloadEndpoint returns, by file name, the paths that the rows of a dataset
// can be read from. Rows in the user's own bucket never come through here: the
// path of such a dataset answers with an empty file.
func (c *Control) DownloadEndpoint(ctx context.Context, who Caller, account, id string) (map[string]string, error) {
	name := datasetName(account, id)
	if err := c.allow(ctx, who, authz.DownloadDataset, account, name); err != nil {
		return nil, err
	}
	d, err := c.DB.Dataset(ctx, account, id)
	if err != nil {
		return nil, err
	}
	if d.ExternalURL == "" && d.State != store.StateReady {
		return nil, rft.Errorf(rft.KindFailedPrecondition, "%s has no rows yet; upload them first", d.Name())
	}
	path, err := c.sealTicket(ticket{Method: http.MethodGet, Account: account, ID: d.ID, UID: d.UID, Key: who.KeyID, Expires: c.now().Add(downloadLife).Unix()})
	return map[string]string{d.ID + ".jsonl": path}, err
}

// Transfer is the use of a signed URL by whoever holds it.
type Transfer struct {
	// Caller acts with the rights that the key has now, not with those it had when
	// the URL was signed.
	Caller  Caller
	control *Control
	ticket  ticket
	dataset store.Dataset
}

// Transfer opens a signed URL and authorises its use.
func (c *Control) Transfer(ctx context.Context, method, text, clientIP, userAgent string) (*Transfer, error) {
	t, err := openTicket(c.KEK, text, method, c.now())
	if err != nil {
		return nil, err
	}
	p, err := c.Keys.Recall(ctx, t.Key)
	if err != nil {
		return nil, err
	}
	x := &Transfer{Caller: NewCaller(p, clientIP, userAgent), control: c, ticket: t}
	if err := c.Admit(x.Caller); err != nil {
		return nil, err
	}
	d, _, err := c.DB.DatasetByUID(ctx, t.UID)
	if err != nil && rft.KindOf(err) != rft.KindNotFound {
		return nil, err
	}
	action := authz.UploadDataset
	if method == http.MethodGet {
		action = authz.DownloadDataset
	}
	if e := c.allow(ctx, x.Caller, action, t.Account, datasetName(t.Account, t.ID)); e != nil {
		return nil, e
	}
	x.dataset = d
	return x, err
}

// Size is how many bytes an upload must have.
func (x *Transfer) Size() int64 { return x.ticket.Size }

// Put takes the file of an upload and queues its validation. It does not wait for
// the verdict: whoever uploads by URL asks for it afterwards. Rows that are there
// already, every byte, are no error: a client that lost the answer sends them again.
func (x *Transfer) Put(ctx context.Context, in io.Reader) error {
	c, d := x.control, x.dataset
	if c.Uploads == UploadsRefused {
		return rft.Errorf(rft.KindFailedPrecondition, "this server takes no uploads; put the rows in a bucket and give its URL as dataset.externalUrl")
	}
	sized := &exactly{r: in, left: x.ticket.Size}
	if d.State == store.StateReady && d.ExternalURL == "" {
		return c.Catalog.SameRows(ctx, d, sized)
	}
	_, err := c.Catalog.Upload(ctx, x.ticket.Account, d.ID, sized, x.Caller.act("UploadDataset", d.Name()))
	return err
}

// Open returns the rows of an uploaded dataset, and how many bytes they have.
// That they leave is in the audit log before the first of them does.
func (x *Transfer) Open(ctx context.Context) (io.ReadCloser, int64, error) {
	c, d := x.control, x.dataset
	if d.ExternalURL != "" {
		return http.NoBody, 0, nil
	}
	_, objects, err := c.DB.DatasetByUID(ctx, d.UID)
	if err != nil {
		return nil, 0, err
	}
	if err := c.DB.Record(ctx, x.Caller.act("DownloadDataset", d.Name()), nil); err != nil {
		return nil, 0, err
	}
	if err := c.Logged(ctx, x.Caller); err != nil {
		return nil, 0, err
	}
	ctx = custody.For(ctx, custody.Use{Purpose: "download", Resource: d.Name(), Actor: x.Caller.Name})
	rows, size, err := c.Catalog.Rows(ctx, objects)
	return rows, size, c.keyed(ctx, x.ticket.Account, err)
}

// exactly reads as many bytes as were announced, no fewer and no more.
type exactly struct {
	r    io.Reader
	left int64
}

// Read implements io.Reader.
func (e *exactly) Read(p []byte) (int, error) {
	n, err := e.r.Read(p)
	e.left -= int64(n)
	switch {
	case e.left < 0:
		return 0, rft.Errorf(rft.KindInvalidArgument, "the file is longer than was announced")
	case err == io.EOF && e.left > 0:
		return n, rft.Errorf(rft.KindInvalidArgument, "the file is shorter than was announced: %d bytes are missing", e.left)
	}
	return n, err
}

// unfilled reports whether a dataset waits for its rows, or for better ones.
func unfilled(url, state string) bool { return url == "" && state == store.StateUploading }

// ListFilledDatasets is ListDatasets without those that wait for an upload: for
// clients that look for a dataset to learn whether to upload it. A page may have
// fewer datasets than asked for, and more behind it.
func (c *Control) ListFilledDatasets(ctx context.Context, who Caller, account string, q ListQuery) (*api.DatasetList, error) {
	l, err := c.ListDatasets(ctx, who, account, q)
	if err != nil {
		return nil, err
	}
	l.Datasets = slices.DeleteFunc(l.Datasets, func(d api.Dataset) bool { return unfilled(d.ExternalURL, d.State) })
	return l, nil
}

// OpenDataset is CreateDataset for the same clients: a dataset that waits for an
// upload, because the client that made it ended before, is there to be uploaded.
func (c *Control) OpenDataset(ctx context.Context, who Caller, account string, r *api.CreateDatasetRequest) (*api.Dataset, error) {
	made, err := c.CreateDataset(ctx, who, account, r)
	if rft.KindOf(err) != rft.KindAlreadyExists || (r.Dataset != nil && r.Dataset.ExternalURL != "") {
		return made, err
	}
	d, readErr := c.DB.Dataset(ctx, account, r.DatasetID)
	if readErr != nil || !unfilled(d.ExternalURL, d.State) {
		return nil, err
	}
	w := wireDataset(d)
	return &w, nil
}
