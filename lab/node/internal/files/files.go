// Package files is as much of a machine's file system as clients look at: what
// is on its disk, and files that follow from what the machine knows.
package files

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// Tree is a file system: everything in it is below an absolute path.
type Tree struct {
	// Made are files by their path, with their content.
	Made map[string][]byte
	// Mounted are folders of the lab by the path at which the machine has them.
	Mounted map[string]string
}

// Entry is one file or folder.
type Entry struct {
	Path     string
	Size     int64
	Mode     fs.FileMode
	Modified time.Time
}

// Knows reports whether the lab has anything to say of a path: that it is not
// there, too.
func (t Tree) Knows(name string) bool {
	name = path.Clean("/" + name)

	if _, made := t.Made[name]; made || t.real(name) != "" {
		return true
	}

	return len(t.below(name)) > 0
}

// Read is the content of a file, or of the one that a link leads to.
func (t Tree) Read(name string) ([]byte, error) {
	name = path.Clean("/" + name)

	if content, made := t.Made[name]; made {
		return content, nil
	}

	entry, err := t.stat(name, "stat")
	if err != nil {
		return nil, err
	}

	if entry.Mode&fs.ModeSymlink != 0 {
		target, err := os.Stat(t.real(name))
		if err != nil {
			return nil, err
		}

		entry.Mode = target.Mode()
	}

	if !entry.Mode.IsRegular() {
		return nil, errors.New("path must be a regular file")
	}

	return os.ReadFile(t.real(name))
}

// List is a file, or a folder with what is in it: as many levels of folders in
// it as depth says, all of them when that is negative.
func (t Tree) List(root string, depth int) ([]Entry, error) {
	root = path.Clean("/" + root)

	entry, err := t.stat(root, "lstat")
	if err != nil {
		return nil, err
	}

	return t.walk(entry, depth), nil
}

func (t Tree) walk(entry Entry, depth int) []Entry {
	found := []Entry{entry}
	if !entry.Mode.IsDir() {
		return found
	}

	for _, name := range t.children(entry.Path) {
		child, err := t.stat(path.Join(entry.Path, name), "lstat")

		switch {
		case err != nil: // gone in the meantime
		case depth == 0:
			found = append(found, child)
		default:
			found = append(found, t.walk(child, depth-1)...)
		}
	}

	return found
}

const folderMode = fs.ModeDir | 0o755

func (t Tree) stat(name, operation string) (Entry, error) {
	if content, made := t.Made[name]; made {
		return Entry{Path: name, Size: int64(len(content)), Mode: 0o644}, nil
	}

	if real := t.real(name); real != "" {
		if info, err := os.Lstat(real); err == nil {
			return Entry{Path: name, Size: info.Size(), Mode: info.Mode(), Modified: info.ModTime()}, nil
		}
	}

	if len(t.below(name)) > 0 {
		return Entry{Path: name, Mode: folderMode}, nil
	}

	return Entry{}, &fs.PathError{Op: operation, Path: name, Err: syscall.ENOENT}
}

// children are the names in a folder.
func (t Tree) children(name string) []string {
	names := t.below(name)

	if real := t.real(name); real != "" {
		if entries, err := os.ReadDir(real); err == nil {
			for _, entry := range entries {
				names = append(names, entry.Name())
			}
		}
	}

	slices.Sort(names)

	return slices.Compact(names)
}

// below are the names in a folder that something made, or mounted, brings about.
func (t Tree) below(name string) []string {
	prefix := strings.TrimSuffix(name, "/") + "/"

	var names []string

	add := func(other string) {
		if rest, inside := strings.CutPrefix(other, prefix); inside {
			first, _, _ := strings.Cut(rest, "/")
			names = append(names, first)
		}
	}

	for made := range t.Made {
		add(made)
	}

	for mounted, folder := range t.Mounted {
		if _, err := os.Lstat(folder); err == nil {
			add(mounted)
		}
	}

	return names
}

// real is where a path is in the lab, or "".
func (t Tree) real(name string) string {
	longest := ""

	for mounted := range t.Mounted {
		if (name == mounted || strings.HasPrefix(name, mounted+"/")) && len(mounted) > len(longest) {
			longest = mounted
		}
	}

	if longest == "" {
		return ""
	}

	return filepath.Join(t.Mounted[longest], strings.TrimPrefix(name, longest))
}
