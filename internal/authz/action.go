package authz

import (
	"maps"
	"slices"
	"strings"
)

// Action is one thing that can be done to one kind of resource. Every
// operation of package control has its own.
type Action string

const (
	VerifyKey Action = "apiKeys.verify"

	ListAccounts   Action = "accounts.list"
	GetAccount     Action = "accounts.get"
	CreateAccount  Action = "accounts.create"
	SuspendAccount Action = "accounts.suspend" // and resume
	DeleteAccount  Action = "accounts.delete"

	ListQuotas  Action = "quotas.list"
	GetQuota    Action = "quotas.get"
	UpdateQuota Action = "quotas.update"
	// RaiseQuota sets the ceiling that an account's own quota stays under.
	RaiseQuota Action = "quotas.raise"

	ListUsers  Action = "users.list"
	GetUser    Action = "users.get"
	CreateUser Action = "users.create"
	UpdateUser Action = "users.update"

	ListRoles  Action = "roles.list"
	GetRole    Action = "roles.get"
	CreateRole Action = "roles.create"
	DeleteRole Action = "roles.delete"

	ListKeys  Action = "apiKeys.list"
	CreateKey Action = "apiKeys.create"
	RotateKey Action = "apiKeys.rotate"
	DeleteKey Action = "apiKeys.delete"

	ListProviders  Action = "identityProviders.list"
	GetProvider    Action = "identityProviders.get"
	CreateProvider Action = "identityProviders.create"
	DeleteProvider Action = "identityProviders.delete"

	ReviewAccess Action = "accessReviews.get"
	ListReviews  Action = "accessReviews.list"
	SignReview   Action = "accessReviews.sign"

	ListConnections  Action = "connections.list"
	GetConnection    Action = "connections.get"
	CreateConnection Action = "connections.create"
	CheckConnection  Action = "connections.check"
	RotateConnection Action = "connections.rotate"
	DeleteConnection Action = "connections.delete"

	GetEncryptionKey     Action = "encryptionKeys.get"
	SetEncryptionKey     Action = "encryptionKeys.set"
	RotateEncryptionKey  Action = "encryptionKeys.rotate"
	DisableEncryptionKey Action = "encryptionKeys.disable" // and enable
	ShredEncryptionKey   Action = "encryptionKeys.shred"

	ListSecrets  Action = "secrets.list"
	GetSecret    Action = "secrets.get" // never the value
	CreateSecret Action = "secrets.create"
	UpdateSecret Action = "secrets.update"
	DeleteSecret Action = "secrets.delete"

	ListDatasets    Action = "datasets.list"
	GetDataset      Action = "datasets.get"
	CreateDataset   Action = "datasets.create"
	UploadDataset   Action = "datasets.upload"
	ValidateDataset Action = "datasets.validate"
	DownloadDataset Action = "datasets.download"
	DeleteDataset   Action = "datasets.delete"
	UpdateDataset   Action = "datasets.update"

	ListModels  Action = "models.list"
	GetModel    Action = "models.get"
	CreateModel Action = "models.create" // imports too
	ExportModel Action = "models.export"
	DeleteModel Action = "models.delete"
	UpdateModel Action = "models.update"
	UploadModel Action = "models.upload" // and have it validated
	SignModel   Action = "models.sign"   // as it lies there, in the caller's name

	GetModelPolicy   Action = "modelPolicy.get"
	SetModelPolicy   Action = "modelPolicy.set"
	GetSigningKey    Action = "modelSigningKey.get"
	RotateSigningKey Action = "modelSigningKey.rotate"
	SetRegistryLogin Action = "registryLogins.set"

	ListExportRequests Action = "exportRequests.list"
	GetExportRequest   Action = "exportRequests.get"
	DecideExport       Action = "exportRequests.decide"

	ListSteps   Action = "steps.list"
	GetStep     Action = "steps.get"
	CreateStep  Action = "steps.create"
	CancelStep  Action = "steps.cancel"
	DeleteStep  Action = "steps.delete"
	StepMetrics Action = "steps.metrics"
	StepEvents  Action = "steps.events"
	ExecuteStep Action = "steps.execute" // of a keep-alive trainer
	ResumeStep  Action = "steps.resume"

	ListSFTJobs   Action = "supervisedFineTuningJobs.list"
	GetSFTJob     Action = "supervisedFineTuningJobs.get"
	CreateSFTJob  Action = "supervisedFineTuningJobs.create"
	CancelSFTJob  Action = "supervisedFineTuningJobs.cancel"
	DeleteSFTJob  Action = "supervisedFineTuningJobs.delete"
	ResumeSFTJob  Action = "supervisedFineTuningJobs.resume"
	SFTJobMetrics Action = "supervisedFineTuningJobs.metrics"
	SFTJobEvents  Action = "supervisedFineTuningJobs.events"

	ListDPOJobs   Action = "dpoJobs.list"
	GetDPOJob     Action = "dpoJobs.get"
	CreateDPOJob  Action = "dpoJobs.create"
	CancelDPOJob  Action = "dpoJobs.cancel"
	DeleteDPOJob  Action = "dpoJobs.delete"
	ResumeDPOJob  Action = "dpoJobs.resume"
	DPOJobMetrics Action = "dpoJobs.metrics"
	DPOJobEvents  Action = "dpoJobs.events"

	ListBatchJobs  Action = "batchInferenceJobs.list"
	GetBatchJob    Action = "batchInferenceJobs.get"
	CreateBatchJob Action = "batchInferenceJobs.create"
	DeleteBatchJob Action = "batchInferenceJobs.delete"

	ListMergeJobs  Action = "peftMergeJobs.list"
	GetMergeJob    Action = "peftMergeJobs.get"
	CreateMergeJob Action = "peftMergeJobs.create"
	DeleteMergeJob Action = "peftMergeJobs.delete"

	ListAuditLogs   Action = "auditLogs.list"   // and the log's head
	ExportAuditLogs Action = "auditLogs.export" // and follow
	// StepCredentials lists what was minted for a step, never the credentials.
	StepCredentials Action = "steps.credentials"

	GetOperation Action = "operations.get"

	ListDeployments  Action = "deployments.list"
	GetDeployment    Action = "deployments.get"
	CreateDeployment Action = "deployments.create"
	DeleteDeployment Action = "deployments.delete"

	UpdateDeployment   Action = "deployments.update"
	ScaleDeployment    Action = "deployments.scale"
	UndeleteDeployment Action = "deployments.undelete"

	// ListShapes and its kin answer that there are none.
	ListShapes Action = "deploymentShapes.list"
	GetShape   Action = "deploymentShapes.get"

	ListDeployedModels  Action = "deployedModels.list"
	GetDeployedModel    Action = "deployedModels.get"
	CreateDeployedModel Action = "deployedModels.create"
	DeleteDeployedModel Action = "deployedModels.delete"
	UpdateDeployedModel Action = "deployedModels.update"

	ListCheckpoints   Action = "checkpoints.list"
	PromoteCheckpoint Action = "checkpoints.promote"

	ListServed Action = "inference.models"
	GetServed  Action = "inference.model"
	Chat       Action = "inference.chat"
	Complete   Action = "inference.complete"

	// RotateIssuer and ExportIssuer keep the issuer of tokens for clouds.
	RotateIssuer Action = "issuer.rotate"
	ExportIssuer Action = "issuer.export"

	ReadMetrics Action = "server.metrics"
)

