package api

import "encoding/json"

// BatchInferenceJob answers every row of a dataset of requests. Rows are
// {"custom_id":"…","body":{…}} with the body of a chat request.
type BatchInferenceJob struct {
	Name                 string               `json:"name"`
	DisplayName          string               `json:"displayName"`
	CreateTime           Time                 `json:"createTime"`
	UpdateTime           Time                 `json:"updateTime,omitzero"`
	CreatedBy            string               `json:"createdBy"`
	State                string               `json:"state"` // JOB_STATE_...
	Status               Status               `json:"status"`
	Model                string               `json:"model"`
	InputDatasetID       string               `json:"inputDatasetId"`
	OutputDatasetID      string               `json:"outputDatasetId"` // "" = chosen by the server
	InferenceParameters  *InferenceParameters `json:"inferenceParameters,omitempty"`
	Precision            string               `json:"precision,omitempty"`
	JobProgress          *JobProgress         `json:"jobProgress,omitempty"`
	ContinuedFromJobName string               `json:"continuedFromJobName,omitempty"`
}

// InferenceParameters are defaults for rows that do not say otherwise.
type InferenceParameters struct {
	MaxTokens   *int     `json:"maxTokens,omitempty"`
	Temperature *float64 `json:"temperature,omitempty"`
	TopP        *float64 `json:"topP,omitempty"`
	TopK        *int     `json:"topK,omitempty"`
	N           *int     `json:"n,omitempty"`
	// ExtraBody is a JSON object, as a string: further fields of a chat request.
	ExtraBody string `json:"extraBody,omitempty"`
}

// BatchInferenceJobList answers GET batchInferenceJobs.
type BatchInferenceJobList struct {
	Jobs []BatchInferenceJob `json:"batchInferenceJobs"`
	Page
}

// BatchAnswer is a row of the answers: Response, or Error in the file of those
// that failed.
type BatchAnswer struct {
	CustomID json.RawMessage `json:"custom_id"`
	Response *Completion     `json:"response"`
	Error    *BatchError     `json:"error,omitempty"`
}

// BatchError says why a row has no response.
type BatchError struct {
	Code    string `json:"code"` // as chat answers it: bad_request
	Message string `json:"message"`
	Type    string `json:"type"`
	Param   string `json:"param,omitempty"` // field of the body
	Status  int    `json:"status"`          // of HTTP, had it been a chat
	Line    int64  `json:"line"`            // of the row in its file, from 1
}
