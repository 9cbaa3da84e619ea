package objstore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"cloud.google.com/go/storage"
	"github.com/googleapis/gax-go/v2"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/jwt"
	"google.golang.org/api/googleapi"
	"google.golang.org/api/iterator"
	"google.golang.org/api/option"

	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/seal"
)

// GSCredential is the JSON in the Secret of a gs:// connection: either a
// service account's key file as Google writes it, or an access token.
type GSCredential struct {
	Type         string `json:"type,omitempty"` // "service_account"
	ClientEmail  string `json:"client_email,omitempty"`
	PrivateKeyID string `json:"private_key_id,omitempty"`
	PrivateKey   string `json:"private_key,omitempty"`

	AccessToken string `json:"accessToken,omitempty"`
}

const (
	gsEndpoint = "https://storage.googleapis.com/storage/v1/"
	gsTokenURL = "https://oauth2.googleapis.com/token"
	gsScope    = "https://www.googleapis.com/auth/devstorage.read_write"
)

// gsBucket implements Bucket on Google's JSON API.
type gsBucket struct {
	client *storage.Client
	handle *storage.BucketHandle
	bucket string
	cfg    Config
	http   *http.Client // with the credential
	// endpoint ends in "/storage/v1/".
	endpoint string
}

func openGS(ctx context.Context, u URL, secret Secret, c Config) (Bucket, error) {
	plain := c.HTTPClient()
	plain.Transport = bounded{plain.Transport}
	hc := plain
	if !secret.Empty() {
		source, err := gsTokens(secret, c, plain)
		if err != nil {
			return nil, err
		}
		hc = &http.Client{Transport: &oauth2.Transport{Source: source, Base: plain.Transport}, CheckRedirect: plain.CheckRedirect}
	}
	endpoint := gsEndpoint
	if c.GS.Endpoint != "" {
		endpoint = strings.TrimSuffix(c.GS.Endpoint, "/") + "/"
	}
	// The credential is in hc. WithoutAuthentication keeps the library from
	// looking for another one, and WithEndpoint from asking the environment.
	client, err := storage.NewClient(context.WithoutCancel(ctx), option.WithHTTPClient(hc), option.WithoutAuthentication(),
		option.WithEndpoint(endpoint), storage.WithJSONReads(), storage.WithDisabledClientMetrics())
	if err != nil {
		return nil, rft.Wrap(rft.KindInternal, err, "%s: cannot make a client", u)
	}
	client.SetRetry(storage.WithMaxAttempts(c.Retries+1), storage.WithPolicy(storage.RetryIdempotent),
		storage.WithBackoff(gax.Backoff{Initial: c.Backoff, Max: 100 * c.Backoff, Multiplier: 2}))
	return &gsBucket{client: client, handle: client.Bucket(u.Bucket), bucket: u.Bucket, cfg: c, http: hc, endpoint: endpoint}, nil
}

// gsTokens makes the source of access tokens. The place where a service
// account's tokens come from is ours to say: a key file that names another one
// could make this host send requests anywhere.
func gsTokens(secret Secret, c Config, hc *http.Client) (oauth2.TokenSource, error) {
	var cred GSCredential
	if err := json.Unmarshal([]byte(secret.Reveal()), &cred); err != nil {
		return nil, rft.Errorf(rft.KindInvalidArgument, "GS credential: not a JSON object")
	}
	switch {
	case cred.AccessToken != "":
		return oauth2.StaticTokenSource(&oauth2.Token{AccessToken: cred.AccessToken}), nil
	case cred.Type == "service_account" && cred.ClientEmail != "" && cred.PrivateKey != "":
		tokenURL := c.GS.TokenURL
		if tokenURL == "" {
			tokenURL = gsTokenURL
		}
		conf := &jwt.Config{Email: cred.ClientEmail, PrivateKey: []byte(cred.PrivateKey), PrivateKeyID: cred.PrivateKeyID,
			Scopes: []string{gsScope}, TokenURL: tokenURL, Expires: 10 * time.Minute}
		ctx := context.WithValue(context.Background(), oauth2.HTTPClient, hc)
		return oauth2.ReuseTokenSource(nil, conf.TokenSource(ctx)), nil
	}
	return nil, rft.Errorf(rft.KindInvalidArgument, "GS credential: want a service account's key file or accessToken")
}

func (b *gsBucket) at(key string) URL { return URL{Scheme: GS, Bucket: b.bucket, Key: key} }

func (b *gsBucket) check(key string) error {
	if key == "" || key == "." || key == ".." {
		return rft.Errorf(rft.KindInvalidArgument, "%s cannot name an object", b.at(key))
	}
	return b.at(key).checkKey()
}

func gsInfo(a *storage.ObjectAttrs) Info {
	return Info{Key: a.Name, Pin: Pin{Size: a.Size, Version: strconv.FormatInt(a.Generation, 10)}, Modified: a.Updated}
}

// Stat implements Bucket.
func (b *gsBucket) Stat(ctx context.Context, key string) (Info, error) {
	if err := b.check(key); err != nil {
		return Info{}, err
	}
	attrs, err := b.handle.Object(key).Attrs(ctx)
	if err != nil {
		return Info{}, b.fault(key, err)
	}
	return gsInfo(attrs), nil
}