// Group is a set of actions that policies name at once.
type Group string

const (
	// Infer is sampling, and what is needed to find a model.
	Infer Group = "infer"
	// Contribute is datasets and steps, and reading what they need.
	Contribute Group = "contribute"
	// Manage is checkpoints, deployments and other people's work.
	Manage Group = "manage"
	// Administer is people, keys, bucket credentials and policies.
	Administer Group = "administer"
	// OwnSelf may be done to one's own user, OwnWork to one's own jobs and keys.
	OwnSelf Group = "own.self"
	OwnWork Group = "own.work"
	// Shared may be done to what the operator published, Publish by its keepers.
	Shared  Group = "shared"
	Publish Group = "publish"
	// Operate is what the operator's credential may do, OperateOnly what nobody
	// else may.
	Operate     Group = "operate"
	OperateOnly Group = "operate.only"
)

// groups is every action with the groups it belongs to. An action that is not
// here, or is in no group, is denied to everyone.
var groups = map[Action][]Group{
	VerifyKey: {Infer, Operate},

	ListAccounts:   {Infer, Operate},
	GetAccount:     {Infer, Operate},
	CreateAccount:  {Operate, OperateOnly},
	SuspendAccount: {Operate, OperateOnly},
	DeleteAccount:  {Operate, OperateOnly},

	ListQuotas:  {Contribute, Operate},
	GetQuota:    {Contribute, Operate},
	UpdateQuota: {Administer, Operate},
	RaiseQuota:  {Operate, OperateOnly},

	ListUsers:  {Contribute},
	GetUser:    {Contribute, OwnSelf},
	CreateUser: {Administer},
	UpdateUser: {Administer},

	ListRoles:  {Contribute},
	GetRole:    {Contribute},
	CreateRole: {Administer},
	DeleteRole: {Administer},

	ListKeys:  {Administer, OwnSelf},
	CreateKey: {Administer, OwnWork},
	RotateKey: {Administer, OwnWork},
	DeleteKey: {Administer, OwnSelf},

	ListProviders:  {Administer},
	GetProvider:    {Administer},
	CreateProvider: {Administer},
	DeleteProvider: {Administer},

	ReviewAccess: {Administer},
	ListReviews:  {Administer},
	SignReview:   {Administer},

	ListConnections:  {Contribute},
	GetConnection:    {Contribute},
	CreateConnection: {Administer},
	CheckConnection:  {Administer},
	RotateConnection: {Administer},
	DeleteConnection: {Administer},

	GetEncryptionKey:     {Administer},
	SetEncryptionKey:     {Administer},
	RotateEncryptionKey:  {Administer},
	DisableEncryptionKey: {Administer},
	ShredEncryptionKey:   {Administer},

	ListSecrets:  {Administer},
	GetSecret:    {Administer},
	CreateSecret: {Administer},
	UpdateSecret: {Administer},
	DeleteSecret: {Administer},

	ListDatasets:    {Contribute},
	GetDataset:      {Contribute},
	CreateDataset:   {Contribute},
	UploadDataset:   {Contribute},
	ValidateDataset: {Contribute},
	DownloadDataset: {Contribute},
	DeleteDataset:   {Manage, OwnWork},
	UpdateDataset:   {Contribute},

	ListModels:  {Infer, Shared},
	GetModel:    {Infer, Shared},
	CreateModel: {Manage, Publish},
	ExportModel: {Manage, Publish},
	DeleteModel: {Manage, Publish},
	UpdateModel: {Manage, Publish},
	UploadModel: {Manage, Publish},
	SignModel:   {Administer, Publish},

	GetModelPolicy:   {Contribute},
	SetModelPolicy:   {Administer},
	GetSigningKey:    {Infer},
	RotateSigningKey: {Administer},
	SetRegistryLogin: {Administer},

	ListExportRequests: {Contribute},
	GetExportRequest:   {Contribute},
	DecideExport:       {Manage},

	ListSteps:   {Contribute},
	GetStep:     {Contribute},
	CreateStep:  {Contribute},
	CancelStep:  {Manage, OwnWork},
	DeleteStep:  {Manage, OwnWork},
	StepMetrics: {Contribute},
	StepEvents:  {Contribute},
	ExecuteStep: {Manage, OwnWork},
	ResumeStep:  {Manage, OwnWork},

	ListSFTJobs:   {Contribute},
	GetSFTJob:     {Contribute},
	CreateSFTJob:  {Contribute},
	CancelSFTJob:  {Manage, OwnWork},
	DeleteSFTJob:  {Manage, OwnWork},
	ResumeSFTJob:  {Manage, OwnWork},
	SFTJobMetrics: {Contribute},
	SFTJobEvents:  {Contribute},

	ListDPOJobs:   {Contribute},
	GetDPOJob:     {Contribute},
	CreateDPOJob:  {Contribute},
	CancelDPOJob:  {Manage, OwnWork},
	DeleteDPOJob:  {Manage, OwnWork},
	ResumeDPOJob:  {Manage, OwnWork},
	DPOJobMetrics: {Contribute},
	DPOJobEvents:  {Contribute},

	ListBatchJobs:  {Contribute},
	GetBatchJob:    {Contribute},
	CreateBatchJob: {Contribute},
	DeleteBatchJob: {Manage, OwnWork},

	ListMergeJobs:  {Contribute},
	GetMergeJob:    {Contribute},
	CreateMergeJob: {Manage},
	DeleteMergeJob: {Manage, OwnWork},

	ListAuditLogs:   {Administer, Operate},
	ExportAuditLogs: {Administer, Operate},
	StepCredentials: {Contribute},

	GetOperation: {Contribute, Publish},

	ListDeployments:  {Infer},
	GetDeployment:    {Infer},
	CreateDeployment: {Manage},
	DeleteDeployment: {Manage},

	UpdateDeployment:   {Manage},
	ScaleDeployment:    {Manage},
	UndeleteDeployment: {Manage},

	ListShapes: {Infer},
	GetShape:   {Infer},

	ListDeployedModels:  {Infer},
	GetDeployedModel:    {Infer},
	CreateDeployedModel: {Manage},
	DeleteDeployedModel: {Manage},
	UpdateDeployedModel: {Manage},

	ListCheckpoints:   {Contribute},
	PromoteCheckpoint: {Manage},

	ListServed: {Infer},
	GetServed:  {Infer, Shared},
	Chat:       {Infer, Shared},
	Complete:   {Infer, Shared},

	RotateIssuer: {Operate, OperateOnly},
	ExportIssuer: {Operate, OperateOnly},

	ReadMetrics: {Manage, Operate},
}

// Actions lists every action, in the order of names.
func Actions() []Action { return slices.Sorted(maps.Keys(groups)) }

// known reports whether pattern names an action, or with a trailing ".*" the
// actions of a kind.
func known(pattern string) bool {
	kind, wild := strings.CutSuffix(pattern, "*")
	if !wild {
		_, ok := groups[Action(pattern)]
		return ok
	}
	for a := range groups {
		if strings.HasSuffix(kind, ".") && strings.HasPrefix(string(a), kind) {
			return true
		}
	}
	return false
}

// covers reports whether one of the patterns names the action.
func covers(patterns []string, a Action) bool {
	for _, p := range patterns {
		if kind, wild := strings.CutSuffix(p, "*"); p == string(a) || (wild && strings.HasPrefix(string(a), kind)) {
			return true
		}
	}
	return false
}
