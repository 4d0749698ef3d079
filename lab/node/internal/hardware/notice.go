package hardware

import (
	"encoding/json"
	"io/fs"
	"os"
	"sync"
)

// notice is a JSON file that the hypervisor replaces while the machine runs. It
// is asked for often, so it is read again only when another file is there.
type notice[T any] struct {
	mu    sync.Mutex
	info  fs.FileInfo
	value T
	ok    bool
}

// read is what the file says now; false where there is none, or it is no JSON.
// What it returns is everybody's: nobody may change it.
func (n *notice[T]) read(path string) (T, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()

	var none T

	info, err := os.Stat(path)
	if err != nil {
		n.info = nil

		return none, false
	}

	if n.info != nil && os.SameFile(n.info, info) && n.info.ModTime().Equal(info.ModTime()) && n.info.Size() == info.Size() {
		return n.value, n.ok
	}

	data, err := os.ReadFile(path)
	if err != nil {
		n.info = nil

		return none, false
	}

	var value T

	n.info, n.value, n.ok = info, none, false

	if json.Unmarshal(data, &value) == nil {
		n.value, n.ok = value, true
	}

	return n.value, n.ok
}
