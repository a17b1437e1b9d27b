module github.com/vercelaws/vercelaws/e2e

go 1.24.0

require (
	github.com/jackc/pgx/v5 v5.8.0
	github.com/stretchr/testify v1.12.1
	github.com/vercel/go-bridge v0.0.0-20221108222652-296f4c6bdb6d
)

require (
	github.com/aws/aws-lambda-go v1.54.0 // indirect
	github.com/jackc/pgpassfile v1.0.0 // indirect
	github.com/jackc/pgservicefile v0.0.0-20240606120523-5a60cdf6a761 // indirect
	go.yaml.in/yaml/v3 v3.0.5 // indirect
	golang.org/x/text v0.29.0 // indirect
)

replace github.com/vercelaws/vercelaws => ../
