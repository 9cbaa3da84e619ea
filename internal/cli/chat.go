package cli

import (
	"io"

	"github.com/firekeep/firekeep/api"
)

type chatCmd struct {
	Model       string  `arg:"" help:"Base model, checkpoint, or accounts/ACCOUNT/deployments/ID." complete:"models"`
	Message     string  `arg:"" help:"What to ask; - = standard input."`
	System      string  `help:"System message."`
	MaxTokens   int     `default:"256" help:"Longest answer in tokens."`
	Temperature float64 `default:"0" help:"0 = the most probable words."`
	Seed        *int64  `help:"Seed of sampling."`
}

// Run implements a command.
func (c *chatCmd) Run(a *app) error {
	client, err := a.client()
	if err != nil {
		return err
	}
	text, err := a.said(c.Message)
	if err != nil {
		return err
	}
	r := &api.CompletionRequest{Model: c.Model, MaxTokens: &c.MaxTokens, Temperature: &c.Temperature, Seed: c.Seed}
	if c.System != "" {
		r.Messages = append(r.Messages, api.Message{Role: "system", Content: api.Text(c.System)})
	}
	r.Messages = append(r.Messages, api.Message{Role: "user", Content: api.Text(text)})
	if a.json {
		out, err := client.Chat(a.ctx, r)
		if err != nil {
			return err
		}
		return a.printJSON(out)
	}
	err = client.ChatStream(a.ctx, r, func(chunk *api.Completion) error {
		for _, choice := range chunk.Choices {
			if choice.Delta != nil && choice.Delta.Content != nil {
				if _, err := io.WriteString(a.Stdout, *choice.Delta.Content); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err == nil {
		_, err = io.WriteString(a.Stdout, "\n")
	}
	return err
}

// maxMessage bounds a message from standard input.
const maxMessage = 1 << 20

// said is a message of the command line, or of standard input for -.
func (a *app) said(text string) (string, error) {
	if text != "-" {
		return text, nil
	}
	b, err := a.readInput("-", maxMessage)
	return string(b), err
}

type completeCmd struct {
	Model       string   `arg:"" help:"Base model, checkpoint, or accounts/ACCOUNT/deployments/ID." complete:"models"`
	Prompt      string   `arg:"" help:"The text to go on from; - = standard input."`
	MaxTokens   int      `default:"64" help:"Longest answer in tokens."`
	Temperature float64  `default:"0" help:"0 = the most probable words."`
	Seed        *int64   `help:"Seed of sampling."`
	Stop        []string `help:"End before this text; may be repeated." sep:"none"`
	Echo        bool     `help:"Print the prompt too."`
}

// Run implements a command.
func (c *completeCmd) Run(a *app) error {
	client, err := a.client()
	if err != nil {
		return err
	}
	text, err := a.said(c.Prompt)
	if err != nil {
		return err
	}
	out, err := client.Complete(a.ctx, &api.CompletionRequest{Model: c.Model, Prompt: &api.Prompt{Texts: []string{text}}, MaxTokens: &c.MaxTokens,
		Temperature: &c.Temperature, Seed: c.Seed, Stop: c.Stop, Echo: c.Echo})
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(out)
	}
	for _, choice := range out.Choices {
		if choice.Text != nil {
			if _, err := io.WriteString(a.Stdout, *choice.Text+"\n"); err != nil {
				return err
			}
		}
	}
	return nil
}
