// Command vercelaws gets its first credentials through the library.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/vercelaws/vercelaws"
)

func main() {
	creds, err := vercelaws.NewProvider(os.Getenv("AWS_ROLE_ARN")).Retrieve(context.Background())
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(creds.AccessKeyID)
}
