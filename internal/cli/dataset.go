package cli

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/firekeep/firekeep/api"
	"github.com/firekeep/firekeep/internal/rft"
)

type datasetCmd struct {
	Create datasetCreateCmd `cmd:"" help:"Register rows in a bucket, or upload a file."`
	List   datasetListCmd   `cmd:"" help:"List datasets."`
	Get    datasetGetCmd    `cmd:"" help:"Show a dataset: its state, counts and pinned objects."`
	Update datasetUpdateCmd `cmd:"" help:"Change what people read of a dataset."`
	Delete datasetDeleteCmd `cmd:"" help:"Forget a dataset; rows in your bucket stay."`

	Download datasetDownloadCmd `cmd:"" help:"Write the rows of an uploaded dataset to a directory of this host, or to standard output."`
}

type datasetCreateCmd struct {
	Name    string `arg:"" help:"Id of the new dataset."`
	File    string `arg:"" optional:"" help:"A .jsonl file to upload, as --upload does." type:"existingfile"`
	From    string `xor:"rows" aliases:"external-url" help:"An object, or a prefix ending in '/': s3://, gs:// or file://." placeholder:"URL"`
	Upload  string `xor:"rows" help:"Upload this .jsonl file; it is kept sealed." placeholder:"PATH" type:"existingfile"`
	Format  string `help:"RL, CHAT, COMPLETION, DPO or BATCH; by default the first row tells." enum:"RL,CHAT,COMPLETION,DPO,BATCH," default:"" placeholder:"FORMAT"`
	Display string `name:"display-name" help:"Shown in lists."`
	Wait    bool   `default:"true" negatable:"" help:"Wait until the rows are validated."`
}

// Run implements a command.
func (c *datasetCreateCmd) Run(a *app) error {
	client, account, id, err := a.named("NAME", c.Name, rft.Datasets)
	if err != nil {
		return err
	}
	switch {
	case c.Upload == "":
		c.Upload = c.File
	case c.File != "":
		return rft.FieldErrorf("upload", "--upload and %s: give the file once", c.File)
	}
	if (c.From == "") == (c.Upload == "") {
		return rft.FieldErrorf("from", "give the rows: --from URL where they lie in a bucket, or --upload FILE")
	}
	d := &api.Dataset{ExternalURL: c.From, Format: c.Format, DisplayName: c.Display}
	var content *os.File
	if c.Upload != "" {
		d.UserUploaded = &struct{}{}
		if content, err = os.Open(c.Upload); err != nil {
			return rft.Wrap(rft.KindNotFound, err, "%s cannot be read", c.Upload)
		}
		defer content.Close()
	} else if !strings.Contains(c.From, "://") {
		if d.ExternalURL, err = sourceURL(c.From); err != nil {
			return err
		}
	}
	made, err := client.CreateDataset(a.ctx, account, id, d)
	if err != nil {
		return err
	}
	if c.Upload != "" {
		size, err := content.Seek(0, io.SeekEnd)
		if err == nil {
			_, err = client.Upload(a.ctx, account, id, filepath.Base(c.Upload), content, size)
		}
		if err != nil {
			return &notReady{err, id}
		}
	}
	if c.Wait && made.State != "READY" {
		made, err = watch(a, func() (*api.Dataset, error) { return client.GetDataset(a.ctx, account, id) }, func(d *api.Dataset) (string, string, bool) {
			return "validating", "validating " + d.Name, d.State == "READY" || failed(d.Status, id) != nil
		})
		if err == nil && made.State != "READY" {
			err = failed(made.Status, id)
		}
		if err != nil {
			return err
		}
	}
	if made.Firekeep != nil {
		for _, w := range made.Firekeep.Warnings {
			fmt.Fprintln(a.Stderr, "warning:", oneLine(w))
		}
	}
	return a.show(made)
}

type datasetListCmd struct{}

// Run implements a command.
func (c *datasetListCmd) Run(a *app) error {
	client, account, err := a.session()
	if err != nil {
		return err
	}
	sets, err := all(func(o api.ListOptions) ([]api.Dataset, api.Page, error) {
		l, err := client.ListDatasets(a.ctx, account, o)
		return l.Datasets, l.Page, err
	})
	if err != nil {
		return err
	}
	var rows [][]string
	for _, d := range sets {
		from := d.ExternalURL
		if from == "" {
			from = "(uploaded)"
		}
		rows = append(rows, []string{id(d.Name), stateOf(d.State, d.Status), strings.TrimPrefix(d.Format, "FORMAT_"), strconv.FormatInt(int64(d.ExampleCount), 10), from, at(d.CreateTime)})
	}
	return a.table(sets, "ID STATE FORMAT ROWS FROM CREATED", rows)
}

type datasetGetCmd struct {
	Name string `arg:"" help:"The dataset." complete:"datasets"`
}

// Run implements a command.
func (c *datasetGetCmd) Run(a *app) error {
	return showing(a, "NAME", c.Name, rft.Datasets, func(client *api.Client, account, id string) (*api.Dataset, error) {
		return client.GetDataset(a.ctx, account, id)
	})
}

type datasetDeleteCmd struct {
	Name string `arg:"" help:"The dataset." complete:"datasets"`
}

// Run implements a command.
func (c *datasetDeleteCmd) Run(a *app) error {
	return doing(a, "deleted", "NAME", c.Name, rft.Datasets, func(client *api.Client, account, id string) error {
		return client.DeleteDataset(a.ctx, account, id)
	})
}
