// Package images is the machine's containerd, as far as it knows images: what
// has been pulled or imported into which of its three places. Only installer
// images can be pulled: no registry of the lab has others.
package images

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"cluster-stack/lab/node/internal/factory"
	"cluster-stack/lab/node/internal/hardware"
)

// Place is where images are: a containerd and a namespace in it.
type Place string

// The places that a Talos machine has.
const (
	InMemory Place = "inmem"  // the system's own containerd, empty at each boot
	System   Place = "system" // the CRI containerd, for etcd and the kubelet
	CRI      Place = "cri"    // the CRI containerd, for what Kubernetes runs
)

const (
	storeLabel = "EPHEMERAL"
	storeFile  = "images.json"
)

// Image is one image that has been pulled or imported.
type Image struct {
	Name     string         `json:"name"`
	Digest   string         `json:"digest"`
	Pulled   time.Time      `json:"pulled"`
	Installs hardware.Image `json:"installs"`
}

// Pinned is the image by its digest.
func (i Image) Pinned() string {
	name, _, _ := strings.Cut(i.Name, "@")
	if colon := strings.LastIndex(name, ":"); colon > strings.LastIndex(name, "/") {
		name = name[:colon]
	}

	return name + "@" + i.Digest
}

// content is what each place has, by name.
type content map[Place]map[string]Image

// Store is the images of one machine. Those of the CRI containerd are on its
// disk.
type Store struct {
	disk   func() *hardware.Disk
	arch   string
	client *factory.Client

	mu     sync.Mutex
	memory map[string]Image
}

// NewStore is the store of a machine that has just booted.
func NewStore(disk func() *hardware.Disk, arch string) *Store {
	return &Store{disk: disk, arch: arch, client: factory.NewClient(), memory: map[string]Image{}}
}

// Pull pulls an image that is not there yet.
func (s *Store) Pull(ctx context.Context, place Place, reference string) (Image, error) {
	present, err := s.Get(place, reference)
	if err != nil {
		return Image{}, err
	}

	if present != nil {
		return *present, nil
	}

	pulled, err := s.client.Pull(ctx, reference, s.arch)
	if err != nil {
		return Image{}, err
	}

	image := Image{Name: reference, Digest: pulled.Digest, Pulled: time.Now().UTC(), Installs: pulled.Installs}

	return image, s.add(place, image)
}

// Get is an image that is there, or nil.
func (s *Store) Get(place Place, reference string) (*Image, error) {
	s.mu.Lock()
	defer s.mu.Unlock()

	stored, err := s.read()
	if err != nil {
		return nil, err
	}

	if image, found := stored[place][reference]; found {
		return &image, nil
	}

	return nil, nil
}

// List are the images of a place, by name.
func (s *Store) List(place Place) ([]Image, error) {
	s.mu.Lock()
	defer s.mu.Unlock()

	stored, err := s.read()
	if err != nil {
		return nil, err
	}

	return slices.SortedFunc(maps.Values(stored[place]), func(a, b Image) int { return strings.Compare(a.Name, b.Name) }), nil
}

func (s *Store) add(place Place, image Image) error {
	s.mu.Lock()
	defer s.mu.Unlock()

	if place == InMemory {
		s.memory[image.Name] = image

		return nil
	}

	stored, err := s.read()
	if err != nil {
		return err
	}

	if stored[place] == nil {
		stored[place] = map[string]Image{}
	}

	stored[place][image.Name] = image

	return s.write(stored)
}

// Remove forgets an image, and answers whether it was there.
func (s *Store) Remove(place Place, name string) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()

	stored, err := s.read()
	if err != nil {
		return false, err
	}

	if _, found := stored[place][name]; !found {
		return false, nil
	}

	delete(stored[place], name)

	return true, s.write(stored)
}

// write keeps what is on the disk there.
func (s *Store) write(stored content) error {
	if s.disk() == nil {
		return nil
	}

	delete(stored, InMemory)

	data, err := json.Marshal(stored)
	if err != nil {
		return err
	}

	return s.disk().Write(storeLabel, storeFile, data)
}

func (s *Store) read() (content, error) {
	stored := content{}

	if disk := s.disk(); disk != nil {
		data, err := disk.Read(storeLabel, storeFile)
		if err != nil {
			return nil, err
		}

		if data != nil {
			if err := json.Unmarshal(data, &stored); err != nil {
				return nil, fmt.Errorf("images on %s: %w", disk.Device, err)
			}
		}
	}

	stored[InMemory] = s.memory

	return stored, nil
}
