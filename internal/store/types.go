package store

import (
	"encoding/json"
	"slices"
	"time"

	"github.com/firekeep/firekeep/internal/objstore"
	"github.com/firekeep/firekeep/internal/rft"
)

// Every resource row carries a UID: random, immutable, never reused, even when
// a name is deleted and created again. Artefacts, jobs and credentials refer to
// UIDs; people refer to names.

// Status is the health of a resource as the wire contract shows it: Code is
// the name of a gRPC code, "OK" when all is well.
type Status struct {
	Code    string
	Message string
}

// OK is the Status of a healthy resource.
func OK() Status { return Status{Code: "OK"} }

// StatusOf turns an error into a Status: its kind and public message.
func StatusOf(err error) Status {
	if err == nil {
		return OK()
	}
	return Status{Code: string(rft.KindOf(err)), Message: rft.PublicMessage(err)}
}

// Account is a tenant.
type Account struct {
	UID         string
	ID          string
	DisplayName string
	Email       string
	State       string // AccountActive, AccountSuspended, AccountDeleted
	// Quotas are what was set: quota id -> value and ceiling.
	Quotas  map[string]Quota
	Created time.Time
	Updated time.Time
}

// User is a person or a service account of an account.
type User struct {
	UID              string
	Account          string // id of the account
	ID               string
	DisplayName      string
	Email            string
	Role             string // "admin", "user", "contributor", "inference-user", "custom"
	PermissionPreset string
	ServiceAccount   bool
	Created          time.Time
	Updated          time.Time
}

// Principal is the user's name in audit rows and createdBy fields.
func (u User) Principal() string {
	if u.ServiceAccount {
		return u.ID + "@" + u.Account + ".sa.firekeep"
	}
	if u.Email != "" {
		return u.Email
	}
	return u.ID
}

// APIKey is a key of a user. Only its hash is stored.
type APIKey struct {
	ID          string // public key id
	Account     string
	User        string
	DisplayName string
	Prefix      string // first characters, shown to tell keys apart
	Hash        []byte // of the whole key, as seal computes it
	Annotations map[string]string
	Kind        string // KeyKind, KeyLogin, KeyWorkload
	Scope       string // authz.Scope as JSON, "" = all that the user may
	Replaces    string // id of the key that this one was rotated from
	CreatedBy   string
	Created     time.Time
	Expires     time.Time // zero = never
	LastUsed    time.Time // zero = never; kept to the minute
}

// Connection holds the credential of a URL prefix of a bucket, sealed.
type Connection struct {
	UID         string
	Account     string
	ID          string
	DisplayName string
	Kind        string // "s3", "gs", "https" (Azure)
	Auth        string // "secret", "aws-role", "gcp-wif", "azure-federated"
	State       string // ConnectionPending, ...
	Status      Status
	URLPrefix   string          // "s3://bucket/prefix/"
	Options     json.RawMessage // identity.Options: roles, owner, encryption; nothing secret
	Sealed      []byte          // the secret under the account's key, never returned by the API
	CreatedBy   string
	Created     time.Time
	Rotated     time.Time // when the secret was last set; zero = at creation
	Checked     time.Time // when it was last probed; zero = never
	Updated     time.Time
}

// States of datasets and models, with the spelling of the wire contract.
const (
	StateUploading = "UPLOADING"
	StateReady     = "READY"
	// StateReserved is a model name that a running step or merge holds. Reserved models
	// are not listed and cannot be read; the name is taken.
	StateReserved = "RESERVED"
)

// Formats of batch inference. Other formats belong to who reads the rows.
const (
	FormatBatch   = "BATCH"        // requests
	FormatAnswers = "BATCH_OUTPUT" // their answers, written by a batch job alone
)

