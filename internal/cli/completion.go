package cli

import (
	"context"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/alecthomas/kong"

	"github.com/firekeep/firekeep/api"
	"github.com/firekeep/firekeep/internal/rft"
)

// completionCmd prints a script that asks this program what could come next: the
// grammar is the only table of commands.
type completionCmd struct {
	Shell string `arg:"" enum:"bash,zsh,fish" help:"bash, zsh or fish."`
}

var completionScripts = map[string]string{
	"bash": `# firekeep completion bash: source <(firekeep completion bash)
_firekeep() {
  local line
  COMPREPLY=()
  while IFS= read -r line; do
    COMPREPLY+=("${line%%$'\t'*}")
  done < <(firekeep __complete "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
}
complete -o default -F _firekeep firekeep
`,
	"zsh": `#compdef firekeep
# firekeep completion zsh: source <(firekeep completion zsh), behind compinit
_firekeep() {
  local line
  local -a found
  while IFS= read -r line; do
    found+=("${${line%%$'\t'*}//:/\\:}:${line#*$'\t'}")
  done < <(firekeep __complete "${(@)words[2,CURRENT]}" 2>/dev/null)
  if (( ${#found} )); then _describe firekeep found; else _files; fi
}
compdef _firekeep firekeep
`,
	"fish": `# firekeep completion fish: firekeep completion fish | source
function __firekeep_complete
  set -l words (commandline -opc) (commandline -ct)
  set -l found (firekeep __complete $words[2..-1] 2>/dev/null)
  if set -q found[1]
    printf '%s\n' $found
  else
    __fish_complete_path (commandline -ct)
  end
end
complete -c firekeep -f -a '(__firekeep_complete)'
`,
}

// Run implements a command.
func (c *completionCmd) Run(a *app) error {
	if a.json {
		return a.printJSON(map[string]string{"shell": c.Shell, "script": completionScripts[c.Shell]})
	}
	_, err := io.WriteString(a.Stdout, completionScripts[c.Shell])
	return err
}

// completeWord is the word that the scripts ask by; the typed words follow.
const completeWord = "__complete"

// candidate is a word that could come next.
type candidate struct{ word, help string }

