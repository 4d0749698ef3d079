package installer

import (
	"strings"
	"testing"
)

func TestWhichVersionsAnInstallerReplaces(t *testing.T) {
	for _, test := range []struct{ host, installer, complaint string }{
		{"v1.11.5", "v1.13.0", ""},
		{"v1.12.0", "v1.13.0", ""},
		{"v1.13.0", "v1.12.1", ""},
		{"v1.13.0", "v1.13.0", ""},
		{"v1.10.9", "v1.13.0", "host version 1.10.9 is too old to upgrade to Talos 1.13.0"},
		{"v1.13.0", "v1.10.0", "host version 1.13.0 is too new to downgrade to Talos 1.10.0"},
		{"v1.13.0", "v1.14.0", "upgrades to version 1.14.0 are not supported"},
	} {
		err := checkVersion(test.host, test.installer)
		if (err == nil) != (test.complaint == "") || (err != nil && !strings.Contains(err.Error(), test.complaint)) {
			t.Errorf("%s to %s: %v", test.host, test.installer, err)
		}
	}
}
