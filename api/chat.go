package api

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
)

// Chat asks for completions of a chat in one answer.
func (c *Client) Chat(ctx context.Context, r *CompletionRequest) (*Completion, error) {
	out := &Completion{}
	return out, c.call(ctx, "POST", "/v1/chat/completions", nil, r, out)
}

// Complete asks for completions of a prompt in one answer.
func (c *Client) Complete(ctx context.Context, r *CompletionRequest) (*Completion, error) {
	out := &Completion{}
	return out, c.call(ctx, "POST", "/v1/completions", nil, r, out)
}

// ServedModels lists the models that the key can sample from.
func (c *Client) ServedModels(ctx context.Context) (*ServedModelList, error) {
	return get[ServedModelList](ctx, c, "/v1/models", nil)
}

// ChatStream calls yield for every chunk of a streamed chat, until the stream
// ends or yield returns an error. A stream cut short is an error.
func (c *Client) ChatStream(ctx context.Context, r *CompletionRequest, yield func(*Completion) error) error {
	r2 := *r
	r2.Stream = true
	body, err := marshalPlain(r2)
	if err != nil {
		return err
	}
	resp, err := c.send(ctx, "POST", "/v1/chat/completions", nil, "application/json", bytesOf(body))
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	in := bufio.NewScanner(resp.Body)
	in.Buffer(make([]byte, 64<<10), 16<<20)
	for in.Scan() {
		data, ok := bytes.CutPrefix(in.Bytes(), []byte("data: "))
		if !ok {
			continue
		}
		if string(data) == "[DONE]" {
			return nil
		}
		var chunk struct {
			Completion
			Error *struct {
				Message string `json:"message"`
			} `json:"error"`
		}
		if err := json.Unmarshal(data, &chunk); err != nil {
			return &Error{Kind: "UNKNOWN", Message: "the stream holds something that is not JSON"}
		}
		if chunk.Error != nil {
			return &Error{Kind: "INTERNAL", Message: chunk.Error.Message}
		}
		if err := yield(&chunk.Completion); err != nil {
			return err
		}
	}
	if err := in.Err(); err != nil {
		return unavailable(err)
	}
	return unavailable(errors.Join(io.ErrUnexpectedEOF))
}
