package api

import "testing"

func TestAVersionToGoBackToIsChecked(t *testing.T) {
	for version, want := range map[string]string{
		"3.5": "", "3.6": "", "4.0": "",
		"":      "version is required for etcd downgrade",
		"3":     "version should be in MAJOR.MINOR format",
		"3.5.1": "version should be in MAJOR.MINOR format",
		"x.5":   "major version should be a number",
		"3.x":   "minor version should be a number",
		"3.4":   "etcd downgrade is only supported to 3.5 and later versions",
	} {
		got := ""
		if err := validateDowngrade(version); err != nil {
			got = err.Error()
		}

		if want != "" {
			want = "rpc error: code = InvalidArgument desc = " + want
		}

		if got != want {
			t.Errorf("%q: %s", version, got)
		}
	}
}
