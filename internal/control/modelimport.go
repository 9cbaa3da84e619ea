package control

import (
	"context"
	"strings"

	"github.com/firekeep/firekeep/api"
	"github.com/firekeep/firekeep/internal/authz"
	"github.com/firekeep/firekeep/internal/objstore"
	"github.com/firekeep/firekeep/internal/rft"
)

// ImportModel brings the files of a model in that waits for them, from a bucket
// that a connection of the account covers.
func (c *Control) ImportModel(ctx context.Context, who Caller, account, id string, r *api.ImportModelRequest) (*api.Operation, error) {
	name := modelName(account, id)
	if err := c.allow(ctx, who, authz.UploadModel, account, name); err != nil {
		return nil, err
	}
	m, err := c.DB.Model(ctx, account, id)
	if err != nil {
		return nil, err
	}
	source, err := importSource(r)
	if err != nil {
		return nil, err
	}
	if err := c.checkQuotas(ctx, who); err != nil {
		return nil, err
	}
	j, err := c.Catalog.ImportFrom(ctx, m, source, who.act("ImportModel", name, "source", source))
	if err != nil {
		return nil, err
	}
	return wireOperation(j), nil
}

// importSource is the place that a request names.
func importSource(r *api.ImportModelRequest) (string, error) {
	s3, azure := r.AwsS3Source, r.AzureBlobSource
	switch {
	case (s3 == nil) == (azure == nil):
		return "", rft.FieldErrorf("awsS3Source", "awsS3Source, azureBlobSource: name one of them")
	case s3 != nil:
		if err := noCredentials("awsS3Source.roleArn", s3.RoleARN, "awsS3Source.accessKeyId", s3.AccessKeyID, "awsS3Source.accessSecret", s3.AccessSecret); err != nil {
			return "", err
		}
		return sourceBelow("awsS3Source", "s3://"+s3.S3Bucket+"/", s3.S3Path)
	}
	if err := noCredentials("azureBlobSource.sasTokenSecret", azure.SASTokenSecret, "azureBlobSource.clientId", azure.ClientID, "azureBlobSource.tenantId", azure.TenantID); err != nil {
		return "", err
	}
	return sourceBelow("azureBlobSource", "https://"+azure.StorageAccount+".blob.core.windows.net/"+azure.Container+"/", azure.Path)
}

// noCredentials refuses fields, given as names and values, that bring credentials of
// their own.
func noCredentials(fields ...string) error {
	for i := 0; i < len(fields); i += 2 {
		if field := fields[i]; fields[i+1] != "" {
			return rft.FieldErrorf(field, "%s: an import reads with the credentials of the account's connections; create one for the bucket with `firekeep connection create` and leave this out", field)
		}
	}
	return nil
}

// sourceBelow is a path below a bucket: a directory, unless it names a GGUF file.
func sourceBelow(field, bucket, path string) (string, error) {
	path = strings.TrimLeft(path, "/")
	if path != "" && !strings.HasSuffix(path, "/") && !strings.HasSuffix(path, ".gguf") {
		path += "/"
	}
	u, err := objstore.ParseURL(bucket + path)
	return u.String(), within(field, err)
}