// Dataset is a set of scored rows in a bucket. Rows are never stored here.
type Dataset struct {
	UID         string
	Account     string
	ID          string
	DisplayName string
	ExternalURL string // "" for uploaded datasets
	Uploaded    bool   // rows came through the API and lie sealed in the home bucket
	Format      string // "RL", "CHAT", "COMPLETION", "DPO", FormatBatch, FormatAnswers, "" until known
	State       string // StateUploading, StateReady
	Status      Status
	Counts      Counts
	// Index is the home artefact with the byte ranges of groups and the digests
	// of blocks; "" until validated.
	Index       string
	IndexDigest string // sha256:hex of the artefact's plain bytes
	CreatedBy   string
	Created     time.Time
	Updated     time.Time
}

// Name is the dataset's resource name.
func (d Dataset) Name() string {
	return rft.Name{Account: d.Account, Collection: rft.Datasets, ID: d.ID}.String()
}

// Counts is what is kept of a dataset's content: numbers and key names.
type Counts struct {
	Objects         int64    `json:"objects"`
	Bytes           int64    `json:"bytes"`
	Rows            int64    `json:"rows"`
	Groups          int64    `json:"groups"`
	Samples         int64    `json:"samples"`
	SamplesPerGroup int      `json:"samplesPerGroup"`
	WithLogprobs    int64    `json:"withLogprobs"`
	Turns           int64    `json:"turns"`
	EvalKeys        []string `json:"evalKeys,omitempty"`
	Warnings        []string `json:"warnings,omitempty"`
}

// Object is one pinned object of a dataset, in the order of names.
type Object struct {
	Key    string // in the bucket of the dataset's URL, or of the home bucket when uploaded
	Pin    objstore.Pin
	SHA256 string // hex of the whole object; "" until validated
}

// Kinds of models.
const (
	KindBase    = "HF_BASE_MODEL"
	KindAdapter = "HF_PEFT_ADDON"
)

// Model is a base model or a LoRA adapter (a checkpoint).
type Model struct {
	UID         string
	Account     string
	ID          string
	DisplayName string
	Description string
	Kind        string // KindBase, KindAdapter
	State       string // StateUploading, StateReady, StateReserved
	Status      Status
	BaseModel   string // adapters: resource name of the base
	BaseUID     string // adapters: UID of the base
	Rank        int
	Alpha       float64
	Targets     []string
	// Spec is the engine.Spec that trained an adapter, nil for imported ones.
	Spec json.RawMessage
	// Config is the engine.Config of a base.
	Config        json.RawMessage
	Parameters    int64
	ContextLength int
	HasChat       bool
	// Digest is what the model is known by to children and provenance:
	// sha256:hex of a base's prepared file, of an adapter's manifest.
	Digest   string
	Artifact string // prefix in the home bucket (adapters), "" for bases
	// Attestation is the prefix of the signed statements about the model in the
	// home bucket, "" = never signed; AttestationDigest that of their manifest.
	Attestation       string
	AttestationDigest string
	Size              int64 // bytes of the prepared file or of the adapter's files
	// FineTuningJob is the resource name of the step, or merge, that made it, JobUID its UID.
	FineTuningJob string
	JobUID        string
	ImportedFrom  string
	Public        bool
	CreatedBy     string
	Created       time.Time
	Updated       time.Time
}

// Name is the model's resource name.
func (m Model) Name() string {
	return rft.Name{Account: m.Account, Collection: rft.Models, ID: m.ID}.String()
}

// JobKind is what a job does.
type JobKind string

const (
	JobStep       JobKind = "step"  // a reinforcement step, or a keep-alive trainer
	JobTrain      JobKind = "train" // one step of a keep-alive trainer
	JobSFT        JobKind = "sft"
	JobDPO        JobKind = "dpo"
	JobValidation JobKind = "validation"
	JobImport     JobKind = "import"
	JobExport     JobKind = "export"
	JobProbe      JobKind = "probe"
	JobBatch      JobKind = "batch" // batch inference
	JobMerge      JobKind = "merge" // a LoRA merged into its base
)

// TrainingKinds are the kinds of jobs that make a LoRA checkpoint.
var TrainingKinds = []JobKind{JobStep, JobTrain, JobSFT, JobDPO}

