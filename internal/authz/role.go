// Package authz knows who calls and what they may do: API keys, principals,
// roles, and the one function Authorize that every operation asks first.
package authz

import (
	"slices"

	"github.com/firekeep/firekeep/internal/rft"
)

// Role is a role of the wire contract.
type Role string

const (
	Admin         Role = "admin"
	User          Role = "user"
	Contributor   Role = "contributor"
	InferenceUser Role = "inference-user"
)

// Roles lists the roles, widest first.
func Roles() []Role { return []Role{Admin, User, Contributor, InferenceUser} }

// ParseRole reads the role of a request. "custom" belongs to the contract but
// needs permission presets, which this server does not have.
func ParseRole(field, s string) (Role, error) {
	if r := Role(s); slices.Contains(Roles(), r) {
		return r, nil
	}
	if s == "custom" {
		return "", rft.Errorf(rft.KindUnimplemented, "%s: custom roles are not supported; use admin, user, contributor or inference-user", field)
	}
	return "", rft.FieldErrorf(field, "%s: must be admin, user, contributor or inference-user", field)
}

// Action is one thing that can be done to one kind of resource. Every
// operation of package control has its own.
type Action string

const (
	VerifyKey Action = "apiKeys.verify"

	ListAccounts Action = "accounts.list"
	GetAccount   Action = "accounts.get"

	ListUsers  Action = "users.list"
	GetUser    Action = "users.get"
	CreateUser Action = "users.create"

	ListKeys  Action = "apiKeys.list"
	CreateKey Action = "apiKeys.create"
	DeleteKey Action = "apiKeys.delete"

	ListConnections  Action = "connections.list"
	GetConnection    Action = "connections.get"
	CreateConnection Action = "connections.create"
	DeleteConnection Action = "connections.delete"

	ListDatasets    Action = "datasets.list"
	GetDataset      Action = "datasets.get"
	CreateDataset   Action = "datasets.create"
	UploadDataset   Action = "datasets.upload"
	ValidateDataset Action = "datasets.validate"
	DeleteDataset   Action = "datasets.delete"

	ListModels  Action = "models.list"
	GetModel    Action = "models.get"
	CreateModel Action = "models.create" // imports too
	ExportModel Action = "models.export"
	DeleteModel Action = "models.delete"

	ListSteps   Action = "steps.list"
	GetStep     Action = "steps.get"
	CreateStep  Action = "steps.create"
	CancelStep  Action = "steps.cancel"
	DeleteStep  Action = "steps.delete"
	StepMetrics Action = "steps.metrics"
	StepEvents  Action = "steps.events"

	GetOperation Action = "operations.get"

	ListDeployments  Action = "deployments.list"
	GetDeployment    Action = "deployments.get"
	CreateDeployment Action = "deployments.create"
	DeleteDeployment Action = "deployments.delete"

	ListDeployedModels  Action = "deployedModels.list"
	GetDeployedModel    Action = "deployedModels.get"
	CreateDeployedModel Action = "deployedModels.create"
	DeleteDeployedModel Action = "deployedModels.delete"

	ListServed Action = "inference.models"
	GetServed  Action = "inference.model"
	Chat       Action = "inference.chat"
	Complete   Action = "inference.complete"

	ReadMetrics Action = "server.metrics"
)

// grant is one cell of the table.
type grant byte

const (
	no  grant = iota
	own       // only where the resource belongs to the calling user
	yes
)

// table is the whole policy: what each role may do, in the order of Roles. A
// missing action is denied to everyone.
//
//   - admin: everything in its account.
//   - user: everything but people, other people's keys, and bucket credentials.
//   - contributor: reads, datasets, steps and inference; deletes only what a
//     step or dataset of its own is; no imports, exports or deployments.
//   - inference-user: sampling, and what is needed to find a model.
var table = map[Action][4]grant{
	VerifyKey: {yes, yes, yes, yes},

	ListAccounts: {yes, yes, yes, yes},
	GetAccount:   {yes, yes, yes, yes},

	ListUsers:  {yes, yes, yes, no},
	GetUser:    {yes, yes, yes, own},
	CreateUser: {yes, no, no, no},

	ListKeys:  {yes, own, own, own},
	CreateKey: {yes, own, own, no},
	DeleteKey: {yes, own, own, own},

	ListConnections:  {yes, yes, yes, no},
	GetConnection:    {yes, yes, yes, no},
	CreateConnection: {yes, no, no, no},
	DeleteConnection: {yes, no, no, no},

	ListDatasets:    {yes, yes, yes, no},
	GetDataset:      {yes, yes, yes, no},
	CreateDataset:   {yes, yes, yes, no},
	UploadDataset:   {yes, yes, yes, no},
	ValidateDataset: {yes, yes, yes, no},
	DeleteDataset:   {yes, yes, own, no},

	ListModels:  {yes, yes, yes, yes},
	GetModel:    {yes, yes, yes, yes},
	CreateModel: {yes, yes, no, no},
	ExportModel: {yes, yes, no, no},
	DeleteModel: {yes, yes, no, no},

	ListSteps:   {yes, yes, yes, no},
	GetStep:     {yes, yes, yes, no},
	CreateStep:  {yes, yes, yes, no},
	CancelStep:  {yes, yes, own, no},
	DeleteStep:  {yes, yes, own, no},
	StepMetrics: {yes, yes, yes, no},
	StepEvents:  {yes, yes, yes, no},

	GetOperation: {yes, yes, yes, no},

	ListDeployments:  {yes, yes, yes, yes},
	GetDeployment:    {yes, yes, yes, yes},
	CreateDeployment: {yes, yes, no, no},
	DeleteDeployment: {yes, yes, no, no},

	ListDeployedModels:  {yes, yes, yes, yes},
	GetDeployedModel:    {yes, yes, yes, yes},
	CreateDeployedModel: {yes, yes, no, no},
	DeleteDeployedModel: {yes, yes, no, no},

	ListServed: {yes, yes, yes, yes},
	GetServed:  {yes, yes, yes, yes},
	Chat:       {yes, yes, yes, yes},
	Complete:   {yes, yes, yes, yes},

	ReadMetrics: {yes, yes, no, no},
}

// shared are the actions that every account may do to what the operator
// published under accounts/fireworks.
var shared = map[Action]bool{GetModel: true, ListModels: true, Chat: true, Complete: true, GetServed: true}

// published are the actions that operators may do to accounts/fireworks.
var published = map[Action]bool{CreateModel: true, DeleteModel: true, ExportModel: true, GetOperation: true}
