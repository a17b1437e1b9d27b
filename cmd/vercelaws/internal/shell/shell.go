// Package shell quotes words for command lines that people paste and for scripts.
// The words may come from a token that has not been verified, so all quoting is
// done here.
package shell

import (
	"encoding/json"
	"strings"
)

// plain reports whether every shell takes a word as it is. zsh would expand one
// that begins with an equals sign.
func plain(s string) bool {
	return s != "" && s[0] != '=' && !strings.ContainsFunc(s, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("_./:@%+=,-", r))
	})
}

// Word returns a word that a POSIX shell takes for exactly s; see
// https://pubs.opengroup.org/onlinepubs/9799919799/utilities/V3_chap02.html#tag_19_02_02.
// The one byte that no word can hold, NUL, is left out.
func Word(s string) string {
	s = strings.ReplaceAll(s, "\x00", "")
	if plain(s) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// Command returns a command line of these words.
func Command(words ...string) string {
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = Word(w)
	}
	return strings.Join(quoted, " ")
}

// AWSIAM returns the command line of an operation of IAM for the AWS CLI. The
// parameters are in JSON, because version 1 of the CLI fetches a value that
// begins with https://, and because one that begins with a dash would be taken
// for a flag. See
// https://docs.aws.amazon.com/cli/latest/userguide/cliv2-migration-changes.html.
func AWSIAM(operation string, parameters map[string]any) string {
	b, err := json.Marshal(parameters)
	if err != nil {
		panic(err) // strings and lists always marshal
	}
	return Command("aws", "iam", operation, "--cli-input-json", string(b))
}
