package identity

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/sas"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/service"

	"github.com/firekeep/firekeep/internal/objstore"
	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/seal"
)

const azureName = "Microsoft Entra"

// azure exchanges a token of ours for one of an application, asks the storage
// account for a user delegation key with it, and signs with that key a shared
// access signature for one place and one access. Token and key live in this
// call only.
func (f *Federation) azure(ctx context.Context, a asked, client string) (session, error) {
	token, id, err := f.token(ctx, a, nil)
	if err != nil {
		return session{}, err
	}
	options := f.Objects.AzureOptions(f.client())
	authority := options
	authority.Transport = f.client() // the endpoint of storage is not that of Entra
	if at := f.Objects.Azure.Authority; at != "" {
		authority.Cloud = cloud.Configuration{ActiveDirectoryAuthorityHost: at}
	}
	cred, err := azidentity.NewClientAssertionCredential(a.from.Options.Azure.Tenant, client,
		func(context.Context) (string, error) { return token.Reveal(), nil },
		&azidentity.ClientAssertionCredentialOptions{ClientOptions: authority, DisableInstanceDiscovery: f.Objects.Azure.Authority != ""})
	if err != nil {
		return session{}, rft.Wrap(rft.KindInternal, err, "connection %q cannot be exchanged", a.from.ID)
	}
	host, _, _ := strings.Cut(a.url.Bucket, "/")
	blobs, err := service.NewClient("https://"+host, cred, &service.ClientOptions{ClientOptions: options})
	if err != nil {
		return session{}, rft.Wrap(rft.KindInternal, err, "connection %q cannot be exchanged", a.from.ID)
	}
	now := time.Now().UTC()
	end := now.Add(a.life)
	start := now.Add(-time.Minute) // clocks differ
	key, err := blobs.GetUserDelegationCredential(ctx, service.KeyInfo{Start: stamp(start), Expiry: stamp(end)}, nil)
	if err != nil {
		return session{}, azureFault(a.from, err)
	}
	v := signature(a, start, end)
	signed, err := v.SignWithUserDelegation(key)
	if err != nil {
		return session{}, rft.Wrap(rft.KindInternal, err, "connection %q cannot be signed for", a.from.ID)
	}
	secret, err := json.Marshal(objstore.AzureCredential{SAS: signed.Encode()})
	if err != nil {
		return session{}, rft.Wrap(rft.KindInternal, err, "a credential cannot be kept")
	}
	return session{secret: seal.NewSecret(string(secret)), expiry: end, tokenID: id}, nil
}

func stamp(t time.Time) *string {
	s := t.Format(sas.TimeFormat)
	return &s
}

// signature says what a credential may do: one blob, one directory where the
// account has directories, else the container that the connection owns whole.
func signature(a asked, start, end time.Time) sas.BlobSignatureValues {
	_, container := a.url.AzureAccount()
	v := sas.BlobSignatureValues{Protocol: sas.ProtocolHTTPS, StartTime: start, ExpiryTime: end, ContainerName: container}
	switch {
	case a.unscoped:
		v.Permissions = "rcwdl"
		return v
	case !a.url.IsPrefix():
		v.BlobName, v.Permissions = a.url.Key, "r"
	case a.url.Key != "" && a.from.Options.Azure.HierarchicalNamespace:
		v.Directory, v.Permissions = strings.TrimSuffix(a.url.Key, "/"), "rl"
	default:
		v.Permissions = "rl"
	}
	if a.access == Write {
		v.Permissions = strings.Replace(v.Permissions, "r", "cw", 1)
	}
	return v
}

// azureFault tells a refusal from an outage. Texts of the libraries repeat
// requests, so only status and code are kept.
func azureFault(from Connection, err error) error {
	if e, ok := errors.AsType[*azidentity.AuthenticationFailedError](err); ok {
		if e.RawResponse == nil {
			return unreachable(from, azureName, errors.New("no token came"))
		}
		return status(from, azureName, e.RawResponse.StatusCode, errors.New(e.RawResponse.Status))
	}
	if e, ok := errors.AsType[*azcore.ResponseError](err); ok {
		if e.StatusCode == http.StatusForbidden {
			return rft.Wrap(rft.KindPermissionDenied, errors.New(e.ErrorCode), "connection %q: the application may not ask the storage account for a user delegation key; it needs the role Storage Blob Delegator", from.ID)
		}
		return status(from, "the storage account", e.StatusCode, errors.New(e.ErrorCode))
	}
	return unreachable(from, azureName, errors.New("no answer"))
}