// trainingKinds is TrainingKinds in SQL.
const trainingKinds = `('step', 'train', 'sft', 'dpo')`

// Trains reports whether jobs of the kind make a LoRA checkpoint.
func (k JobKind) Trains() bool { return slices.Contains(TrainingKinds, k) }

// Job is the row that is the queue: what to do, how far it is, who holds it.
type Job struct {
	UID         string
	Account     string
	ID          string
	Kind        JobKind
	DisplayName string
	Spec        json.RawMessage // job.StepSpec, catalog.ValidationSpec, catalog.ImportSpec, catalog.ExportSpec, job.BatchSpec, job.MergeSpec
	State       rft.JobState
	Status      Status
	Progress    Progress
	Result      json.RawMessage // of the kind: job.StepResult, ...; nil until COMPLETED
	// Dataset, BaseModel, WarmStart and OutputModel are resource names, for
	// lists and filters, and so that nothing in use is deleted.
	Dataset     string
	BaseModel   string
	WarmStart   string
	OutputModel string
	// OutputDataset is the resource name of what a batch job writes, "" = none.
	OutputDataset string
	// Trainer is "" for a job of its own, the job's own UID for a keep-alive
	// trainer, and the trainer's UID for a step of one.
	Trainer string

	Owner   string    // runner that holds the lease, "" = none
	Expires time.Time // of the lease
	Fence   int64     // grows with every lease; a write that carries another one is refused
	Attempt int       // leases so far
	Tries   int       // leases since the last resume point

	CreatedBy string
	Created   time.Time
	Updated   time.Time
	Started   time.Time // first lease, zero = not yet
	Completed time.Time // zero = not terminal
}

// KeepsAlive reports whether the job is a trainer, which is RUNNING without a
// lease while it waits for steps.
func (j Job) KeepsAlive() bool { return j.Trainer != "" && j.Trainer == j.UID }

// Name is the resource name of a job. Kinds that have no name in the wire contract
// answer accounts/{a}/jobs/{id}.
func (j Job) Name() string {
	n := rft.Name{Account: j.Account, Collection: "jobs", ID: j.ID}
	switch j.Kind {
	case JobStep:
		n.Collection = rft.Steps
	case JobSFT:
		n.Collection = rft.SFTJobs
	case JobDPO:
		n.Collection = rft.DPOJobs
	case JobBatch:
		n.Collection = rft.BatchJobs
	case JobMerge:
		n.Collection = rft.MergeJobs
	}
	return n.String()
}

// TrainerState is the Result of a keep-alive trainer: where its next step begins.
type TrainerState struct {
	Model    string `json:"model,omitempty"` // the checkpoint of its last step, "" = none yet
	ModelUID string `json:"modelUid,omitempty"`
	Steps    int64  `json:"steps"`   // finished
	Updates  int64  `json:"updates"` // of all of them, as its metrics count
}

// TrainerState reads the state of a trainer.
func (j Job) TrainerState() (s TrainerState, err error) {
	if len(j.Result) > 0 {
		err = json.Unmarshal(j.Result, &s)
	}
	return s, err
}

// Progress is how far a job is.
type Progress struct {
	Stage      string    `json:"stage,omitempty"`
	Percent    int       `json:"percent"`
	Epoch      int       `json:"epoch"`
	Update     int64     `json:"update"`
	ETASeconds float64   `json:"etaSeconds,omitempty"`
	Requests   *Requests `json:"requests,omitempty"` // of a batch job
}

// Requests counts what a batch job was asked and what it answered.
type Requests struct {
	Total        int64 `json:"total"`
	Answered     int64 `json:"answered"`
	Failed       int64 `json:"failed"` // answered with an error
	InputTokens  int64 `json:"inputTokens"`
	CachedTokens int64 `json:"cachedTokens"` // of InputTokens
	OutputTokens int64 `json:"outputTokens"`
}

