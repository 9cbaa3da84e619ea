package server

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/firekeep/firekeep/api"
	"github.com/firekeep/firekeep/internal/control"
	"github.com/firekeep/firekeep/internal/rft"
)

const transferPattern = control.TransferPath + "{ticket}"

// transferRoutes are the operations around files that travel by signed URLs.
func transferRoutes(cp func(method, pattern string, h func(*request) error) route) []route {
	const d, m = "/v1/accounts/{account}/datasets/{dataset}", "/v1/accounts/{account}/models/{model}"
	return []route{
		cp("POST", d+":getUploadEndpoint", uploadEndpoint),
		cp("GET", d+":getDownloadEndpoint", downloadEndpoint),
		cp("POST", m+":getUploadEndpoint", modelUploadEndpoint),
		cp("GET", m+":validateUpload", validateModelUpload),
		cp("POST", m+":import", importModel),
		cp("POST", m+":prepare", prepareModel),
		cp("GET", m+":getDownloadEndpoint", modelDownloadEndpoint),
		cp("PUT", transferPattern, putTransfer),
		cp("GET", transferPattern, getTransfer),
	}
}

func uploadEndpoint(rq *request) error {
	return announcing(rq, "dataset", rft.Datasets, rq.s.control.UploadEndpoint)
}

func modelUploadEndpoint(rq *request) error {
	return announcing(rq, "model", rft.Models, rq.s.control.ModelUploadEndpoint)
}

// announcing answers with the URLs that files may be sent to.
func announcing(rq *request, param string, of rft.Collection, announce func(ctx context.Context, who control.Caller, account, id string, files map[string]int64) (map[string]string, error)) error {
	a, id, err := rq.ref(param, of)
	if err != nil {
		return err
	}
	var b api.UploadEndpointRequest
	if err := rq.decode(&b); err != nil {
		return err
	}
	sizes := map[string]int64{}
	for file, size := range b.FilenameToSize {
		sizes[file] = int64(size)
	}
	paths, err := announce(rq.ctx(), rq.caller, a, id, sizes)
	return rq.signed(paths, err)
}

func downloadEndpoint(rq *request) error {
	a, id, err := rq.ref("dataset", rft.Datasets)
	if err != nil {
		return err
	}
	paths, err := rq.s.control.DownloadEndpoint(rq.ctx(), rq.caller, a, id)
	return rq.signed(paths, err)
}

func validateModelUpload(rq *request) error {
	a, id, err := rq.ref("model", rft.Models)
	if err != nil {
		return err
	}
	v, err := rq.s.control.ValidateModelUpload(rq.ctx(), rq.caller, a, id)
	return rq.reply(v, err)
}

func importModel(rq *request) error {
	a, id, err := rq.ref("model", rft.Models)
	if err != nil {
		return err
	}
	var b api.ImportModelRequest
	if err := rq.decode(&b); err != nil {
		return err
	}
	v, err := rq.s.control.ImportModel(rq.ctx(), rq.caller, a, id, &b)
	return rq.reply(v, err)
}

func prepareModel(rq *request) error {
	a, id, err := rq.ref("model", rft.Models)
	if err != nil {
		return err
	}
	if _, err := rq.readBody(maxBody); err != nil {
		return err
	}
	return rq.done(rq.s.control.PrepareModel(rq.ctx(), rq.caller, a, id))
}

func modelDownloadEndpoint(rq *request) error {
	a, id, err := rq.ref("model", rft.Models)
	if err != nil {
		return err
	}
	paths, err := rq.s.control.ModelDownloadEndpoint(rq.ctx(), rq.caller, a, id)
	return rq.signed(paths, err)
}

// signed answers with the URLs of paths.
func (rq *request) signed(paths map[string]string, err error) error {
	base := rq.s.BaseURL(rq.r.Host, rq.r.TLS != nil)
	urls := map[string]string{}
	for file, path := range paths {
		urls[file] = base + path
	}
	return rq.reply(&api.SignedURLs{FilenameToSignedURLs: urls}, err)
}

// BaseURL is what URLs of this server begin with, for a client that called host.
func (s *Server) BaseURL(host string, secured bool) string {
	switch {
	case s.public != "":
		return s.public
	case secured:
		return "https://" + host
	}
	return "http://" + host
}

// transfer opens the signed URL of a request, which comes without a key.
func (rq *request) transfer(method string) (*control.Transfer, error) {
	x, err := rq.s.control.Transfer(rq.ctx(), method, rq.params["ticket"], clientIP(rq.r), clip(rq.r.UserAgent(), 200))
	if err == nil {
		rq.caller = x.Caller
	}
	return x, err
}

// putTransfer takes a file. Clients send no key with it, accept nothing but 200,
// and wait a few seconds only.
func putTransfer(rq *request) error {
	x, err := rq.transfer(http.MethodPut)
	if err != nil {
		return err
	}
	if n := rq.r.ContentLength; n >= 0 && n != x.Size() {
		return rft.Errorf(rft.KindInvalidArgument, "Content-Length: the file has %d bytes, but %d were announced", n, x.Size())
	}
	_ = http.NewResponseController(rq.w).SetReadDeadline(time.Now().Add(uploadTimeout))
	if err := x.Put(rq.ctx(), http.MaxBytesReader(rq.w, rq.r.Body, x.Size()+1)); err != nil {
		var tooBig *http.MaxBytesError
		if errors.As(err, &tooBig) {
			err = rft.Wrap(rft.KindInvalidArgument, err, "the file is longer than was announced")
		}
		return err
	}
	rq.w.Header().Set("Content-Length", "0")
	rq.w.WriteHeader(http.StatusOK)
	return nil
}

// getTransfer sends a file.
func getTransfer(rq *request) error {
	x, err := rq.transfer(http.MethodGet)
	if err != nil {
		return err
	}
	rows, size, err := x.Open(rq.ctx())
	if err != nil {
		return err
	}
	defer rows.Close()
	h := rq.w.Header()
	h.Set("Content-Type", "application/octet-stream")
	h.Set("Content-Length", strconv.FormatInt(size, 10))
	_ = http.NewResponseController(rq.w).SetWriteDeadline(time.Now().Add(answerTimeout))
	rq.w.WriteHeader(http.StatusOK)
	if rq.r.Method == http.MethodHead {
		return nil
	}
	if _, err := io.Copy(rq.w, rows); err != nil {
		rq.s.logFailure(rq, err)
		panic(http.ErrAbortHandler) // the length was promised
	}
	return nil
}
