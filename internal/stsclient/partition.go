package stsclient

import (
	"slices"
	"strings"
)

// partitions are those that the SDK knows. The region of each is asked for a role
// of the partition if the environment names no region. It is the one that the SDK
// uses for the partition's global services.
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

// DefaultRegion returns the region that is asked for a role if none is set. It is in
// the role's partition. For another partition than AWS's, such as the role ARNs of
// S3-compatible stores have, it is us-east-1: those accept any region.
func DefaultRegion(roleARN string) string {
	role := rolePartition(roleARN)
	for _, p := range partitions {
		if p.name == role {
			return p.region
		}
	}
	return partitions[0].region
}

// IsElsewhere reports whether the region is in another partition than the role, so
// that its STS does not know the role. It is false if either is none of AWS's.
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

// partitionOf returns the name of the partition that the region is in, or "" if it
// does not have the form of a region's name.
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