// shellSafe is what a word may be made of: some words come from the server, and a
// shell reads them.
var shellSafe = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[A-Za-z0-9._/@:=#-]+$`) })

// complete prints what could be the last of words.
func (a *app) complete(root *kong.Node, words []string) {
	for _, c := range a.candidates(root, words) {
		if shellSafe().MatchString(c.word) {
			fmt.Fprintf(a.Stdout, "%s\t%s\n", c.word, oneLine(c.help))
		}
	}
}

func (a *app) candidates(root *kong.Node, words []string) []candidate {
	if len(words) == 0 {
		words = []string{""}
	}
	at := place{node: root}
	for _, w := range words[:len(words)-1] {
		if !at.step(a, w) {
			return nil
		}
	}
	word := words[len(words)-1]
	if word == "=" { // bash takes --flag=value apart
		word = ""
	}
	flag, value, assigned := strings.Cut(word, "=")
	switch {
	case at.flag != nil:
		return starting(word, a.values(at.flag.Value))
	case assigned && strings.HasPrefix(flag, "--"):
		f := at.find(flag)
		if f == nil {
			return nil
		}
		var out []candidate
		for _, c := range starting(value, a.values(f.Value)) {
			out = append(out, candidate{flag + "=" + c.word, c.help})
		}
		return out
	case strings.HasPrefix(word, "-"):
		return starting(word, at.flags())
	case len(at.node.Children) > 0:
		var out []candidate
		for _, n := range at.node.Children {
			if !n.Hidden {
				out = append(out, candidate{n.Name, n.Help})
			}
		}
		return starting(word, out)
	case at.args < len(at.node.Positional):
		return starting(word, a.values(at.node.Positional[at.args]))
	}
	return nil
}

// place is where in the grammar a line of words has come to.
type place struct {
	node *kong.Node
	flag *kong.Flag // whose value comes next
	args int        // how many of the node's arguments were given
}

// step goes on by one word that is complete. It reports whether there is a way.
// Flags that say which server is meant are noted.
func (p *place) step(a *app, w string) bool {
	switch {
	case w == "=":
	case p.flag != nil:
		a.note(p.flag.Name, w)
		p.flag = nil
	case strings.HasPrefix(w, "-") && w != "-":
		name, value, assigned := strings.Cut(w, "=")
		f := p.find(name)
		switch {
		case f == nil || f.IsBool():
		case assigned:
			a.note(f.Name, value)
		default:
			p.flag = f
		}
	case len(p.node.Children) > 0:
		if p.node = command(p.node, w); p.node == nil {
			return false
		}
	default:
		p.args++
	}
	return true
}

// note takes a flag that says which server and account are meant.
func (a *app) note(flag, value string) {
	switch flag {
	case "profile":
		a.profileName = value
	case "base-url":
		a.url = value
	case "home":
		a.home = value
	case "account-id":
		a.account = value
	}
}

// all are the flags that may come here.
func (p *place) all() []*kong.Flag {
	var out []*kong.Flag
	for n := p.node; n != nil; n = n.Parent {
		out = append(out, n.Flags...)
	}
	return out
}

func (p *place) find(name string) *kong.Flag {
	for _, f := range p.all() {
		long := strings.TrimPrefix(name, "--")
		if name == "--"+long && (f.Name == long || slices.Contains(f.Aliases, long)) || f.Short != 0 && name == "-"+string(f.Short) {
			return f
		}
	}
	return nil
}

func (p *place) flags() []candidate {
	var out []candidate
	for _, f := range p.all() {
		if !f.Hidden {
			out = append(out, candidate{"--" + f.Name, f.Help})
		}
	}
	return out
}

// starting are the candidates that begin as the word does.
func starting(word string, all []candidate) []candidate {
	return slices.DeleteFunc(all, func(c candidate) bool { return !strings.HasPrefix(c.word, word) })
}

// completionTime is how long a shell waits for the server.
const completionTime = 2 * time.Second

// values are what an argument or a flag could be: the words of its enum, or what
// there is on the server.
func (a *app) values(v *kong.Value) []candidate {
	var out []candidate
	if v.Enum != "" {
		for _, word := range strings.Split(v.Enum, ",") {
			if word != "" {
				out = append(out, candidate{word, ""})
			}
		}
		return out
	}
	ctx, cancel := context.WithTimeout(a.ctx, completionTime)
	defer cancel()
	words, _ := a.there(ctx, v.Tag.Get("complete")) // a shell has no place for an error
	for _, word := range words {
		out = append(out, candidate{word, ""})
	}
	return out
}

// there are the ids of a kind of resource, a page of them.
func (a *app) there(ctx context.Context, what string) ([]string, error) {
	if what == "" {
		return nil, nil
	}
	if what == "profiles" {
		all, err := readProfiles(a.profilesPath())
		if err != nil {
			return nil, err
		}
		return slices.Sorted(maps.Keys(all.Profiles)), nil
	}
	client, err := a.client()
	if err != nil {
		return nil, err
	}
	once := *client
	once.Attempts = 1
	account := a.account
	if account == "" {
		who, err := once.Verify(ctx)
		if err != nil {
			return nil, err
		}
		account = who.Account
	}
	return resources(ctx, &once, account, what)
}

// ids are the ids of a list.
func ids[L, T any](list *L, err error, items func(*L) []T, name func(T) string) ([]string, error) {
	if err != nil {
		return nil, err
	}
	var out []string
	for _, v := range items(list) {
		out = append(out, id(name(v)))
	}
	return out, nil
}

func resources(ctx context.Context, c *api.Client, account, what string) ([]string, error) {
	o := api.ListOptions{PageSize: 100}
	switch what {
	case "datasets":
		l, err := c.ListDatasets(ctx, account, o)
		return ids(l, err, func(l *api.DatasetList) []api.Dataset { return l.Datasets }, func(d api.Dataset) string { return d.Name })
	case "models":
		l, err := c.ListModels(ctx, account, o)
		own, err := ids(l, err, func(l *api.ModelList) []api.Model { return l.Models }, func(m api.Model) string { return m.Name })
		if err != nil || account == rft.OperatorAccount {
			return own, err
		}
		l, err = c.ListModels(ctx, rft.OperatorAccount, o)
		published, _ := ids(l, err, func(l *api.ModelList) []api.Model { return l.Models }, func(m api.Model) string { return m.Name })
		return append(own, published...), nil
	case "steps":
		l, err := c.ListSteps(ctx, account, o)
		return ids(l, err, func(l *api.StepList) []api.RlorTrainerJob { return l.Steps }, func(j api.RlorTrainerJob) string { return j.Name })
	case "sft":
		l, err := c.ListSFTJobs(ctx, account, o)
		return ids(l, err, func(l *api.SFTJobList) []api.SupervisedFineTuningJob { return l.Jobs }, func(j api.SupervisedFineTuningJob) string { return j.Name })
	case "dpo":
		l, err := c.ListDPOJobs(ctx, account, o)
		return ids(l, err, func(l *api.DPOJobList) []api.DpoJob { return l.Jobs }, func(j api.DpoJob) string { return j.Name })
	case "batch":
		l, err := c.ListBatchJobs(ctx, account, o)
		return ids(l, err, func(l *api.BatchInferenceJobList) []api.BatchInferenceJob { return l.Jobs }, func(j api.BatchInferenceJob) string { return j.Name })
	case "merge":
		l, err := c.ListMergeJobs(ctx, account, o)
		return ids(l, err, func(l *api.PeftMergeJobList) []api.PeftMergeJob { return l.Jobs }, func(j api.PeftMergeJob) string { return j.Name })
	case "connections":
		l, err := c.ListConnections(ctx, account, o)
		return ids(l, err, func(l *api.ConnectionList) []api.Connection { return l.Connections }, func(x api.Connection) string { return x.Name })
	case "secrets":
		l, err := c.ListSecrets(ctx, account, o)
		return ids(l, err, func(l *api.SecretList) []api.Secret { return l.Secrets }, func(s api.Secret) string { return s.Name })
	case "deployments":
		l, err := c.ListDeployments(ctx, account, o)
		return ids(l, err, func(l *api.DeploymentList) []api.Deployment { return l.Deployments }, func(d api.Deployment) string { return d.Name })
	case "deployed":
		l, err := c.ListDeployedModels(ctx, account, o)
		return ids(l, err, func(l *api.DeployedModelList) []api.DeployedModel { return l.DeployedModels }, func(d api.DeployedModel) string { return d.Name })
	case "users":
		l, err := c.ListUsers(ctx, account, o)
		return ids(l, err, func(l *api.UserList) []api.User { return l.Users }, func(u api.User) string { return u.Name })
	case "roles":
		l, err := c.ListRoles(ctx, account, o)
		return ids(l, err, func(l *api.RoleList) []api.Role { return l.Roles }, func(r api.Role) string { return r.Name })
	case "quotas":
		l, err := c.ListQuotas(ctx, account)
		return ids(l, err, func(l *api.QuotaList) []api.Quota { return l.Quotas }, func(q api.Quota) string { return q.Name })
	case "providers":
		l, err := c.ListIdentityProviders(ctx, account, o)
		return ids(l, err, func(l *api.IdentityProviderList) []api.IdentityProvider { return l.IdentityProviders }, func(p api.IdentityProvider) string { return p.Name })
	}
	return nil, nil
}
