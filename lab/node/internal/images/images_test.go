package images

import (
	"archive/tar"
	"bytes"
	"errors"
	"strings"
	"testing"

	"cluster-stack/lab/node/internal/hardware"
)

func TestWhatSurvivesABoot(t *testing.T) {
	disk := &hardware.Disk{Device: "/dev/sda", Path: t.TempDir()}
	system := func() *hardware.Disk { return disk }
	store := NewStore(system, "amd64")
	image := Image{Name: "factory.talos.dev/metal-installer/abc:v1.13.0", Digest: "sha256:00", Installs: hardware.Image{Version: "v1.13.0"}}

	for _, place := range []Place{InMemory, System} {
		if err := store.add(place, image); err != nil {
			t.Fatal(err)
		}
	}

	for place, expected := range map[Place][2]int{InMemory: {1, 0}, System: {1, 1}, CRI: {0, 0}} {
		for boot, booted := range []*Store{store, NewStore(system, "amd64")} {
			found, err := booted.List(place)
			if err != nil || len(found) != expected[boot] {
				t.Errorf("%s in boot %d: %v, %v", place, boot, found, err)
			}
		}
	}

	if pinned := image.Pinned(); pinned != "factory.talos.dev/metal-installer/abc@sha256:00" {
		t.Error(pinned)
	}

	again, err := NewStore(system, "amd64").Get(System, image.Name)
	if err != nil || again == nil || again.Installs.Version != "v1.13.0" {
		t.Errorf("%v, %v", again, err)
	}
}

// archive has files in the order of their names and contents.
func archive(t *testing.T, files ...string) *bytes.Buffer {
	t.Helper()

	var buffer bytes.Buffer

	writer := tar.NewWriter(&buffer)

	for i := 0; i < len(files); i += 2 {
		if err := writer.WriteHeader(&tar.Header{Name: files[i], Size: int64(len(files[i+1])), Mode: 0o600}); err != nil {
			t.Fatal(err)
		}

		if _, err := writer.Write([]byte(files[i+1])); err != nil {
			t.Fatal(err)
		}
	}

	if err := writer.Close(); err != nil {
		t.Fatal(err)
	}

	return &buffer
}

func TestWhatIsInAnArchive(t *testing.T) {
	const (
		docker = `[{"Config": "c", "RepoTags": ["registry.example/one:v1", "registry.example/one:latest"]}, {"RepoTags": null}]`
		oci    = `{"manifests": [{"digest": "sha256:02", "annotations": {"io.containerd.image.name": "registry.example/two:v1"}}, {"digest": "sha256:03"}]}`
	)

	for name, test := range map[string]struct {
		files    []string
		expected string
	}{
		"docker save":     {[]string{"layer.tar.gz", "...", "manifest.json", docker}, "registry.example/one:v1 registry.example/one:latest"},
		"an OCI layout":   {[]string{"oci-layout", "{}", "index.json", oci}, "registry.example/two:v1"},
		"both":            {[]string{"index.json", oci, "manifest.json", docker}, "registry.example/two:v1"},
		"no names":        {[]string{"index.json", `{"manifests": [{"digest": "sha256:03"}]}`}, ""},
		"other files":     {[]string{"README", "..."}, "unrecognized image format: EOF"},
		"a broken list":   {[]string{"manifest.json", "{"}, "unrecognized image format: manifest.json: unexpected end of JSON input"},
		"a wrong archive": {nil, "unrecognized image format: EOF"},
	} {
		t.Run(name, func(t *testing.T) {
			store := NewStore(func() *hardware.Disk { return nil }, "amd64")
			imported, err := store.Import(InMemory, archive(t, test.files...))

			var names []string
			for _, image := range imported {
				names = append(names, image.Name)
			}

			if err != nil {
				names = []string{err.Error()}

				if !errors.Is(err, ErrNoArchive) {
					t.Error(err)
				}
			}

			if found := strings.Join(names, " "); found != test.expected {
				t.Errorf("%q", found)
			}
		})
	}
}

func TestWhatIsRemovedIsGone(t *testing.T) {
	disk := &hardware.Disk{Device: "/dev/sda", Path: t.TempDir()}
	system := func() *hardware.Disk { return disk }
	store := NewStore(system, "amd64")

	for _, place := range []Place{InMemory, CRI} {
		if err := store.add(place, Image{Name: "one"}); err != nil {
			t.Fatal(err)
		}

		for _, expected := range []bool{true, false} {
			if removed, err := store.Remove(place, "one"); err != nil || removed != expected {
				t.Errorf("%s: %v, %v", place, removed, err)
			}
		}
	}

	if found, err := NewStore(system, "amd64").List(CRI); err != nil || len(found) != 0 {
		t.Errorf("%v, %v", found, err)
	}
}
