package rft

import (
	"strings"
)

// Collection is the path segment of a resource kind ("datasets").
type Collection string

const (
	Accounts    Collection = "accounts"
	Users       Collection = "users"
	APIKeys     Collection = "apiKeys"
	Secrets     Collection = "secrets"
	Connections Collection = "connections"
	Datasets    Collection = "datasets"
	Models      Collection = "models"
	Steps       Collection = "rlorTrainerJobs"
	SFTJobs     Collection = "supervisedFineTuningJobs"
	DPOJobs     Collection = "dpoJobs"
	BatchJobs   Collection = "batchInferenceJobs"
	MergeJobs   Collection = "PeftMergeJobs"
	Deployments Collection = "deployments"
	Deployed    Collection = "deployedModels"
)

// OperatorAccount owns the bases that the operator publishes to every account.
// Its name is fixed by the clients of the wire contract.
const OperatorAccount = "fireworks"

// Name is a resource name, accounts/{Account}/{Collection}/{ID}.
type Name struct {
	Account    string
	Collection Collection
	ID         string
}

func (n Name) String() string {
	return "accounts/" + n.Account + "/" + string(n.Collection) + "/" + n.ID
}

// AccountName is accounts/{id}.
func AccountName(id string) string { return "accounts/" + id }

// idPattern is the wire contract's rule for ids that users choose. Dots are
// ours to allow: base models are commonly called like "qwen2.5-0.5b".
var idPattern = Pattern(`^[a-z]([a-z0-9.-]{0,61}[a-z0-9])?$`)

// serverIDPattern also accepts ids that begin with a digit: clients choose
// UUIDs as job ids.
var serverIDPattern = Pattern(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

// CheckID reports whether id may name a new resource; field is named in the error.
func CheckID(field, id string) error {
	if idPattern.MatchString(id) || serverIDPattern.MatchString(id) {
		return nil
	}
	return FieldErrorf(field, "%s: %q is not a valid id: use 1 to 63 of a-z, 0-9, '-' and '.', not beginning or ending with '-' or '.'", field, clip(id, 80))
}

// ParseOwn is ParseName of what is made in account: it cannot be anywhere else.
func ParseOwn(field, s, account string, c Collection) (Name, error) {
	n, err := ParseName(field, s, account, c)
	if err == nil && n.Account != account {
		err = Errorf(KindPermissionDenied, "%s: %s is not in account %s", field, n, account)
	}
	return n, err
}

// ParseName reads a reference to a resource of collection c: a full name, or a
// bare id, which then belongs to account.
func ParseName(field, s, account string, c Collection) (Name, error) {
	n := Name{Account: account, Collection: c, ID: s}
	if strings.Contains(s, "/") {
		part := strings.Split(s, "/")
		if len(part) != 4 || part[0] != "accounts" || part[2] != string(c) {
			return Name{}, FieldErrorf(field, "%s: %q is not a resource name: want accounts/{account}/%s/{id} or a bare id", field, clip(s, 120), c)
		}
		n.Account, n.ID = part[1], part[3]
	}
	if err := CheckID(field, n.ID); err != nil {
		return Name{}, err
	}
	if err := CheckID(field, n.Account); err != nil {
		return Name{}, err
	}
	return n, nil
}

// clip shortens s for an error message.
func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "") + "..."
}
