package objstoretest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"github.com/firekeep/firekeep/internal/objstore"
	"github.com/firekeep/firekeep/internal/seal"
)

// IAM is an S3 server whose users and roles live in an IAM service beside it,
// with the token service that exchanges web identities.
type IAM struct {
	*Server
	Endpoint string // of IAM and STS
	root     aws.Credentials
}

// AccountOfIAM is the one account of the service.
const AccountOfIAM = "000000000000"

// VersityIAM starts both servers and stops them with the test.
func VersityIAM(t testing.TB) *IAM {
	t.Helper()
	bin := find(t, "FIREKEEP_VERSITYGW", "versitygw")
	s := &IAM{Server: &Server{Scheme: objstore.S3, Dir: t.TempDir(), t: t}}
	// This server calls the owner of buckets by its access key; ours has the form of
	// an AWS account.
	s.root = aws.Credentials{AccessKeyID: AccountOfIAM, SecretAccessKey: seal.RandomID(40)}
	s.secret = secretJSON(objstore.S3Credential{AccessKeyID: s.root.AccessKeyID, SecretAccessKey: s.root.SecretAccessKey})
	env := []string{"ROOT_ACCESS_KEY=" + s.root.AccessKeyID, "ROOT_SECRET_KEY=" + s.root.SecretAccessKey}
	private := filepath.Join(t.TempDir(), "iam.sock")

	iam := &Server{t: t}
	address := freeAddress(t)
	iam.start(bin, address, []string{"--port", address, "--quiet", "iam", "--dir", t.TempDir(), "--private-ports", private, "--disable-oidc-thumbprint-autofetch"}, env...)
	s.Endpoint = iam.Endpoint
	waitForSocket(t, private)
	address = freeAddress(t)
	s.start(bin, address, []string{"--port", address, "--quiet", "--iam-standalone-endpoint", private, "posix", "--sidecar", t.TempDir(), s.Dir}, env...)
	return s
}

// waitForSocket waits until somebody listens on a unix socket.
func waitForSocket(t testing.TB, path string) {
	t.Helper()
	for range 500 {
		if c, err := net.Dial("unix", path); err == nil {
			_ = c.Close()
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Fatalf("nobody listens on %s", path)
}

// Config reaches the store and its token service.
func (s *IAM) Config() objstore.Config {
	c := s.Server.Config("")
	c.S3.STSEndpoint = s.Endpoint
	return c
}

// Act does an action of IAM as root, and fails the test when it is refused.
func (s *IAM) Act(action string, params map[string]string) string {
	s.t.Helper()
	form := url.Values{"Action": {action}, "Version": {"2010-05-08"}}
	for k, v := range params {
		form.Set(k, v)
	}
	body := []byte(form.Encode())
	req, err := http.NewRequest(http.MethodPost, s.Endpoint+"/", bytes.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	sum := sha256.Sum256(body)
	if err := v4.NewSigner().SignHTTP(context.Background(), s.root, req, hex.EncodeToString(sum[:]), "iam", "us-east-1", time.Now()); err != nil {
		s.t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer res.Body.Close()
	answer, _ := io.ReadAll(res.Body)
	if res.StatusCode != http.StatusOK {
		s.t.Fatalf("%s: %s\n%s", action, res.Status, answer)
	}
	return string(answer)
}
