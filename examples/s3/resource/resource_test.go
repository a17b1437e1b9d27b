package resource

import "testing"

func TestVariable(t *testing.T) {
	t.Setenv("PGHOST", "first.example")
	t.Setenv("STORAGE2_PGHOST", "second.example")
	t.Setenv("RDS_HOSTNAME", "own.example")
	t.Setenv("PGUSER", "") // empty counts as not set
	t.Setenv("RDS_USERNAME", "web")
	t.Setenv("STORAGE2_PGUSER", "")

	for _, c := range []struct {
		prefix      string
		names       []string
		value, says string
	}{
		{"", []string{"PGHOST"}, "first.example", ""},
		{"", []string{"PGHOST", "RDS_HOSTNAME"}, "first.example", ""},
		{"STORAGE2_", []string{"PGHOST", "RDS_HOSTNAME"}, "second.example", ""},
		{"", []string{"PGUSER", "RDS_USERNAME"}, "web", ""},
		{"", []string{"PGUSER"}, "", "the environment variable PGUSER is not set"},
		{"STORAGE2_", []string{"PGUSER"}, "", "the environment variable STORAGE2_PGUSER is not set"},
		{"STORAGE2_", []string{"PGUSER", "RDS_USERNAME"}, "", "the environment variable STORAGE2_PGUSER or STORAGE2_RDS_USERNAME is not set"},
	} {
		value, err := Variable(c.prefix, c.names...)
		if value != c.value {
			t.Errorf("%q %q: %q, want %q", c.prefix, c.names, value, c.value)
		}
		if (err == nil) != (c.says == "") || err != nil && err.Error() != c.says {
			t.Errorf("%q %q: error %v, want %q", c.prefix, c.names, err, c.says)
		}
	}
}
