package api

// Dataset is rows of scored samples, in the user's bucket or uploaded.
type Dataset struct {
	Name                string    `json:"name"`
	DisplayName         string    `json:"displayName"`
	CreateTime          Time      `json:"createTime"`
	UpdateTime          Time      `json:"updateTime,omitzero"`
	State               string    `json:"state"` // UPLOADING, READY
	Status              Status    `json:"status"`
	ExampleCount        Int64     `json:"exampleCount"`
	UserUploaded        *struct{} `json:"userUploaded,omitempty"`
	ExternalURL         string    `json:"externalUrl,omitempty"`
	Format              string    `json:"format"` // FORMAT_UNSPECIFIED, CHAT, COMPLETION, RL
	CreatedBy           string    `json:"createdBy"`
	SourceJobName       string    `json:"sourceJobName,omitempty"`
	EstimatedTokenCount Int64     `json:"estimatedTokenCount"`
	AverageTurnCount    float64   `json:"averageTurnCount"`

	Firekeep *DatasetExtension `json:"firekeep,omitempty"`
}

// DatasetExtension is what validation found. All of it is output only.
type DatasetExtension struct {
	Digest          string         `json:"digest,omitempty"` // sha256 over the pinned objects' digests
	Bytes           Int64          `json:"bytes"`
	Rows            Int64          `json:"rows"`
	Groups          Int64          `json:"groups"`
	Samples         Int64          `json:"samples"`
	Format          string         `json:"format,omitempty"` // RL, CHAT, DPO, BATCH
	SamplesPerGroup int            `json:"samplesPerGroup"`  // 0: they differ
	WithLogprobs    Int64          `json:"withLogprobs"`
	EvalKeys        []string       `json:"evalKeys,omitempty"` // present in every sample
	Warnings        []string       `json:"warnings,omitempty"`
	Objects         []PinnedObject `json:"objects,omitempty"`
}

// PinnedObject is one object of a dataset, fixed at registration.
type PinnedObject struct {
	Key     string `json:"key"`
	Size    Int64  `json:"size"`
	Version string `json:"version,omitempty"`
	ETag    string `json:"etag,omitempty"`
	SHA256  string `json:"sha256,omitempty"`
}

// CreateDatasetRequest is the body of POST datasets.
type CreateDatasetRequest struct {
	DatasetID       string   `json:"datasetId"`
	Dataset         *Dataset `json:"dataset"`
	SourceDatasetID string   `json:"sourceDatasetId,omitempty"`
	Filter          string   `json:"filter,omitempty"`
}

// UploadEndpointRequest is the body of POST datasets/{id}:getUploadEndpoint.
type UploadEndpointRequest struct {
	FilenameToSize map[string]Int64 `json:"filenameToSize"`
	ReadMask       string           `json:"readMask,omitempty"`
}

// SignedURLs answers where files may be sent to, or read from, without a key.
type SignedURLs struct {
	FilenameToSignedURLs map[string]string `json:"filenameToSignedUrls"`
	// FilenameToUnsignedURIs is of the uploads of models, and empty: there is one way in.
	FilenameToUnsignedURIs map[string]string `json:"filenameToUnsignedUris,omitempty"`
}

// UploadedFile answers datasets/{id}:upload, in the snake_case of the contract.
type UploadedFile struct {
	ID        string `json:"id"`
	Bytes     int64  `json:"bytes"`
	CreatedAt int64  `json:"created_at"`
	Filename  string `json:"filename"`
	Object    string `json:"object"`
	Purpose   string `json:"purpose"`
}