// Open implements Bucket.
func (b *gsBucket) Open(ctx context.Context, key string, pin Pin, offset, length int64) (io.ReadCloser, error) {
	if err := b.check(key); err != nil {
		return nil, err
	}
	if pin == (Pin{}) {
		info, err := b.Stat(ctx, key)
		if err != nil {
			return nil, err
		}
		pin = info.Pin
	}
	generation, err := strconv.ParseInt(pin.Version, 10, 64)
	if err != nil {
		return nil, changed(b.at(key))
	}
	return resume(ctx, b.at(key), b.cfg, pin, offset, length, func(ctx context.Context, offset, n int64) (io.ReadCloser, error) {
		return b.openRange(ctx, key, pin, generation, offset, n)
	})
}

// openRange is one GET of one generation. It is not the library's reader: that
// one resumes by rules of its own and decompresses what was stored compressed.
func (b *gsBucket) openRange(ctx context.Context, key string, pin Pin, generation, offset, n int64) (io.ReadCloser, error) {
	if n == 0 {
		attrs, err := b.handle.Object(key).Generation(generation).Attrs(ctx)
		if err != nil {
			return nil, b.pinFault(key, err)
		}
		if gsInfo(attrs).Pin != pin {
			return nil, changed(b.at(key))
		}
		return io.NopCloser(strings.NewReader("")), nil
	}
	place := b.endpoint + "b/" + url.PathEscape(b.bucket) + "/o/" + url.PathEscape(key) + "?alt=media&generation=" + pin.Version
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, place, nil)
	if err != nil {
		return nil, rft.Wrap(rft.KindInternal, err, "%s: cannot make a request", b.at(key))
	}
	req.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", offset, offset+n-1))
	req.Header.Set("Accept-Encoding", "gzip") // as it is stored, whatever that is
	res, err := b.http.Do(req)
	if err != nil {
		return nil, b.fault(key, err)
	}
	if res.StatusCode >= 300 {
		_ = res.Body.Close()
		return nil, b.pinFault(key, &googleapi.Error{Code: res.StatusCode, Message: res.Status})
	}
	start, total, ok := contentRange(res.Header.Get("Content-Range"))
	if g := res.Header.Get("X-Goog-Generation"); !ok || start != offset || total != pin.Size || g != "" && g != pin.Version {
		_ = res.Body.Close()
		return nil, changed(b.at(key))
	}
	return res.Body, nil
}

// List implements Bucket. Google lists names in byte order.
func (b *gsBucket) List(ctx context.Context, prefix, startAfter string, yield func(Info) error) error {
	q := &storage.Query{Prefix: prefix, StartOffset: startAfter}
	if err := q.SetAttrSelection([]string{"Name", "Size", "Generation", "Updated"}); err != nil {
		return rft.Wrap(rft.KindInternal, err, "%s: cannot list", b.at(prefix))
	}
	objects := b.handle.Objects(ctx, q)
	for {
		attrs, err := objects.Next()
		if errors.Is(err, iterator.Done) {
			return nil
		}
		if err != nil {
			return b.fault(prefix, err)
		}
		if attrs.Name <= startAfter || !strings.HasPrefix(attrs.Name, prefix) {
			continue
		}
		if err := yield(gsInfo(attrs)); err != nil {
			return err
		}
	}
}

// Create implements Bucket.
func (b *gsBucket) Create(ctx context.Context, key string, r io.Reader, o PutOptions) (Info, error) {
	return b.write(ctx, key, storage.Conditions{DoesNotExist: true}, exists(b.at(key)), r, o)
}

// Replace implements Bucket.
func (b *gsBucket) Replace(ctx context.Context, key string, was Pin, r io.Reader, o PutOptions) (Info, error) {
	generation, err := strconv.ParseInt(was.Version, 10, 64)
	if err != nil {
		return Info{}, changed(b.at(key))
	}
	return b.write(ctx, key, storage.Conditions{GenerationMatch: generation}, changed(b.at(key)), r, o)
}

// write uploads under a condition; lost is the error when it does not hold.
// Nothing is visible before the last byte: an upload whose context ends before
// Close leaves nothing.
func (b *gsBucket) write(ctx context.Context, key string, when storage.Conditions, lost error, r io.Reader, o PutOptions) (Info, error) {
	if err := b.check(key); err != nil {
		return Info{}, err
	}
	uploading, stop := context.WithCancel(ctx)
	defer stop()
	id := seal.RandomID(20)
	w := b.handle.Object(key).If(when).Retryer(b.boundedRetry()).NewWriter(uploading)
	w.ContentType, w.CacheControl, w.KMSKeyName = o.ContentType, o.CacheControl, b.cfg.Encryption.KMSKeyName
	w.Metadata = map[string]string{writeIDKey: id}
	w.ChunkSize = gsChunk(o.Size, b.cfg.PartBytes)
	src := newSource(ctx, b.at(key), r, o)
	_, err := io.Copy(struct{ io.Writer }{w}, src)
	if checked := src.check(); src.err != nil || err == nil {
		err = checked
	}
	if err != nil {
		stop()
		_ = w.Close()
		return Info{}, b.lost(key, lost, err)
	}
	if err := w.Close(); err != nil {
		if info, ok := b.owned(ctx, key, id); ok {
			return info, b.encryptedNow(ctx, key)
		}
		return Info{}, b.lost(key, lost, err)
	}
	if err := b.encrypted(ctx, key, w.Attrs()); err != nil {
		return Info{}, err
	}
	return gsInfo(w.Attrs()), nil
}

