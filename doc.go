// Package vercelaws gives code that runs on Vercel AWS credentials from the
// deployment's OIDC token. There are no stored keys: AWS STS exchanges the
// token for an hour's credentials of an IAM role that trusts Vercel.
//
// Most programs need two functions: [NewProvider], whose result goes into any
// client of the AWS SDK for Go v2, and oidc.RequestContext, whose result goes
// into each call:
//
//	var client = s3.New(s3.Options{
//		Region:      os.Getenv("AWS_REGION"),
//		Credentials: vercelaws.NewProvider(os.Getenv("AWS_ROLE_ARN")),
//	})
//
//	func Handler(w http.ResponseWriter, r *http.Request) {
//		out, err := client.ListObjectsV2(oidc.RequestContext(r), &s3.ListObjectsV2Input{Bucket: aws.String("photos")})
//
// # Life of the credentials
//
// Fresh credentials come from the SDK's cache and cost nothing. Some minutes
// before they expire, one refresh starts in the background and no caller waits
// for it. If STS fails, the old credentials serve to their real end. Nothing
// runs while nobody asks.
//
// # One identity
//
// A provider serves one role with one identity: all requests of a deployment
// carry the same project and environment. A program that acts for several
// identities makes a provider for each.
package vercelaws