// Add adds counts.
func (r *Requests) Add(o Requests) {
	r.Answered += o.Answered
	r.Failed += o.Failed
	r.InputTokens += o.InputTokens
	r.CachedTokens += o.CachedTokens
	r.OutputTokens += o.OutputTokens
}

// Event is one line of a job's history. Data holds ids, counts and numbers.
type Event struct {
	Seq    int64 // 1, 2, ... within the job
	Time   time.Time
	Kind   string // EventMetrics, ...
	Update int64  // of metrics and resume points
	Data   json.RawMessage
}

// Kinds of events.
const (
	EventMetrics    = "metrics"    // wire.Metrics of one optimiser batch
	EventState      = "state"      // {"state","code","message"}
	EventResume     = "resume"     // the attempt went on from the resume point of Update
	EventCheckpoint = "checkpoint" // a resume point was committed
	EventWarning    = "warning"    // {"message"}
	EventEvaluation = "evaluation" // train.Report of the held-out rows
)

// ResumePoint is adapter and optimiser state inside a job, sealed in the home bucket.
type ResumePoint struct {
	JobUID   string
	Update   int64
	Mark     json.RawMessage // wire.Mark
	Artifact string          // prefix in the home bucket
	Digest   string          // sha256:hex of its manifest
	Created  time.Time
}

// Deployment serves a base model, with adapters on top.
type Deployment struct {
	UID             string
	Account         string
	ID              string
	DisplayName     string
	BaseModel       string // resource name
	State           string // "CREATING", "READY", ...
	Status          Status
	MinReplicas     int
	MaxReplicas     int
	EnableAddons    bool
	EnableHotReload bool
	Config          json.RawMessage // the wire fields that are only echoed
	Replicas        int             // how many it was told to have; 0 = scaled to zero
	CreatedBy       string
	Created         time.Time
	Updated         time.Time
	Deleted         time.Time // zero = it is there
}

// Name is the deployment's resource name.
func (d Deployment) Name() string {
	return rft.Name{Account: d.Account, Collection: rft.Deployments, ID: d.ID}.String()
}

// DeployedModel is a model loaded on a deployment.
type DeployedModel struct {
	UID         string
	Account     string
	ID          string
	DisplayName string
	Description string
	Model       string // resource name
	Deployment  string // resource name
	Default     bool
	Public      bool
	Serverless  bool
	State       string // "DEPLOYING", "DEPLOYED", "UNDEPLOYING"
	Status      Status
	CreatedBy   string
	Created     time.Time
	Updated     time.Time
}

// Act is who does what: the audit row that is written in the same transaction
// as a mutation. Detail holds ids, counts and digests, never content or secrets.
type Act struct {
	Account string
	// Actor is the principal as people know it (an e-mail), or a part of
	// Firekeep ("runner", "queue"). It stays in the database; the log names ActorID.
	Actor     string
	ActorID   string // resource name that does not change: "accounts/main/users/ann"; "" = Actor is a part of Firekeep
	ActorKind string // ActorUser, ...; "" = system
	Method    string // "CreateDataset"
	Resource  string // resource name
	APIKeyID  string
	ClientIP  string
	UserAgent string
	Decision  string // DecisionAllow, DecisionDeny, "" = nobody had to decide
	Policy    string // ids of the policies that decided
	Detail    map[string]string
}

// Kinds of actors.
const (
	ActorUser           = "user"
	ActorServiceAccount = "service-account"
	ActorWorkload       = "workload" // a job elsewhere, by its own identity token
	ActorOperator       = "operator"
	ActorRunner         = "runner"
	ActorSystem         = "system"
)

// Decisions of the policies.
const (
	DecisionAllow = "allow"
	DecisionDeny  = "deny"
)

// AuditRow is one row of the audit outbox. Seq is dense: a gap is tampering.
type AuditRow struct {
	Seq  int64
	Time time.Time
	Act
	Result   string // "OK" or the kind of the refusal
	LogIndex int64  // place in the transparency log, Seq-1; -1 = not known to be logged yet
}
