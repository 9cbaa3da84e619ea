package kms

import (
	"context"
	"errors"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/aws/smithy-go"

	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/seal"
)

// awsKey is a symmetric key of AWS KMS. Account and artefact are the encryption
// context, so that key policies can ask for them and CloudTrail shows them.
type awsKey struct {
	// Key is the key's ARN: arn:aws:kms:REGION:ACCOUNT:key/ID.
	Key string `json:"key"`
}

// awsCredential is the secret of an AWS key.
type awsCredential struct {
	AccessKeyID     string `json:"access_key_id"`
	SecretAccessKey string `json:"secret_access_key"`
	SessionToken    string `json:"session_token,omitempty"`
}

var awsARN = rft.Pattern(`^arn:(aws|aws-cn|aws-us-gov):kms:([a-z]{2}(?:-[a-z]+)+-[0-9]):[0-9]{12}:key/[A-Za-z0-9-]{1,64}$`)

func (k *awsKey) check(_ Config, credential seal.Secret) error {
	if !awsARN.MatchString(k.Key) {
		return rft.FieldErrorf("settings.key", "settings.key: must be the ARN of a key: arn:aws:kms:REGION:ACCOUNT:key/ID (an alias can be pointed elsewhere)")
	}
	_, err := k.credential(credential)
	return err
}

func (k *awsKey) credential(s seal.Secret) (c awsCredential, err error) {
	if strict([]byte(s.Reveal()), &c) != nil || c.AccessKeyID == "" || c.SecretAccessKey == "" {
		return c, rft.FieldErrorf("credential", "credential: must be a JSON object with access_key_id and secret_access_key")
	}
	return c, nil
}

func (k *awsKey) describe() string { return AWS + " " + k.Key }

func (k *awsKey) open(s *Services, credential seal.Secret) (seal.Wrapper, error) {
	c, err := k.credential(credential)
	if err != nil {
		return nil, err
	}
	o := kms.Options{Region: awsARN.FindStringSubmatch(k.Key)[2], HTTPClient: s.client(s.AWSEndpoint != ""),
		Retryer:     retry.NewStandard(func(o *retry.StandardOptions) { o.MaxAttempts, o.MaxBackoff = 2, 300*time.Millisecond }),
		Credentials: credentials.NewStaticCredentialsProvider(c.AccessKeyID, c.SecretAccessKey, c.SessionToken)}
	if s.AWSEndpoint != "" {
		o.BaseEndpoint = aws.String(s.AWSEndpoint)
	}
	return &awsWrapper{client: kms.New(o), key: k.Key}, nil
}

type awsWrapper struct {
	client *kms.Client
	key    string
}

// Wrap implements seal.Wrapper.
func (w *awsWrapper) Wrap(ctx context.Context, key []byte, b seal.Binding) ([]byte, error) {
	out, err := w.client.Encrypt(ctx, &kms.EncryptInput{KeyId: &w.key, Plaintext: key, EncryptionContext: b.Context()})
	if err != nil {
		return nil, awsError(ctx, err)
	}
	return out.CiphertextBlob, nil
}

// Unwrap implements seal.Wrapper. The key is named, so that no other key that
// the credential reaches can answer.
func (w *awsWrapper) Unwrap(ctx context.Context, wrapped []byte, b seal.Binding) ([]byte, error) {
	out, err := w.client.Decrypt(ctx, &kms.DecryptInput{KeyId: &w.key, CiphertextBlob: wrapped, EncryptionContext: b.Context()})
	if err != nil {
		return nil, awsError(ctx, err)
	}
	return out.Plaintext, nil
}

// awsPassing are errors of the service that pass by themselves.
var awsPassing = map[string]bool{"ThrottlingException": true, "Throttling": true, "RequestLimitExceeded": true, "LimitExceededException": true,
	"KeyUnavailableException": true, "DependencyTimeoutException": true, "KMSInternalException": true, "ServiceUnavailable": true, "InternalFailure": true}

func awsError(ctx context.Context, err error) error {
	if _, ok := errors.AsType[*types.InvalidCiphertextException](err); ok {
		return damaged(err)
	}
	if _, ok := errors.AsType[*types.IncorrectKeyException](err); ok {
		return damaged(err)
	}
	said, ok := errors.AsType[smithy.APIError](err)
	switch {
	case !ok:
		return waiting(ctx, err)
	case awsPassing[said.ErrorCode()] || said.ErrorFault() == smithy.FaultServer:
		return unreachable(err)
	}
	return refused(err)
}
