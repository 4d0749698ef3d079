package images

import (
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
