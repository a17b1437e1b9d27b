// Package resource finds the environment variables of an AWS resource, by the
// names that Vercel's marketplace gives them or by names of your own. The
// examples share this file: each has a copy, so that a folder can be copied.
package resource

import (
	"fmt"
	"os"
	"strings"
)

// Variable returns the value of the first of the environment variables
// prefix+name that is set and not empty. Vercel's marketplace sets AWS_ROLE_ARN,
// PGHOST and so on, and gives the names of a second resource a prefix, for
// example STORAGE2_. The error says which variable is missing.
func Variable(prefix string, names ...string) (string, error) {
	full := make([]string, len(names))
	for i, name := range names {
		full[i] = prefix + name
		if value := os.Getenv(full[i]); value != "" {
			return value, nil
		}
	}
	return "", fmt.Errorf("the environment variable %s is not set", strings.Join(full, " or "))
}
