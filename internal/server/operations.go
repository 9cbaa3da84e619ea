package server

import (
	_ "embed"
	"net/http"
	"strings"
)

// Operation is one operation of the wire contract and what this server makes of it.
type Operation struct {
	Name   string // "CreateDataset"
	Method string
	Path   string // "/v1/accounts/{account}/datasets"
	// Supported: a route serves it; Reason says why there is none.
	Supported bool
	Reason    string
}

//go:embed operations.txt
var operationList string

// Reasons for operations without a route.
const (
	noUserCode   = "no user code runs on this server: score rollouts in your own process with firekeep.rollouts, then run a reinforcement step (rlorTrainerJobs) on the scored rows"
	noMoney      = "a self-hosted server sells nothing: there are no prices, credits and invoices"
	noFleet      = "one host, or the cluster that you run, serves everything: there are no clusters, regions, shapes and routers to manage here"
	noTrainAPI   = "the Training API is not part of this release; use rlorTrainerJobs"
	noServerless = "nothing is metered by the token here; quotas bound what an account does"
	notYet       = "this server does not have this part of the API"
)

// reasons says why operations have no route: by "METHOD path" of one operation,
// or by the collection that its path is in.
var reasons = map[string]string{
	"reinforcementFineTuningJobs": noUserCode, "evaluators": noUserCode, "evaluatorsV2": noUserCode, "evaluationJobs": noUserCode, "evaluations": noUserCode,
	"POST /v1/accounts/{account}:testeval": noUserCode,

	"billing": noMoney, "billingUsage": noMoney, "creditRedemptions": noMoney, "developerPasses": noMoney, "pricingPlans": noMoney, "accountUsageFilterOptions": noMoney,
	"POST /v1/creditCodes:redeem": noMoney,

	"clusters": noFleet, "routers": noFleet, "deploymentShapes": noFleet, "trainingShapes": noFleet, "genericDeployments": noFleet, "genericDeploymentTypes": noFleet,
	"nodePools": noFleet, "environments": noFleet, "snapshots": noFleet,
	"GET /v1/accounts/{account}/deployments/{deployment}/shards": noFleet,

	"serverlessRateLimits": noServerless, "serverlessTokenUsage": noServerless,
	"trainingSessionJobs": noTrainAPI, "trainingSessions": noTrainAPI,

	"policySettings": "who may do what is decided by roles; `firekeep role create` makes one with policies of your own",
	"trails":         "traces go to the OpenTelemetry collector that the operator names; this server keeps no prompts",
	"leaderboards":   noUserCode, "mcpServers": noUserCode, "batchJobs": notYet,

	"GET /v1/accounts/{account}/deployments/{deployment}/ledger":             noFleet,
	"DELETE /v1/accounts/{account}/deployments/{deployment}/ledger":          noFleet,
	"GET /v1/accounts/{account}/deployments/{deployment}/terminationMessage": "the deployment's status says what is wrong with it",
	"GET /v1/accounts/{account}/deployments/{deployment}:metrics":            "the server's /metrics has them, for Prometheus",
	"POST /v1/accounts/{account}/datasets/{dataset}:splitDataset":            "steps stream datasets of any size; split files before they are registered, if at all",
	"PATCH /v1/accounts/{account}/identityProviders/{provider}":              "delete the provider and create it anew: trust is not edited in place",
	"POST /v1/auth/refresh": "log in again: keys of logins are short-lived and are not refreshed",
}

// Operations lists the operations of the contract in the order of their paths.
func (s *Server) Operations() []Operation {
	var out []Operation
	for _, o := range listedOperations() {
		route, _, _ := s.table.find(o.Method, o.Path)
		if o.Supported = route != nil; !o.Supported {
			o.Reason = reasonFor(o.Method, o.Path)
		}
		out = append(out, o)
	}
	return out
}

func listedOperations() []Operation {
	var out []Operation
	for line := range strings.Lines(operationList) {
		f := strings.Fields(line)
		if len(f) == 3 && f[0] != "#" {
			out = append(out, Operation{Name: f[0], Method: f[1], Path: f[2]})
		}
	}
	return out
}

// reasonFor says why an operation of the contract, by its pattern, is not there.
func reasonFor(method, pattern string) string {
	if r := reasons[method+" "+pattern]; r != "" {
		return r
	}
	if r := reasons[collectionOf(pattern)]; r != "" {
		return r
	}
	return notYet
}

// collectionOf is the collection that a path of an account is in.
func collectionOf(path string) string {
	seg := segmentsOf(path)
	if len(seg) < 4 || seg[0] != "v1" || seg[1] != "accounts" {
		return ""
	}
	collection, _, _ := strings.Cut(seg[3], ":")
	return collection
}

// contract matches requests with the operations of the contract.
var contract = newContract()

func newContract() *table {
	var routes []route
	for _, o := range listedOperations() {
		routes = append(routes, route{Method: o.Method, Pattern: o.Path})
	}
	return newTable(routes)
}

// unsupported reports whether a request that no route serves belongs to the
// contract, and why it is not served.
func unsupported(method, escapedPath string) (reason string, known bool) {
	if r, _, _ := contract.find(method, escapedPath); r != nil {
		return reasonFor(r.Method, r.Pattern), true
	}
	if r := reasons[collectionOf(escapedPath)]; r != "" {
		return r, true
	}
	if seg := segmentsOf(escapedPath); len(seg) == 2 && seg[0] == "v1" && shapeOf(escapedPath) == inference && method == http.MethodPost {
		return notYet, true
	}
	return "", false
}
