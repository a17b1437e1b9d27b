module github.com/vercelaws/vercelaws

go 1.24.0

// What a program compiles that imports the library.
require (
	github.com/aws/aws-sdk-go-v2 v1.48.0
	github.com/aws/aws-sdk-go-v2/credentials v1.21.0
	github.com/aws/aws-sdk-go-v2/service/sts v1.52.0
	github.com/aws/smithy-go v1.28.9
	golang.org/x/sync v0.19.0
)

// What only tests, the command and the servers for tests (oidctest, ststest) need.
require (
	github.com/aws/aws-sdk-go-v2/config v1.33.18 // the command's profiles and regions
	github.com/aws/aws-sdk-go-v2/feature/ec2/imds v1.20.9 // a test beside the SDK's own caches
	github.com/go-jose/go-jose/v4 v4.1.9 // the servers' keys and tokens
	github.com/rogpeppe/go-internal v1.14.1 // the command's scripts; from 1.15 on it needs Go 1.25
	github.com/stretchr/testify v1.12.1
)

// What the above need.
require (
	github.com/aws/aws-sdk-go-v2/internal/configsources v1.5.12 // indirect
	github.com/aws/aws-sdk-go-v2/internal/endpoints/v2 v2.8.12 // indirect
	github.com/aws/aws-sdk-go-v2/internal/v4a v1.5.12 // indirect
	github.com/aws/aws-sdk-go-v2/service/internal/accept-encoding v1.13.25 // indirect
	github.com/aws/aws-sdk-go-v2/service/internal/presigned-url v1.14.12 // indirect
	github.com/aws/aws-sdk-go-v2/service/signin v1.13.1 // indirect
	github.com/aws/aws-sdk-go-v2/service/sso v1.39.5 // indirect
	github.com/aws/aws-sdk-go-v2/service/ssooidc v1.44.5 // indirect
	go.yaml.in/yaml/v3 v3.0.6 // indirect
	golang.org/x/sys v0.41.0 // indirect
	golang.org/x/tools v0.42.0 // indirect
)
