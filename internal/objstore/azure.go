package objstore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"

	"github.com/firekeep/firekeep/internal/rft"
)

// AzureCredential is the JSON in the Secret of an Azure connection: the
// account's key, or a shared access signature without its '?'.
type AzureCredential struct {
	AccountKey string `json:"accountKey,omitempty"`
	SAS        string `json:"sas,omitempty"`
}

// azureHost is the host of a storage account in the clouds of Azure.
var azureHost = rft.Pattern(`^([a-z0-9]{3,24})\.blob\.core\.(windows\.net|usgovcloudapi\.net|chinacloudapi\.cn)$`)

// azureContainer is the name of a container.
var azureContainer = rft.Pattern(`^[a-z0-9](-?[a-z0-9]){2,62}$`)

// azurePlace splits HOST/CONTAINER, which is what a URL has for a bucket.
func azurePlace(bucket string) (host, account, name string, ok bool) {
	host, name, _ = strings.Cut(bucket, "/")
	m := azureHost.FindStringSubmatch(host)
	if m == nil || !azureContainer.MatchString(name) || len(name) > 63 {
		return "", "", "", false
	}
	return host, m[1], name, true
}

// AzureAccount returns the storage account and the container of an Azure URL.
func (u URL) AzureAccount() (account, container string) {
	_, account, container, _ = azurePlace(u.Bucket)
	return account, container
}

// azureBucket implements Bucket on Azure Blob Storage.
type azureBucket struct {
	client *container.Client
	place  string // HOST/CONTAINER
	cfg    Config
	http   *http.Client
}

func openAzure(u URL, secret Secret, c Config) (Bucket, error) {
	host, account, name, ok := azurePlace(u.Bucket)
	if !ok {
		return nil, rft.Errorf(rft.KindInvalidArgument, "%s is not a place in Azure Blob Storage", u)
	}
	b := &azureBucket{place: u.Bucket, cfg: c, http: c.HTTPClient()}
	o := &container.ClientOptions{ClientOptions: c.AzureOptions(b.http)}
	at := "https://" + host + "/" + name
	var cred AzureCredential
	if !secret.Empty() && json.Unmarshal([]byte(secret.Reveal()), &cred) != nil {
		return nil, rft.Errorf(rft.KindInvalidArgument, "Azure credential: not a JSON object with accountKey or sas")
	}
	var err error
	switch {
	case cred.AccountKey != "":
		key, keyErr := container.NewSharedKeyCredential(account, cred.AccountKey)
		if keyErr != nil {
			return nil, rft.Errorf(rft.KindInvalidArgument, "Azure credential: accountKey is not base64")
		}
		b.client, err = container.NewClientWithSharedKeyCredential(at, key, o)
	case cred.SAS != "":
		b.client, err = container.NewClientWithNoCredential(at+"?"+strings.TrimPrefix(cred.SAS, "?"), o)
	case secret.Empty():
		b.client, err = container.NewClientWithNoCredential(at, o)
	default:
		return nil, rft.Errorf(rft.KindInvalidArgument, "Azure credential: want accountKey or sas")
	}
	if err != nil {
		return nil, rft.Errorf(rft.KindInvalidArgument, "%s: the credential is not of the form that Azure has", u) // the cause could quote it
	}
	return b, nil
}

// AzureOptions are what every client of Azure's SDK gets: our transport, our
// patience, no telemetry.
func (c Config) AzureOptions(hc *http.Client) policy.ClientOptions {
	c = c.withDefaults()
	retries := int32(c.Retries)
	if retries <= 0 {
		retries = -1
	}
	return policy.ClientOptions{
		Transport: azureTransport{client: hc, endpoint: c.Azure.Endpoint},
		Retry:     policy.RetryOptions{MaxRetries: retries, RetryDelay: c.Backoff, MaxRetryDelay: 100 * c.Backoff},
		Telemetry: policy.TelemetryOptions{Disabled: true},
	}
}

// azureTransport sends requests, to an emulator where the operator has one. The
// name of the account stays in the Host header. Errors lose their URL, which may
// hold a signature.
type azureTransport struct {
	client   *http.Client
	endpoint string
}

func (t azureTransport) Do(r *http.Request) (*http.Response, error) {
	if t.endpoint != "" {
		if to, err := url.Parse(t.endpoint); err == nil { // Check has parsed it
			r = r.Clone(r.Context())
			r.Host = r.URL.Host
			r.URL.Scheme, r.URL.Host = to.Scheme, to.Host
		}
	}
	res, err := t.client.Do(r)
	if e, ok := errors.AsType[*url.Error](err); ok {
		err = e.Err
	}
	return res, err
}

func (b *azureBucket) at(key string) URL { return URL{Scheme: Azure, Bucket: b.place, Key: key} }

// check refuses keys that Azure has no name for, or that it would keep under
// another one.
func (b *azureBucket) check(key string) error {
	if key == "" {
		return rft.Errorf(rft.KindInvalidArgument, "%s names a container, not a blob", b.at(key))
	}
	for part := range strings.SplitSeq(key, "/") {
		if strings.HasSuffix(part, ".") {
			return rft.Errorf(rft.KindInvalidArgument, "%s: Azure keeps no blobs with a segment that ends in '.'", b.at(key))
		}
	}
	if strings.HasSuffix(key, "/") || strings.Contains(key, `\`) {
		return rft.Errorf(rft.KindInvalidArgument, `%s: Azure keeps no blobs whose name ends in '/' or holds a '\', which it takes for '/'`, b.at(key))
	}
	return b.at(key).checkKey()
}

