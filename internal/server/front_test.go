package server

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	grpccredentials "google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/firekeep/firekeep/internal/server/gatewaypb"
	"github.com/firekeep/firekeep/internal/server/rpc"
)

// TestFront: one address serves HTTP/1.1, HTTP/2 and gRPC, with TLS and without,
// and URLs that it signs lead back to it.
func TestFront(t *testing.T) {
	f := newFixture(t)
	dir := t.TempDir()
	files := TLSFiles{Cert: filepath.Join(dir, "cert.pem"), Key: filepath.Join(dir, "key.pem")}
	ca := newAuthority(t, "private")
	ca.issue(t, "localhost", files.Cert, files.Key)
	certs, err := LoadCertificates(files)
	must(t, err)
	roots := x509.NewCertPool()
	roots.AddCert(ca.cert)
	ctx := metadata.AppendToOutgoingContext(context.Background(), "x-api-key", f.keys["main/ann"])

	for scheme, trust := range map[string]grpccredentials.TransportCredentials{"http": insecure.NewCredentials(), "https": grpccredentials.NewTLS(&tls.Config{RootCAs: roots})} {
		g := rpc.New(rpc.Options{Control: f.srv.control, Allow: f.srv.AllowHost, BaseURL: func(authority string, front bool) string {
			if !front {
				t.Errorf("%s: a call by the front is taken for one of another address", scheme)
			}
			return f.srv.BaseURL(authority, scheme == "https")
		}})
		h := f.srv.HTTPServer()
		h.Handler = rpc.Front(g, h.Handler)
		l, err := net.Listen("tcp", "127.0.0.1:0")
		must(t, err)
		if scheme == "https" {
			h.TLSConfig = certs.Config()
			go h.ServeTLS(l, "", "")
		} else {
			go h.Serve(l)
		}
		t.Cleanup(func() { h.Close(); g.Stop() })
		address := strings.Replace(l.Addr().String(), "127.0.0.1", "localhost", 1)

		conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(trust))
		must(t, err)
		t.Cleanup(func() { conn.Close() })
		client := gatewaypb.NewGatewayClient(conn)
		id := "d-" + scheme
		_, err = client.CreateDataset(ctx, &gatewaypb.CreateDatasetRequest{Parent: "accounts/main", DatasetId: id, Dataset: &gatewaypb.Dataset{ExternalUrl: "s3://bucket/" + id}})
		must(t, err)
		files, err := client.GetDatasetDownloadEndpoint(ctx, &gatewaypb.GetDatasetDownloadEndpointRequest{Name: "accounts/main/datasets/" + id})
		must(t, err)
		url := files.GetFilenameToSignedUrls()[id+".jsonl"]
		if !strings.HasPrefix(url, scheme+"://"+address+"/v1/transfers/") {
			t.Errorf("%s signs %s", address, url)
		}
		for _, protocol := range []string{"HTTP/1.1", "HTTP/2.0"} {
			tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, Protocols: new(http.Protocols)}
			tr.Protocols.SetHTTP1(protocol == "HTTP/1.1")
			tr.Protocols.SetHTTP2(protocol != "HTTP/1.1")
			tr.Protocols.SetUnencryptedHTTP2(protocol != "HTTP/1.1")
			resp, err := (&http.Client{Transport: tr}).Get(url)
			must(t, err)
			b, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			if err != nil || resp.StatusCode != 200 || len(b) != 0 || resp.Proto != protocol {
				t.Errorf("%s of a bucket dataset by %s: %d %q %v", scheme, resp.Proto, resp.StatusCode, b, err)
			}
			tr.CloseIdleConnections()
		}
		_, err = gatewaypb.NewGatewayClient(conn).GetModel(context.Background(), &gatewaypb.GetModelRequest{Name: "accounts/main/models/base"})
		if status.Code(err) != codes.Unauthenticated {
			t.Errorf("%s without a key: %v", scheme, err)
		}
	}
}

// TestFrontKnowsItsNames: DNS rebinding does not get through as gRPC either.
func TestFrontKnowsItsNames(t *testing.T) {
	f := newFixture(t)
	g := rpc.New(rpc.Options{Control: f.srv.control, Allow: f.srv.AllowHost})
	h := f.srv.HTTPServer()
	h.Handler = rpc.Front(g, h.Handler)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	go h.Serve(l)
	defer h.Close()
	defer g.Stop()
	conn, err := grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithAuthority("evil.example"))
	must(t, err)
	defer conn.Close()
	ctx := metadata.AppendToOutgoingContext(context.Background(), "x-api-key", f.keys["main/ann"])
	if _, err := gatewaypb.NewGatewayClient(conn).GetModel(ctx, &gatewaypb.GetModelRequest{Name: "accounts/main/models/base"}); status.Code(err) != codes.InvalidArgument {
		t.Errorf("called evil.example: %v", err)
	}
}
