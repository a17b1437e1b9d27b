package stsclient

import (
	"slices"
	"strings"
)

// partitions are those that the SDK knows, with the region that is asked for a
// role of the partition where the environment names none: the one that the SDK
// takes for the partition's global services, and so the oldest.
//
// A region's name is one of the prefixes, a word and a number.
var partitions = []struct {
	name, region string
	prefixes     []string
}{
	{"aws", "us-east-1", []string{"us", "eu", "ap", "sa", "ca", "me", "af", "il", "mx"}},
	{"aws-cn", "cn-northwest-1", []string{"cn"}},
	{"aws-eusc", "eusc-de-east-1", []string{"eusc-de"}},
	{"aws-iso", "us-iso-east-1", []string{"us-iso"}},
	{"aws-iso-b", "us-isob-east-1", []string{"us-isob"}},
	{"aws-iso-e", "eu-isoe-west-1", []string{"eu-isoe"}},
	{"aws-iso-f", "us-isof-south-1", []string{"us-isof"}},
	{"aws-us-gov", "us-gov-west-1", []string{"us-gov"}},
}

// DefaultRegion is the region that is asked for a role where none is set: one of
// the role's partition. S3-compatible stores have role ARNs of partitions of
// their own, and any region will do for them.
func DefaultRegion(roleARN string) string {
	role := rolePartition(roleARN)
	for _, p := range partitions {
		if p.name == role {
			return p.region
		}
	}
	return partitions[0].region
}

// IsElsewhere reports whether the region is of another partition than the role:
// STS knows no role there. It is false where either is not one of AWS's.
func IsElsewhere(region, roleARN string) bool {
	role, of := rolePartition(roleARN), partitionOf(region)
	return role != "" && of != "" && of != role
}

// rolePartition returns the partition of a role, or "" if it is not one of AWS's.
func rolePartition(arn string) string {
	_, rest, _ := strings.Cut(arn, ":")
	name, _, _ := strings.Cut(rest, ":")
	for _, p := range partitions {
		if p.name == name {
			return name
		}
	}
	return ""
}

// partitionOf returns the name of the partition that the region is in, or "" if
// its name is not like that of any region.
func partitionOf(region string) string {
	head, number := cutLast(region)
	prefix, word := cutLast(head)
	if word == "" || number == "" || strings.Trim(word, "abcdefghijklmnopqrstuvwxyz") != "" || strings.Trim(number, "0123456789") != "" {
		return ""
	}
	for _, p := range partitions {
		if slices.Contains(p.prefixes, prefix) {
			return p.name
		}
	}
	return ""
}

// cutLast slices s around its last hyphen.
func cutLast(s string) (before, after string) {
	i := strings.LastIndexByte(s, '-')
	return s[:max(i, 0)], s[i+1:]
}
