package runner

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"

	"github.com/firekeep/firekeep/internal/rft"
)

// The hub speaks two requests: GET api/models/ORG/NAME lists the files of a
// model and names the commit, GET ORG/NAME/resolve/COMMIT/FILE sends one. The
// commit pins what is read.

const maxHubListBytes = 16 << 20

var commitPattern = regexp.MustCompile(`^[0-9a-f]{40,64}$`)

// hubFiles lists the files of ORG/NAME at its current commit.
func (a *attempt) hubFiles(name string) ([]modelFile, error) {
	if a.HubURL == "" {
		return nil, rft.Errorf(rft.KindFailedPrecondition, "hf:// sources are not enabled on this server")
	}
	base := strings.TrimSuffix(a.HubURL, "/")
	body, _, err := hubGet(a.ctx, base+"/api/models/"+name)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	var listing struct {
		SHA      string `json:"sha"`
		Siblings []struct {
			Name string `json:"rfilename"`
		} `json:"siblings"`
	}
	if err := json.NewDecoder(io.LimitReader(body, maxHubListBytes)).Decode(&listing); err != nil || !commitPattern.MatchString(listing.SHA) {
		return nil, rft.Errorf(rft.KindUnavailable, "the hub's answer about %s is not a listing with a commit", name)
	}
	var out []modelFile
	for _, s := range listing.Siblings {
		if s.Name == "" || strings.ContainsAny(s.Name, "/\\") || strings.HasPrefix(s.Name, ".") {
			continue
		}
		at := base + "/" + name + "/resolve/" + listing.SHA + "/" + url.PathEscape(s.Name)
		out = append(out, modelFile{name: s.Name, size: -1, open: func() (io.ReadCloser, error) {
			body, _, err := hubGet(a.ctx, at)
			return body, err
		}})
	}
	return out, nil
}

// hubGet fetches a URL without any credential.
func hubGet(ctx context.Context, at string) (io.ReadCloser, int64, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
	if err != nil {
		return nil, 0, rft.Wrap(rft.KindInvalidArgument, err, "the hub's address is not a URL")
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, 0, rft.Wrap(rft.KindUnavailable, err, "the hub cannot be reached")
	}
	switch {
	case res.StatusCode == http.StatusOK:
		return res.Body, res.ContentLength, nil
	case res.StatusCode == http.StatusNotFound || res.StatusCode == http.StatusUnauthorized:
		err = rft.Errorf(rft.KindNotFound, "the hub has no public model of that name")
	case res.StatusCode >= 500 || res.StatusCode == http.StatusTooManyRequests:
		err = rft.Errorf(rft.KindUnavailable, "the hub answered %d", res.StatusCode)
	default:
		err = rft.Errorf(rft.KindFailedPrecondition, "the hub answered %d", res.StatusCode)
	}
	res.Body.Close()
	return nil, 0, err
}
