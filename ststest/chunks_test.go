package ststest

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The examples are those of
// https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming.html and
// https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming-trailers.html.
func TestChunksOfAWSExamples(t *testing.T) {
	creds := aws.Credentials{AccessKeyID: "AKIAIOSFODNN7EXAMPLE", SecretAccessKey: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"}
	const credential = algorithm + " Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,SignedHeaders="
	chunk := func(n int, signature string) string {
		return fmt.Sprintf("%x;chunk-signature=%s\r\n%s\r\n", n, signature, strings.Repeat("a", n))
	}
	for name, example := range map[string]struct {
		header        map[string]string
		authorization string
		chunks        []string
	}{
		"chunks": {
			map[string]string{"Content-Encoding": "aws-chunked", "Content-Length": "66824", "X-Amz-Content-Sha256": "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"},
			"content-encoding;content-length;host;x-amz-content-sha256;x-amz-date;x-amz-decoded-content-length;x-amz-storage-class,Signature=4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9",
			[]string{
				chunk(65536, "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648"),
				chunk(1024, "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497"),
				chunk(0, "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9"),
			},
		},
		"with a trailer": {
			map[string]string{"Content-Encoding": "aws-chunked", "X-Amz-Content-Sha256": "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER", "X-Amz-Trailer": "x-amz-checksum-crc32c"},
			"content-encoding;host;x-amz-content-sha256;x-amz-date;x-amz-decoded-content-length;x-amz-storage-class;x-amz-trailer,Signature=106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e",
			[]string{
				chunk(65536, "b474d8862b1487a5145d686f57f013e54db672cee1c953b3010fb58501ef5aa2"),
				chunk(1024, "1c1344b170168f8e65b41376b44b20fe354e373826ccbbe2c1d40a8cae51e5c7"),
				strings.TrimSuffix(chunk(0, "2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992"), "\r\n"),
				"x-amz-checksum-crc32c:sOO8/Q==\r\nx-amz-trailer-signature:d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435\r\n\r\n",
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			check := func(body string) error {
				r := httptest.NewRequest(http.MethodPut, "https://s3.amazonaws.com/examplebucket/chunkObject.txt", strings.NewReader(body))
				r.Header.Set("X-Amz-Date", "20130524T000000Z")
				r.Header.Set("X-Amz-Storage-Class", "REDUCED_REDUNDANCY")
				r.Header.Set("X-Amz-Decoded-Content-Length", "66560")
				r.Header.Set("Authorization", credential+example.authorization)
				for name, value := range example.header {
					r.Header.Set(name, value)
				}
				sig, err := parseSignature(r, func(string) bool { return true })
				require.NoError(t, err)
				return sig.check(r, creds)
			}
			body := strings.Join(example.chunks, "")
			require.NoError(t, check(body))
			for what, changed := range map[string]string{
				"data":                   strings.Replace(body, "a\r\n", "b\r\n", 1),
				"a chunk left out":       strings.Join(append([]string{example.chunks[0]}, example.chunks[2:]...), ""),
				"order":                  strings.Join(append([]string{example.chunks[1], example.chunks[0]}, example.chunks[2:]...), ""),
				"a trailer's value":      strings.Replace(body, "sOO8", "sOO9", 1),
				"cut off":                strings.Join(example.chunks[:2], ""),
				"more":                   body + "more",
				"a chunk beyond the end": "ffffff;chunk-signature=0\r\naaaa\r\n",
				"a negative length":      "-1;chunk-signature=0\r\naaaa\r\n",
			} {
				if changed != body {
					assert.Error(t, check(changed), what)
				}
			}
		})
	}
}
