package main

import (
	"fmt"
	"strings"
)

// didYouMean returns "; did you mean …?" with the known word that is closest to
// word, or nothing if none is close. Dashes before words do not count.
func didYouMean(word string, known []string) string {
	word = strings.ToLower(strings.TrimLeft(word, "-"))
	best, fewest := "", len(word)/2+1
	for _, k := range known {
		plain := strings.TrimLeft(k, "-")
		n := edits(word, plain)
		if abbreviates(word, plain) {
			n = 1
		}
		if n < fewest {
			best, fewest = k, n
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf("; did you mean %s?", best)
}

// abbreviates reports whether a short word has the first letter of a long one,
// and others of it in their order, as tf for terraform.
func abbreviates(short, long string) bool {
	if len(short) < 2 || long == "" || short[0] != long[0] {
		return false
	}
	for i := range len(short) {
		at := strings.IndexByte(long, short[i])
		if at < 0 {
			return false
		}
		long = long[at+1:]
	}
	return true
}

// edits is the Levenshtein distance: how many bytes must be inserted, removed
// or replaced to turn a into b.
func edits(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			above := row[j+1]
			row[j+1] = min(above+1, row[j]+1, diagonal+cost)
			diagonal = above
		}
	}
	return row[len(b)]
}
