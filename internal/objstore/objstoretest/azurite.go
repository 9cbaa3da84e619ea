package objstoretest

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"math/big"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/service"

	"github.com/firekeep/firekeep/internal/objstore"
)

// Azurite is Microsoft's own emulator of Azure Blob Storage, with TLS and with
// OAuth, whose tokens it reads but does not verify.
type Azurite struct {
	Endpoint string
	CAFile   string
	Account  string
	key      string
	t        testing.TB
}

// StartAzurite starts the emulator in memory and stops it with the test.
func StartAzurite(t testing.TB) *Azurite {
	t.Helper()
	program := findAzurite(t)
	node, err := exec.LookPath("node")
	if err != nil {
		if os.Getenv("FIREKEEP_WITHOUT_ORACLES") == "1" {
			t.Skip("host lacks node")
		}
		t.Fatal("node is missing; run `make doubles`")
	}
	a := &Azurite{Account: "firekeeptest", key: base64.StdEncoding.EncodeToString(Bytes(9, 64)), t: t}
	dir := t.TempDir()
	certFile, keyFile := selfSigned(t, dir)
	a.CAFile = certFile
	address := freeAddress(t)
	host, port, _ := net.SplitHostPort(address)
	s := &Server{t: t}
	s.start(node, address, []string{program, "--blobHost", host, "--blobPort", port, "--inMemoryPersistence", "--silent", "--skipApiVersionCheck",
		"--disableTelemetry", "--oauth", "basic", "--cert", certFile, "--key", keyFile}, "AZURITE_ACCOUNTS="+a.Account+":"+a.key)
	a.Endpoint = "https://" + address
	return a
}

// findAzurite locates the emulator's main file.
func findAzurite(t testing.TB) string {
	t.Helper()
	path := os.Getenv("FIREKEEP_AZURITE")
	if path == "" {
		path = filepath.Join(checkout(), ".cache", "azurite", "node_modules", "azurite", "dist", "src", "blob", "main.js")
	}
	if _, err := os.Stat(path); err != nil {
		if os.Getenv("FIREKEEP_WITHOUT_ORACLES") == "1" {
			t.Skip("azurite is not installed")
		}
		t.Fatal("azurite is missing; run `make doubles` or set FIREKEEP_AZURITE")
	}
	return path
}

// selfSigned writes a certificate for loopback, and its key.
func selfSigned(t testing.TB, dir string) (certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "azurite"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for path, block := range map[string]*pem.Block{certFile: {Type: "CERTIFICATE", Bytes: cert}, keyFile: {Type: "PRIVATE KEY", Bytes: der}} {
		var b bytes.Buffer
		if err := pem.Encode(&b, block); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return certFile, keyFile
}

// Config reaches the emulator.
func (a *Azurite) Config() objstore.Config {
	return objstore.Config{AllowAddresses: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, CAFile: a.CAFile,
		Azure: objstore.AzureConfig{Endpoint: a.Endpoint}, Backoff: time.Millisecond, PartBytes: 5 << 20}
}

// Secret is the account's key.
func (a *Azurite) Secret() objstore.Secret {
	return secretJSON(objstore.AzureCredential{AccountKey: a.key})
}

// Host is the account's name in the real cloud.
func (a *Azurite) Host() string { return a.Account + ".blob.core.windows.net" }

// Container makes a container.
func (a *Azurite) Container(name string) objstore.URL {
	a.t.Helper()
	key, err := service.NewSharedKeyCredential(a.Account, a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	c := a.Config()
	client, err := service.NewClientWithSharedKeyCredential("https://"+a.Host(), key, &service.ClientOptions{ClientOptions: c.AzureOptions(c.HTTPClient())})
	if err == nil {
		_, err = client.CreateContainer(a.t.Context(), name, nil)
	}
	if err != nil {
		a.t.Fatal(err)
	}
	return objstore.URL{Scheme: objstore.Azure, Bucket: a.Host() + "/" + name}
}

// Open opens a container with the account's key.
func (a *Azurite) Open(u objstore.URL) objstore.Bucket {
	a.t.Helper()
	b, err := objstore.Open(a.t.Context(), u, a.Secret(), a.Config())
	if err != nil {
		a.t.Fatal(err)
	}
	a.t.Cleanup(func() { _ = b.Close() })
	return b
}
