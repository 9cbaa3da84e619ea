package custody_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	awskms "github.com/aws/aws-sdk-go-v2/service/kms"

	"github.com/firekeep/firekeep/internal/custody"
	"github.com/firekeep/firekeep/internal/kms"
)

func TestLocal(t *testing.T) {
	suite(t, func(*testing.T) service { return service{kind: custody.KindLocal} })
}

// TestAWS runs against moto, a server of AWS' API that nobody here wrote. What it
// lacks, a proxy of ours does: the refusal of a disabled key.
func TestAWS(t *testing.T) {
	if os.Getenv("FIREKEEP_WITHOUT_ORACLES") != "" {
		t.Skip("FIREKEEP_WITHOUT_ORACLES")
	}
	endpoint := moto(t)
	suite(t, func(t *testing.T) service { return awsKMS(t, endpoint) })
}

func TestGoogleDouble(t *testing.T) { suite(t, cloudKMS) }

func TestAzureDouble(t *testing.T) { suite(t, keyVault) }

// moto starts the server and stops it with the test.
func moto(t *testing.T) string {
	t.Helper()
	python := os.Getenv("FIREKEEP_PYTHON")
	if python == "" {
		python = filepath.Join("..", "..", ".venv", "bin", "python")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	_, port, _ := net.SplitHostPort(address)
	var out bytes.Buffer
	cmd := exec.Command(python, "-c", "import sys; from moto.server import main; main(sys.argv[1:])", "-H", "127.0.0.1", "-p", port)
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatalf("moto cannot be started (make installs it, FIREKEEP_PYTHON names the Python): %v", err)
	}
	ended := make(chan struct{})
	go func() { _ = cmd.Wait(); close(ended) }()
	t.Cleanup(func() { _ = cmd.Process.Kill(); <-ended })
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		if c, err := net.Dial("tcp", address); err == nil {
			c.Close()
			return "http://" + address
		}
		select {
		case <-ended:
			t.Fatalf("moto ended: %s", out.String())
		default:
		}
		if time.Now().After(deadline) {
			t.Fatalf("moto does not listen: %s", out.String())
		}
	}
}

// awsKMS makes two keys at moto, behind a proxy that can be switched off.
func awsKMS(t *testing.T, endpoint string) service {
	t.Helper()
	to, err := url.Parse(endpoint)
	if err != nil {
		t.Fatal(err)
	}
	var off atomic.Bool
	client := awskms.New(awskms.Options{Region: "eu-central-1", BaseEndpoint: aws.String(endpoint), Credentials: credentials.NewStaticCredentialsProvider("AKID", "secret", "")})
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if off.Load() {
			http.Error(w, `{"__type":"KMSInternalException"}`, http.StatusInternalServerError)
			return
		}
		body, err := io.ReadAll(r.Body)
		var asked struct{ KeyId string }
		if err != nil || json.Unmarshal(body, &asked) != nil {
			t.Errorf("a request that is none: %v", err)
		}
		// moto keeps the state of a key and does not act on it; AWS does.
		key, err := client.DescribeKey(r.Context(), &awskms.DescribeKeyInput{KeyId: &asked.KeyId})
		if err == nil && !key.KeyMetadata.Enabled {
			http.Error(w, `{"__type":"DisabledException"}`, http.StatusBadRequest)
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		httputil.NewSingleHostReverseProxy(to).ServeHTTP(w, r)
	}))
	t.Cleanup(proxy.Close)
	key := func() string {
		out, err := client.CreateKey(t.Context(), &awskms.CreateKeyInput{})
		if err != nil {
			t.Fatal(err)
		}
		return *out.KeyMetadata.Arn
	}
	first, second := key(), key()
	id := first[strings.LastIndexByte(first, '/')+1:] // moto knows keys by their ids here
	must := func(_ any, err error) {
		if err != nil {
			t.Error(err)
		}
	}
	return service{kind: kms.AWS, config: kms.Config{AWSEndpoint: proxy.URL}, settings: fmt.Sprintf(`{"key":%q}`, first), another: fmt.Sprintf(`{"key":%q}`, second),
		credential: `{"access_key_id":"AKID","secret_access_key":"secret"}`,
		disable:    func() { must(client.DisableKey(context.Background(), &awskms.DisableKeyInput{KeyId: &id})) },
		enable:     func() { must(client.EnableKey(context.Background(), &awskms.EnableKeyInput{KeyId: &id})) },
		down:       func() { off.Store(true) }, up: func() { off.Store(false) }}
}
