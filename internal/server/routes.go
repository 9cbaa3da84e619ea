package server

import (
	"net/http"
	"slices"
	"strings"
)

// routes lists every operation. Inference is reachable under /v1 and under
// /inference/v1; segmentsOf takes the prefix away.
func (s *Server) routes() []route {
	const a = "/v1/accounts/{account}"
	cp := func(method, pattern string, h func(*request) error) route {
		return route{method, pattern, controlPlane, h}
	}
	inf := func(method, pattern string, h func(*request) error) route {
		return route{method, pattern, inference, h}
	}
	return slices.Concat(accessRoutes(cp), encryptionRoutes(cp), auditRoutes(cp), s.connectionRoutes(cp), provenanceRoutes(cp), trainingRoutes(cp), historyRoutes(cp), transferRoutes(cp), resourceRoutes(cp), []route{
		cp("GET", "/healthz", healthz),
		cp("GET", "/readyz", readyz),
		cp("GET", "/openapi.json", openAPI),
		cp("GET", "/metrics", serveMetrics),

		cp("GET", "/verifyApiKey", verifyKey),
		cp("GET", "/v1/verifyApiKey", verifyKey),
		cp("GET", "/v1/accounts", listAccounts),
		cp("GET", a, getAccount),

		cp("GET", a+"/users", listUsers),
		cp("POST", a+"/users", createUser),
		cp("GET", a+"/users/{user}", getUser),
		cp("GET", a+"/users/{user}/apiKeys", listKeys),
		cp("POST", a+"/users/{user}/apiKeys", createKey),
		cp("POST", a+"/users/{user}/apiKeys:delete", deleteKey),

		cp("GET", a+"/connections", listConnections),
		cp("POST", a+"/connections", createConnection),
		cp("GET", a+"/connections/{connection}", getConnection),
		cp("DELETE", a+"/connections/{connection}", deleteConnection),

		cp("GET", a+"/datasets", listDatasets),
		cp("POST", a+"/datasets", createDataset),
		cp("GET", a+"/datasets/{dataset}", getDataset),
		cp("DELETE", a+"/datasets/{dataset}", deleteDataset),
		cp("POST", a+"/datasets/{dataset}:upload", uploadDataset),
		cp("POST", a+"/datasets/{dataset}:validateUpload", validateUpload),

		cp("GET", a+"/models", listModels),
		cp("POST", a+"/models", createModel),
		cp("GET", a+"/models/{model}", getModel),
		cp("DELETE", a+"/models/{model}", deleteModel),
		cp("POST", a+"/models/{model}:export", exportModel),

		cp("GET", a+"/rlorTrainerJobs", listSteps),
		cp("POST", a+"/rlorTrainerJobs", createStep),
		cp("GET", a+"/rlorTrainerJobs/{step}", getStep),
		cp("DELETE", a+"/rlorTrainerJobs/{step}", deleteStep),
		cp("POST", a+"/rlorTrainerJobs/{step}:cancel", cancelStep),

		cp("GET", a+"/operations/{operation}", getOperation),

		cp("GET", a+"/deployments", listDeployments),
		cp("POST", a+"/deployments", createDeployment),
		cp("GET", a+"/deployments/{deployment}", getDeployment),
		cp("DELETE", a+"/deployments/{deployment}", deleteDeployment),

		cp("GET", a+"/deployedModels", listDeployedModels),
		cp("POST", a+"/deployedModels", createDeployedModel),
		cp("GET", a+"/deployedModels/{deployed}", getDeployedModel),
		cp("DELETE", a+"/deployedModels/{deployed}", deleteDeployedModel),

		inf("POST", "/v1/chat/completions", chat),
		inf("POST", "/v1/completions", complete),
		inf("GET", "/v1/models", listServed),
		inf("GET", "/v1/models/{model}", getServed),
		inf("GET", "/v1/models/accounts/{account}/models/{model}", getServedByName),
	})
}

// public reports whether a route answers without a key.
func (r *route) public() bool {
	return r.Pattern == "/healthz" || r.Pattern == "/readyz" || r.Pattern == "/openapi.json" || r.Pattern == tokenPath || r.Pattern == transferPattern || r.Pattern == jobFilePattern || strings.Contains(r.Pattern, "/.well-known/")
}

// shapeOf guesses the error shape of a path that has no route.
func shapeOf(path string) errorShape {
	segments := segmentsOf(path)
	if isServedModel(path) {
		return inference
	}
	switch segments[len(segments)-1] {
	case "embeddings", "messages", "responses", "rerank", "completions":
		return inference
	}
	return controlPlane
}

// isServedModel: models as clients for chat know them; an account's own are under
// its path.
func isServedModel(path string) bool {
	segments := segmentsOf(path)
	return len(segments) > 1 && segments[0] == "v1" && segments[1] == "models"
}

func healthz(rq *request) error {
	rq.writeJSON(http.StatusOK, map[string]string{"status": "ok"})
	return nil
}

func readyz(rq *request) error {
	if rq.s.ready != nil {
		if err := rq.s.ready(rq.ctx()); err != nil {
			return err
		}
	}
	rq.writeJSON(http.StatusOK, map[string]string{"status": "ready"})
	return nil
}
