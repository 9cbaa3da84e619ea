package objstoretest

import (
	"encoding/json"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/firekeep/firekeep/internal/objstore"
)

// EnableVersions makes an S3 bucket keep versions.
func (s *Server) EnableVersions(u objstore.URL) {
	s.t.Helper()
	var c objstore.S3Credential
	if err := json.Unmarshal([]byte(s.secret.Reveal()), &c); err != nil {
		s.t.Fatal(err)
	}
	client := s3.New(s3.Options{BaseEndpoint: &s.Endpoint, UsePathStyle: true, Region: "us-east-1",
		Credentials: credentials.NewStaticCredentialsProvider(c.AccessKeyID, c.SecretAccessKey, "")})
	_, err := client.PutBucketVersioning(s.t.Context(), &s3.PutBucketVersioningInput{Bucket: aws.String(u.Bucket),
		VersioningConfiguration: &types.VersioningConfiguration{Status: types.BucketVersioningStatusEnabled}})
	if err != nil {
		s.t.Fatal(err)
	}
}
