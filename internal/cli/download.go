package cli

import (
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/firekeep/firekeep/api"
	"github.com/firekeep/firekeep/internal/rft"
)

type modelDownloadCmd struct {
	Name string `arg:"" help:"The checkpoint; base models do not leave." complete:"models"`
	To   string `arg:"" help:"Directory; it is made if it is not there."`
}

// Run implements a command.
func (c *modelDownloadCmd) Run(a *app) error {
	client, account, id, err := a.named("NAME", c.Name, rft.Models)
	if err != nil {
		return err
	}
	files, err := client.ModelFiles(a.ctx, account, id)
	if err != nil {
		return err
	}
	return a.download(client, files, c.To)
}

type datasetDownloadCmd struct {
	Name string `arg:"" help:"The dataset." complete:"datasets"`
	To   string `arg:"" optional:"" help:"Directory, which is made if it is not there; - = the rows on standard output." default:"."`
}

// Run implements a command.
func (c *datasetDownloadCmd) Run(a *app) error {
	client, account, id, err := a.named("NAME", c.Name, rft.Datasets)
	if err != nil {
		return err
	}
	files, err := client.DatasetFiles(a.ctx, account, id)
	if err != nil {
		return err
	}
	if c.To != "-" {
		return a.download(client, files, c.To)
	}
	for _, name := range slices.Sorted(maps.Keys(files.FilenameToSignedURLs)) {
		in, err := client.OpenSigned(a.ctx, files.FilenameToSignedURLs[name])
		if err != nil {
			return err
		}
		_, err = io.Copy(a.bytesOut(), in)
		in.Close()
		if err != nil {
			return broken(err)
		}
	}
	return nil
}

// download writes files to a directory. Their names come from the server: they
// must stay inside of it, and nothing is overwritten.
func (a *app) download(client *api.Client, files *api.SignedURLs, dir string) error {
	names := slices.Sorted(maps.Keys(files.FilenameToSignedURLs))
	if len(names) == 0 {
		return rft.Errorf(rft.KindNotFound, "there are no files")
	}
	for _, name := range names {
		if !filepath.IsLocal(name) || oneLine(name) != name {
			return rft.Errorf(rft.KindDataLoss, "the server names a file %q, which is no name inside a directory", name)
		}
		if _, err := os.Lstat(filepath.Join(dir, name)); err == nil {
			return rft.Errorf(rft.KindAlreadyExists, "%s is there already; choose another directory", filepath.Join(dir, name))
		}
	}
	wrote := []string{}
	progress := &live{a: a}
	defer progress.end()
	for _, name := range names {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return rft.Wrap(rft.KindFailedPrecondition, err, "%s cannot be made", filepath.Dir(path))
		}
		progress.show(name, "downloading "+name)
		in, err := client.OpenSigned(a.ctx, files.FilenameToSignedURLs[name])
		if err != nil {
			return err
		}
		err = writeWhole(path, in)
		in.Close()
		if err != nil {
			return err
		}
		wrote = append(wrote, path)
	}
	progress.end()
	if a.json {
		return a.printJSON(map[string]any{"files": wrote})
	}
	for _, path := range wrote {
		if err := a.done("%s", path); err != nil {
			return err
		}
	}
	return nil
}

type modelUpdateCmd struct {
	Name        string  `arg:"" help:"The model." complete:"models"`
	Display     *string `name:"display-name" help:"Shown in lists."`
	Description *string `help:"Shown with the model."`
}

// Run implements a command.
func (c *modelUpdateCmd) Run(a *app) error {
	m, fields := &api.Model{}, changes{}
	set(&fields, "displayName", &m.DisplayName, c.Display)
	set(&fields, "description", &m.Description, c.Description)
	if err := fields.some("--display-name", "--description"); err != nil {
		return err
	}
	return showing(a, "NAME", c.Name, rft.Models, func(client *api.Client, account, id string) (*api.Model, error) {
		return client.UpdateModel(a.ctx, account, id, m, fields...)
	})
}

type datasetUpdateCmd struct {
	Name    string  `arg:"" help:"The dataset." complete:"datasets"`
	Display *string `name:"display-name" help:"Shown in lists."`
}

// Run implements a command.
func (c *datasetUpdateCmd) Run(a *app) error {
	d, fields := &api.Dataset{}, changes{}
	set(&fields, "displayName", &d.DisplayName, c.Display)
	if err := fields.some("--display-name"); err != nil {
		return err
	}
	return showing(a, "NAME", c.Name, rft.Datasets, func(client *api.Client, account, id string) (*api.Dataset, error) {
		return client.UpdateDataset(a.ctx, account, id, d, fields...)
	})
}
