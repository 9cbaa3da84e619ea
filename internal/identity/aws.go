package identity

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/firekeep/firekeep/internal/identity/issuer"
	"github.com/firekeep/firekeep/internal/objstore"
	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/seal"
)

// awsLife is the shortest session that STS gives, and the longest we take.
const awsLife = 900 * time.Second

const stsName = "AWS STS"

// aws assumes a role with a token of ours, narrowed by a session policy to one
// place and one kind of access.
func (f *Federation) aws(ctx context.Context, a asked, role string) (session, error) {
	o := a.from.Options
	in := &sts.AssumeRoleWithWebIdentityInput{RoleArn: &role, RoleSessionName: aws.String(sessionName(a.job)), DurationSeconds: aws.Int32(int32(awsLife / time.Second))}
	if !a.unscoped {
		text, err := sessionPolicy(a.url, a.access, o.Encryption, arnPartition(role), o.AWS.Region)
		if err != nil {
			return session{}, err
		}
		in.Policy = &text
	}
	token, id, err := f.token(ctx, a, func(c *issuer.Claims) {
		// STS refuses any other role for this token, before it looks at the role.
		c.AWSRoles, c.AWSSourceIdentity = []string{role}, sessionName(a.job)
		if o.AWS.SessionTags {
			c.AWSTags = &issuer.AWSTags{Principal: map[string][]string{"firekeep:prefix": {a.url.Key}, "firekeep:job": {a.job.ID}}}
		}
	})
	if err != nil {
		return session{}, err
	}
	in.WebIdentityToken = aws.String(token.Reveal())
	started := time.Now()
	out, err := f.sts(o.AWS.Region).AssumeRoleWithWebIdentity(ctx, in)
	if err != nil {
		return session{}, awsFault(a.from, err)
	}
	if out.Credentials == nil || aws.ToString(out.Credentials.SessionToken) == "" || out.Credentials.Expiration == nil {
		return session{}, rft.Errorf(rft.KindUnavailable, "connection %q: %s gave no session", a.from.ID, stsName)
	}
	secret, err := json.Marshal(objstore.S3Credential{AccessKeyID: aws.ToString(out.Credentials.AccessKeyId), SecretAccessKey: aws.ToString(out.Credentials.SecretAccessKey),
		SessionToken: aws.ToString(out.Credentials.SessionToken), Region: o.AWS.Region, BucketOwner: o.AWS.BucketOwner})
	if err != nil {
		return session{}, rft.Wrap(rft.KindInternal, err, "a credential cannot be kept")
	}
	return session{secret: seal.NewSecret(string(secret)), expiry: a.lasts(started, *out.Credentials.Expiration), tokenID: id}, nil
}

// sts is a client without a credential of its own: the token is the credential.
func (f *Federation) sts(region string) *sts.Client {
	o := sts.Options{Region: region, Credentials: aws.AnonymousCredentials{}, HTTPClient: f.client(),
		Retryer: retry.NewStandard(func(o *retry.StandardOptions) { o.MaxAttempts = 3 })}
	if at := f.Objects.S3.STSEndpoint; at != "" {
		o.BaseEndpoint = aws.String(strings.TrimSuffix(at, "/"))
	}
	return sts.New(o)
}

// sessionName is how CloudTrail calls a job's session: 2 to 64 characters.
func sessionName(j Job) string {
	name := "firekeep-" + j.Kind + "-" + j.ID
	return name[:min(len(name), 64)]
}

func awsFault(from Connection, err error) error {
	if e, ok := errors.AsType[smithy.APIError](err); ok {
		code := 0
		if r, ok := errors.AsType[*smithyhttp.ResponseError](err); ok {
			code = r.HTTPStatusCode()
		}
		return status(from, stsName, code, errors.New(e.ErrorCode()+": "+e.ErrorMessage()))
	}
	return unreachable(from, stsName, err)
}