// encrypted checks that what was written is under the customer's key. The answer
// names a version of it. What is not goes away again, this generation only.
func (b *gsBucket) encrypted(ctx context.Context, key string, made *storage.ObjectAttrs) error {
	want := b.cfg.Encryption.KMSKeyName
	if want == "" || strings.HasPrefix(made.KMSKeyName, want+"/cryptoKeyVersions/") {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
	defer cancel()
	_ = b.handle.Object(key).If(storage.Conditions{GenerationMatch: made.Generation}).Delete(ctx)
	return notEncrypted(b.at(key), "the key "+want)
}

// boundedRetry limits the retries of one upload: the library's own limit does
// not hold for uploads.
func (b *gsBucket) boundedRetry() storage.RetryOption {
	var failures atomic.Int64
	return storage.WithErrorFunc(func(err error) bool {
		return storage.ShouldRetry(err) && failures.Add(1) <= int64(b.cfg.Retries)
	})
}

// gsChunk is the size of upload chunks, which the library keeps in memory to
// send them again: a multiple of 256 KiB, no more than the body needs.
func gsChunk(size, part int64) int {
	const unit = 256 << 10
	if size >= 0 {
		part = min(part, size+1)
	}
	return int((part + unit - 1) / unit * unit)
}

// lost maps the error of a write. 412 says that the condition does not hold,
// unless it was this very write that came before.
func (b *gsBucket) lost(key string, lost, err error) error {
	if api, ok := errors.AsType[*googleapi.Error](err); ok && (api.Code == 412 || api.Code == 409) {
		return lost
	}
	return b.fault(key, err)
}

// owned reports whether key holds what write id made.
func (b *gsBucket) owned(ctx context.Context, key, id string) (Info, bool) {
	attrs, err := b.handle.Object(key).Attrs(ctx)
	if err != nil || attrs.Metadata[writeIDKey] != id {
		return Info{}, false
	}
	return gsInfo(attrs), true
}

// Delete implements Bucket.
func (b *gsBucket) Delete(ctx context.Context, key string) error {
	if err := b.check(key); err != nil {
		return err
	}
	// Deleting twice is harmless, so a lost answer may be repaired.
	err := b.handle.Object(key).Retryer(storage.WithPolicy(storage.RetryAlways)).Delete(ctx)
	if err = b.fault(key, err); rft.KindOf(err) == rft.KindNotFound {
		return nil
	}
	return err
}

// Close implements Bucket.
func (b *gsBucket) Close() error {
	b.http.CloseIdleConnections()
	if err := b.client.Close(); err != nil {
		return rft.Wrap(rft.KindInternal, err, "gs://%s/: close", b.bucket)
	}
	return nil
}

// fault maps an error of the library.
func (b *gsBucket) fault(key string, err error) error {
	if err == nil {
		return nil
	}
	u := b.at(key)
	if e := contextError(u, err); e != nil {
		return e
	}
	if e, ok := errors.AsType[*rft.Error](err); ok {
		return e // of the source of a write
	}
	switch api, answered := errors.AsType[*googleapi.Error](err); {
	case errors.Is(err, errBlocked):
		return rft.Wrap(rft.KindPermissionDenied, err, "%s: the endpoint's address is blocked by the operator's configuration", u)
	case errors.Is(err, storage.ErrObjectNotExist), errors.Is(err, storage.ErrBucketNotExist):
		return absent(u, err)
	case answered:
		return statusError(u, api.Code, err)
	}
	if e, ok := errors.AsType[*oauth2.RetrieveError](err); ok && e.Response != nil && e.Response.StatusCode < 500 {
		return rft.Wrap(rft.KindPermissionDenied, err, "%s: the credential was refused when a token was asked for", u)
	}
	return statusError(u, 0, err)
}

// pinFault maps the errors of a pinned read.
func (b *gsBucket) pinFault(key string, err error) error {
	err = b.fault(key, err)
	api, ok := errors.AsType[*googleapi.Error](err)
	if kind := rft.KindOf(err); kind == rft.KindNotFound || kind == rft.KindOutOfRange || ok && api.Code == 412 {
		return changed(b.at(key))
	}
	return err
}

// encryptedNow is encrypted for a write whose answer was lost.
func (b *gsBucket) encryptedNow(ctx context.Context, key string) error {
	if b.cfg.Encryption.KMSKeyName == "" {
		return nil
	}
	attrs, err := b.handle.Object(key).Attrs(ctx)
	if err != nil {
		return b.fault(key, err)
	}
	return b.encrypted(ctx, key, attrs)
}
