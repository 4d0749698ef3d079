package node

import (
	"encoding/json"
	"fmt"
	"maps"

	"github.com/cosi-project/runtime/pkg/resource"
	"github.com/siderolabs/talos/pkg/machinery/resources/runtime"

	"cluster-stack/lab/node/internal/hardware"
)

const tagsFile = "tags.json"

// tags are what the META partition keeps from boot to boot.
type tags map[uint8]string

// MetaTag reads a tag of the META partition.
func (n *Node) MetaTag(tag uint8) (value string, found bool, err error) {
	disk := n.Disk()
	if disk == nil {
		return "", false, nil
	}

	stored, err := readTags(disk)
	value, found = stored[tag]

	return value, found, err
}

// ChangeMeta writes tags to the META partition and takes others away, in one
// step.
func (n *Node) ChangeMeta(written map[uint8]string, dropped ...uint8) error {
	n.metaMu.Lock()
	defer n.metaMu.Unlock()

	disk := n.Disk()
	if disk == nil {
		return fmt.Errorf("META partition not found: nothing is installed")
	}

	stored, err := readTags(disk)
	if err != nil {
		return err
	}

	maps.Copy(stored, written)

	for _, tag := range dropped {
		delete(stored, tag)
	}

	data, err := json.Marshal(stored)
	if err != nil {
		return err
	}

	if err := disk.Write(hardware.MetaLabel, tagsFile, data); err != nil {
		return err
	}

	return n.publishMeta(stored)
}

// PublishMeta publishes what the META partition has.
func (n *Node) PublishMeta() error {
	disk := n.Disk()
	if disk == nil {
		return nil
	}

	stored, err := readTags(disk)
	if err != nil {
		return err
	}

	return n.publishMeta(stored)
}

func (n *Node) publishMeta(stored tags) error {
	var wanted []resource.Resource

	for tag, value := range stored {
		key := runtime.NewMetaKey(runtime.NamespaceName, runtime.MetaKeyTagToID(tag))
		key.TypedSpec().Value = value
		wanted = append(wanted, key)
	}

	return n.replace(runtime.NamespaceName, runtime.MetaKeyType, wanted)
}

func readTags(disk *hardware.Disk) (tags, error) {
	stored := tags{}

	data, err := disk.Read(hardware.MetaLabel, tagsFile)
	if err != nil || data == nil {
		return stored, err
	}

	if err := json.Unmarshal(data, &stored); err != nil {
		return nil, fmt.Errorf("META partition of %s: %w", disk.Device, err)
	}

	return stored, nil
}
