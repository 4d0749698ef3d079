package files

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"testing"
)

func tree(t *testing.T) Tree {
	t.Helper()

	disk := t.TempDir()

	for _, name := range []string{"var/lib/kubelet/pki/cert.pem", "etcd/member/wal"} {
		path := filepath.Join(disk, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}

		if err := os.WriteFile(path, []byte("on disk"), 0o600); err != nil {
			t.Fatal(err)
		}
	}

	return Tree{
		Made:    map[string][]byte{"/etc/hostname": []byte("cp1\n"), "/var/log/apid.log": []byte("a line\n")},
		Mounted: map[string]string{"/var": filepath.Join(disk, "var"), "/var/lib/etcd": filepath.Join(disk, "etcd")},
	}
}

func TestFilesAreReadWhereverTheyComeFrom(t *testing.T) {
	for path, want := range map[string]string{
		"/etc/hostname": "cp1\n", "/var/lib/kubelet/pki/cert.pem": "on disk", "/var/lib/etcd/member/wal": "on disk",
	} {
		if got, err := tree(t).Read(path); err != nil || string(got) != want {
			t.Errorf("%s: %q, %v", path, got, err)
		}
	}
}

func TestALinkIsReadAndListedAsOne(t *testing.T) {
	tree := tree(t)
	folder := filepath.Join(tree.Mounted["/var"], "lib/kubelet/pki")

	if err := os.Symlink(filepath.Join(folder, "cert.pem"), filepath.Join(folder, "current.pem")); err != nil {
		t.Fatal(err)
	}

	if got, err := tree.Read("/var/lib/kubelet/pki/current.pem"); err != nil || string(got) != "on disk" {
		t.Errorf("%q, %v", got, err)
	}

	entries, err := tree.List("/var/lib/kubelet/pki/current.pem", 0)
	if err != nil || len(entries) != 1 || entries[0].Mode&fs.ModeSymlink == 0 {
		t.Errorf("%v, %v", entries, err)
	}
}

func TestWhatIsNotThereIsNotThere(t *testing.T) {
	if _, err := tree(t).Read("/var/lib/nothing"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("reading answered %v", err)
	}

	if _, err := tree(t).Read("/var/lib"); err == nil || err.Error() != "path must be a regular file" {
		t.Errorf("a folder was read: %v", err)
	}

	without := tree(t)
	without.Mounted["/var/lib/etcd"] = filepath.Join(t.TempDir(), "gone")

	if _, err := without.List("/var/lib/etcd", 0); err == nil || err.Error() != "lstat /var/lib/etcd: no such file or directory" {
		t.Errorf("listing answered %v", err)
	}

	if names := paths(t, without, "/var/lib", 0); !reflect.DeepEqual(names, []string{"/var/lib", "/var/lib/kubelet"}) {
		t.Errorf("listed %s", names)
	}
}

func TestALevelIsListedAndAllOfThem(t *testing.T) {
	if names := paths(t, tree(t), "/var/lib", 0); !reflect.DeepEqual(names, []string{"/var/lib", "/var/lib/etcd", "/var/lib/kubelet"}) {
		t.Errorf("one level: %s", names)
	}

	want := []string{
		"/", "/etc", "/etc/hostname", "/var", "/var/lib", "/var/lib/etcd", "/var/lib/etcd/member", "/var/lib/etcd/member/wal",
		"/var/lib/kubelet", "/var/lib/kubelet/pki", "/var/lib/kubelet/pki/cert.pem", "/var/log", "/var/log/apid.log",
	}
	if names := paths(t, tree(t), "/", -1); !reflect.DeepEqual(names, want) {
		t.Errorf("all levels: %s", names)
	}
}

func TestTheLabDoesNotPretendToHaveEveryFile(t *testing.T) {
	for path, want := range map[string]bool{"/etc": true, "/var/lib/x": true, "/usr/bin": false, "/proc/modules": false} {
		if got := tree(t).Knows(path); got != want {
			t.Errorf("%s: %t", path, got)
		}
	}
}

func paths(t *testing.T, tree Tree, root string, depth int) []string {
	t.Helper()

	entries, err := tree.List(root, depth)
	if err != nil {
		t.Fatal(err)
	}

	names := make([]string, 0, len(entries))
	for _, entry := range entries {
		names = append(names, entry.Path)
	}

	return names
}
