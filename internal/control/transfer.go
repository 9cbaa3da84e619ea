package control

import (
	"context"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
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

// ticket is what a signed URL stands for: one file of one dataset or model, in
// one direction, in the name of the key that asked for it. It holds no longer
// than that key does.
type ticket struct {
	Method  string `json:"m"` // PUT or GET
	Account string `json:"a"`
	Model   bool   `json:"o,omitempty"` // of a model, not of a dataset
	ID      string `json:"d"`
	UID     string `json:"u"`           // one that was deleted and made anew is another
	File    string `json:"f,omitempty"` // its name; "" = the rows of a dataset, whole
	Batch   string `json:"b,omitempty"` // the announcement of an upload
	Key     string `json:"k"`           // id of the API key
	Size    int64  `json:"s,omitempty"`
	Expires int64  `json:"e"` // Unix seconds
}

// ticketPurpose binds sealed tickets to what they are for.
var ticketPurpose = []byte("firekeep/transfer/1")

func (c *Control) sealTransfer(t ticket) (string, error) {
	return sealTicket(c.KEK, TransferPath, ticketPurpose, t)
}

// openTransferTicket reads a ticket for a method back, if it is not too old.
func openTransferTicket(kek seal.KEK, text, method string, now time.Time) (t ticket, err error) {
	if err := openTicket(kek, ticketPurpose, text, &t); err != nil {
		return ticket{}, err
	}
	if now.Unix() >= t.Expires || t.Method != method {
		return ticket{}, errTicket()
	}
	return t, nil
}

// UploadEndpoint returns, by file name, the paths that the files of a dataset may
// be sent to; files has their sizes in bytes. Each call replaces what was announced
// before, but for a call that announces the same: its paths lead to the same files.
func (c *Control) UploadEndpoint(ctx context.Context, who Caller, account, id string, files map[string]int64) (map[string]string, error) {
	name := datasetName(account, id)
	if err := c.allow(ctx, who, authz.UploadDataset, account, name); err != nil {
		return nil, err
	}
	if c.Uploads == UploadsRefused {
		return nil, errNoUploads()
	}
	if err := checkFiles(files, maxDatasetFiles, catalog.MaxUploadBytes, maxDatasetBytes); err != nil {
		return nil, err
	}
	d, err := c.DB.Dataset(ctx, account, id)
	if err != nil {
		return nil, err
	}
	if d.ExternalURL != "" {
		return nil, rft.Errorf(rft.KindFailedPrecondition, "%s takes no upload: its rows lie in a bucket", d.Name())
	}
	return c.announce(ctx, who, ticket{Account: account, ID: d.ID, UID: d.UID}, name, files)
}

// announce makes a dataset or a model wait for files and signs their paths.
func (c *Control) announce(ctx context.Context, who Caller, of ticket, name string, files map[string]int64) (map[string]string, error) {
	have, err := c.DB.UploadFiles(ctx, of.UID)
	if err != nil {
		return nil, err
	}
	if !sameFiles(have, files) {
		if err := c.checkStorage(ctx, who); err != nil {
			return nil, err
		}
		have = nil
		for _, file := range slices.Sorted(maps.Keys(files)) {
			have = append(have, store.UploadFile{Name: file, Size: files[file]})
		}
		act := who.act("AnnounceUpload", name, "files", strconv.Itoa(len(files)))
		if err := c.Catalog.Announce(ctx, of.Account, of.UID, have, act); err != nil {
			return nil, err
		}
	}
	out := map[string]string{}
	of.Method, of.Key, of.Expires = http.MethodPut, who.KeyID, c.now().Add(uploadLife).Unix()
	for _, f := range have {
		of.File, of.Size, of.Batch = f.Name, f.Size, f.Batch
		if out[f.Name], err = c.sealTransfer(of); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// sameFiles reports whether an announcement repeats the one that stands.
func sameFiles(have []store.UploadFile, files map[string]int64) bool {
	for _, f := range have {
		if size, ok := files[f.Name]; !ok || size != f.Size {
			return false
		}
	}
	return len(have) == len(files)
}

// Bounds of the files of a dataset that are sent through the API.
const (
	maxDatasetFiles = 256
	maxDatasetBytes = 4 << 30
)

func errNoUploads() error {
	return rft.Errorf(rft.KindFailedPrecondition, "this server takes no uploads; put the rows in a bucket and give its URL as dataset.externalUrl")
}

func checkFiles(files map[string]int64, count int, each, all int64) error {
	const field = "filenameToSize"
	if len(files) == 0 || len(files) > count {
		return rft.FieldErrorf(field, "%s: want 1 to %d files with their sizes in bytes; more go into a bucket", field, count)
	}
	var sum int64
	for file, size := range files {
		if file == "" || len(file) > maxFileName || !utf8.ValidString(file) || strings.ContainsAny(file, "/\\\x00\n\r") || file == "." || file == ".." {
			return rft.FieldErrorf(field, "%s: want file names of 1 to %d bytes, without directories", field, maxFileName)
		}
		if size < 1 || size > each {
			return rft.FieldErrorf(field, "%s: a file has 1 byte to %d MiB; put more into a bucket and register its URL", field, each>>20)
		}
		sum += size
	}
	if sum > all {
		return rft.FieldErrorf(field, "%s: the files have more than %d GiB together; put them into a bucket and register its URL", field, all>>30)
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
	t := ticket{Method: http.MethodGet, Account: account, ID: d.ID, UID: d.UID, Key: who.KeyID, Expires: c.now().Add(downloadLife).Unix()}
	files, err := c.DB.UploadFiles(ctx, d.UID)
	if err != nil {
		return nil, err
	}
	_, objects, err := c.DB.DatasetByUID(ctx, d.UID)
	if err != nil {
		return nil, err
	}
	out := map[string]string{}
	for _, f := range files {
		if slices.ContainsFunc(objects, func(o store.Object) bool { return o.Key == f.Key }) {
			t.File = f.Name
			if out[f.Name], err = c.sealTransfer(t); err != nil {
				return nil, err
			}
		}
	}
	if len(out) == 0 {
		out[d.ID+".jsonl"], err = c.sealTransfer(t)
	}
	return out, err
}

// Transfer is the use of a signed URL by whoever holds it.
type Transfer struct {
	// Caller acts with the rights that the key has now, not with those it had when
	// the URL was signed.
	Caller  Caller
	control *Control
	ticket  ticket
	dataset store.Dataset
	model   store.Model
}

// Transfer opens a signed URL and authorises its use.
func (c *Control) Transfer(ctx context.Context, method, text, clientIP, userAgent string) (*Transfer, error) {
	t, err := openTransferTicket(c.KEK, text, method, c.now())
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
	found := x.find(ctx)
	if found != nil && rft.KindOf(found) != rft.KindNotFound {
		return nil, found
	}
	if err := c.allow(ctx, x.Caller, t.action(), t.Account, t.name()); err != nil {
		return nil, err
	}
	return x, found
}

// find reads what the ticket is of.
func (x *Transfer) find(ctx context.Context) (err error) {
	if x.ticket.Model {
		x.model, err = x.control.DB.ModelByUID(ctx, x.ticket.UID)
		return err
	}
	x.dataset, _, err = x.control.DB.DatasetByUID(ctx, x.ticket.UID)
	return err
}

func (t ticket) action() authz.Action {
	switch {
	case t.Model && t.Method == http.MethodGet:
		return authz.ExportModel
	case t.Model:
		return authz.UploadModel
	case t.Method == http.MethodGet:
		return authz.DownloadDataset
	}
	return authz.UploadDataset
}

func (t ticket) name() string {
	if t.Model {
		return modelName(t.Account, t.ID)
	}
	return datasetName(t.Account, t.ID)
}

// Size is how many bytes an upload must have.
func (x *Transfer) Size() int64 { return x.ticket.Size }

// Put takes a file of an upload. It does not wait for the verdict: whoever uploads
// by URL asks for it afterwards. Rows that are there already, every byte, are no
// error: a client that lost the answer sends them again.
func (x *Transfer) Put(ctx context.Context, in io.Reader) error {
	c, t := x.control, x.ticket
	if c.Uploads == UploadsRefused {
		return errNoUploads()
	}
	sized := &exactly{r: in, left: t.Size}
	f := store.UploadFile{Owner: t.UID, Account: t.Account, Name: t.File, Batch: t.Batch, Size: t.Size}
	act := x.Caller.act("UploadFile", t.name())
	if t.Model {
		return quoted(x.Caller, c.Catalog.UploadModelFile(ctx, x.model, f, sized, room(x.Caller), act))
	}
	return quoted(x.Caller, c.Catalog.UploadRows(ctx, x.dataset, f, sized, room(x.Caller), act))
}

// Open returns a file, and how many bytes it has. That it leaves is in the audit
// log before its first byte does.
func (x *Transfer) Open(ctx context.Context) (io.ReadCloser, int64, error) {
	if x.ticket.Model {
		return x.openModel(ctx)
	}
	c, d := x.control, x.dataset
	if d.ExternalURL != "" {
		return http.NoBody, 0, nil
	}
	_, objects, err := c.DB.DatasetByUID(ctx, d.UID)
	if err != nil {
		return nil, 0, err
	}
	if x.ticket.File != "" {
		files, err := c.DB.UploadFiles(ctx, d.UID)
		if err != nil {
			return nil, 0, err
		}
		objects = slices.DeleteFunc(objects, func(o store.Object) bool {
			return !slices.ContainsFunc(files, func(f store.UploadFile) bool { return f.Name == x.ticket.File && f.Key == o.Key })
		})
		if len(objects) == 0 {
			return nil, 0, rft.Errorf(rft.KindNotFound, "the file is not found any more; ask for a new URL")
		}
	}
	if err := x.leaves(ctx, "DownloadDataset"); err != nil {
		return nil, 0, err
	}
	ctx = custody.For(ctx, custody.Use{Purpose: "download", Resource: d.Name(), Actor: x.Caller.Name})
	rows, size, err := c.Catalog.Rows(ctx, objects)
	return rows, size, c.keyed(ctx, x.ticket.Account, err)
}

// leaves records that something leaves, and waits until that is logged.
func (x *Transfer) leaves(ctx context.Context, method string, detail ...string) error {
	if err := x.control.DB.Record(ctx, x.Caller.act(method, x.ticket.name(), detail...), nil); err != nil {
		return err
	}
	return x.control.Logged(ctx, x.Caller)
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