// azurePin makes a pin. Lists give ETags without the quotes that headers have.
func azurePin(size *int64, etag *azcore.ETag) Pin {
	p := Pin{}
	if size != nil {
		p.Size = *size
	}
	if etag != nil {
		p.ETag = `"` + strings.Trim(string(*etag), `"`) + `"`
	}
	return p
}

func value[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}

// Stat implements Bucket.
func (b *azureBucket) Stat(ctx context.Context, key string) (Info, error) {
	info, _, err := b.properties(ctx, key)
	return info, err
}

func (b *azureBucket) properties(ctx context.Context, key string) (Info, blob.GetPropertiesResponse, error) {
	if err := b.check(key); err != nil {
		return Info{}, blob.GetPropertiesResponse{}, err
	}
	out, err := b.client.NewBlobClient(key).GetProperties(ctx, nil)
	if err != nil {
		return Info{}, out, b.fault(key, err)
	}
	return Info{Key: key, Pin: azurePin(out.ContentLength, out.ETag), Modified: value(out.LastModified)}, out, nil
}

// Open implements Bucket.
func (b *azureBucket) Open(ctx context.Context, key string, pin Pin, offset, length int64) (io.ReadCloser, error) {
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
	if pin.ETag == "" {
		return nil, changed(b.at(key))
	}
	return resume(ctx, b.at(key), b.cfg, pin, offset, length, func(ctx context.Context, offset, n int64) (io.ReadCloser, error) {
		return b.openRange(ctx, key, pin, offset, n)
	})
}

// openRange is one GET with the pin's condition. A range of no bytes is a HEAD.
func (b *azureBucket) openRange(ctx context.Context, key string, pin Pin, offset, n int64) (io.ReadCloser, error) {
	if n == 0 {
		info, err := b.Stat(ctx, key)
		if err != nil {
			return nil, b.pinFault(key, err)
		}
		if info.Pin != pin {
			return nil, changed(b.at(key))
		}
		return io.NopCloser(strings.NewReader("")), nil
	}
	etag := azcore.ETag(pin.ETag)
	out, err := b.client.NewBlobClient(key).DownloadStream(ctx, &blob.DownloadStreamOptions{
		Range: blob.HTTPRange{Offset: offset, Count: n}, AccessConditions: matching(etag)})
	if err != nil {
		return nil, b.pinFault(key, b.fault(key, err))
	}
	start, total, ok := contentRange(value(out.ContentRange))
	if !ok || start != offset || total != pin.Size || azurePin(nil, out.ETag).ETag != pin.ETag {
		_ = out.Body.Close()
		return nil, changed(b.at(key))
	}
	return out.Body, nil
}

func matching(etag azcore.ETag) *blob.AccessConditions {
	return &blob.AccessConditions{ModifiedAccessConditions: &blob.ModifiedAccessConditions{IfMatch: &etag}}
}

// List implements Bucket. Azure lists names in byte order; it cannot start
// behind one, so those before are passed over.
func (b *azureBucket) List(ctx context.Context, prefix, startAfter string, yield func(Info) error) error {
	pager := b.client.NewListBlobsFlatPager(&container.ListBlobsFlatOptions{Prefix: &prefix})
	for pager.More() {
		page, err := pager.NextPage(ctx)
		if err != nil {
			return b.fault(prefix, err)
		}
		if page.Segment == nil {
			continue
		}
		for _, item := range page.Segment.BlobItems {
			key, p := value(item.Name), item.Properties
			if p == nil || !strings.HasPrefix(key, prefix) || key <= startAfter {
				continue
			}
			if err := yield(Info{Key: key, Pin: azurePin(p.ContentLength, p.ETag), Modified: value(p.LastModified)}); err != nil {
				return err
			}
		}
	}
	return nil
}

// Delete implements Bucket.
func (b *azureBucket) Delete(ctx context.Context, key string) error {
	if err := b.check(key); err != nil {
		return err
	}
	_, err := b.client.NewBlobClient(key).Delete(ctx, nil)
	if err = b.fault(key, err); rft.KindOf(err) == rft.KindNotFound {
		return nil
	}
	return err
}

// Close implements Bucket.
func (b *azureBucket) Close() error {
	b.http.CloseIdleConnections()
	return nil
}

// fault maps an error of the SDK. Its text, which repeats the request, is left out.
func (b *azureBucket) fault(key string, err error) error {
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
	if errors.Is(err, errBlocked) {
		return rft.Wrap(rft.KindPermissionDenied, errBlocked, "%s: the endpoint's address is blocked by the operator's configuration", u)
	}
	answer, ok := errors.AsType[*azcore.ResponseError](err)
	if !ok {
		return statusError(u, 0, err)
	}
	return statusError(u, answer.StatusCode, &azureFault{answer.StatusCode, answer.ErrorCode})
}

// azureFault is what is kept of a refusal.
type azureFault struct {
	status int
	code   string
}

func (f *azureFault) Error() string { return fmt.Sprintf("azure: %d %s", f.status, f.code) }

// pinFault maps the errors of a pinned read.
func (b *azureBucket) pinFault(key string, err error) error {
	f, ok := errors.AsType[*azureFault](err)
	if kind := rft.KindOf(err); kind == rft.KindNotFound || kind == rft.KindOutOfRange || ok && f.status == 412 {
		return changed(b.at(key))
	}
	return err
}

// azureNow is the time of a write whose answer has none.
func azureNow(t *time.Time) time.Time {
	if t == nil {
		return time.Now()
	}
	return *t
}
