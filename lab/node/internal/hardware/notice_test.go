package hardware_test

import (
	"os"
	"path/filepath"
	"testing"

	"cluster-stack/lab/node/internal/hardware"
)

// replace puts a new version of a file into place, as the hypervisor does it.
func replace(t *testing.T, path, text string) {
	t.Helper()

	draft := path + ".draft"
	if err := os.WriteFile(draft, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}

	if err := os.Rename(draft, path); err != nil {
		t.Fatal(err)
	}
}

func TestEveryVersionOfAFileIsSeen(t *testing.T) {
	t.Parallel()

	machine := &hardware.Machine{Dir: t.TempDir()}
	path := filepath.Join(machine.Dir, "faults.json")

	for _, version := range []struct {
		text string
		want float64
	}{
		{`{"clockOffsetSeconds": 1}`, 1}, {`{"clockOffsetSeconds": 2}`, 2}, {`{"clockOffsetSeconds": 3}`, 3}, {`no JSON`, 0},
		{`{"clockOffsetSeconds": 4}`, 4},
	} {
		replace(t, path, version.text)

		for range 2 { // the second time nobody reads the file
			if got := machine.Faults().ClockOffsetSeconds; got != version.want {
				t.Errorf("%s: %v s, want %v", version.text, got, version.want)
			}
		}
	}

	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}

	if got := machine.Faults().ClockOffsetSeconds; got != 0 {
		t.Errorf("without the file: %v s", got)
	}
}
