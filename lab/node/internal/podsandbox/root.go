// Package podsandbox gives the containers of a pod what a container runtime
// would: a network of the pod's own, and for each container a root file system
// with its program, its volumes and nothing else. There is no other isolation:
// users and processes are those of the lab.
package podsandbox

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Command is the word with which the machine's own program becomes a container.
const Command = "container"

// Container is what a process needs to know to become one.
type Container struct {
	// Root is an empty folder, over which the container's root is laid.
	Root string `json:"root"`
	// Binds are laid into it in this order.
	Binds []Bind `json:"binds"`
	// Program is the path of the program in the container.
	Program   string   `json:"program"`
	Arguments []string `json:"arguments,omitempty"`
	Env       []string `json:"env,omitempty"`
}

// Bind is a file or a folder of the machine in a container.
type Bind struct {
	Source   string `json:"source"`
	Target   string `json:"target"`
	ReadOnly bool   `json:"readOnly,omitempty"`
}

// Bind adds a file or a folder of the machine to the container.
func (c *Container) Bind(source, target string, readOnly bool) {
	c.Binds = append(c.Binds, Bind{Source: source, Target: target, ReadOnly: readOnly})
}

// devices are those that programs take for granted.
var devices = []string{"null", "zero", "full", "random", "urandom"}

// Become makes this process, which is in a mount namespace of its own, the container of a description. It returns only
// when it cannot.
func Become(description string) error {
	content, err := os.ReadFile(description)
	if err != nil {
		return err
	}

	var container Container
	if err := json.Unmarshal(content, &container); err != nil {
		return err
	}

	if err := unix.Mount("tmpfs", container.Root, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=0755"); err != nil {
		return fmt.Errorf("the root of a container: %w", err)
	}

	for _, folder := range []string{"dev", "proc", "tmp"} {
		if err := os.Mkdir(filepath.Join(container.Root, folder), 0o777); err != nil { //nolint:gosec // as in an image
			return err
		}
	}

	for _, device := range devices {
		container.Binds = append(container.Binds, Bind{Source: "/dev/" + device, Target: "/dev/" + device})
	}

	for _, bind := range container.Binds {
		if err := bind.mount(container.Root); err != nil {
			return fmt.Errorf("%s in a container: %w", bind.Target, err)
		}
	}

	if err := errors.Join(unix.Chroot(container.Root), os.Chdir("/")); err != nil {
		return err
	}

	arguments := append([]string{container.Program}, container.Arguments...)

	return unix.Exec(container.Program, arguments, container.Env)
}

func (b Bind) mount(root string) error {
	target := filepath.Join(root, b.Target)

	status, err := os.Stat(b.Source)
	if err != nil {
		return err
	}

	if status.IsDir() {
		err = os.MkdirAll(target, 0o755) //nolint:gosec // as in an image
	} else if err = os.MkdirAll(filepath.Dir(target), 0o755); err == nil { //nolint:gosec // as above
		err = os.WriteFile(target, nil, 0o600)
	}

	if err != nil {
		return err
	}

	if err := unix.Mount(b.Source, target, "", unix.MS_BIND, ""); err != nil {
		return err
	}

	if !b.ReadOnly {
		return nil
	}

	return unix.Mount("", target, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY|kept(target), "")
}

// kept are the flags of a mount that nobody may take away who did not set them.
func kept(path string) uintptr {
	var status unix.Statfs_t
	if err := unix.Statfs(path, &status); err != nil {
		return 0
	}

	return uintptr(status.Flags) & (unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC)
}
