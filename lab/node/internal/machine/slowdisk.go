package machine

import (
	"context"
	"time"

	"cluster-stack/lab/node/internal/etcd"
)

const (
	// writing is how long a member works between two writes that the disk
	// takes its time for.
	writing = 50 * time.Millisecond

	// looking is how soon a disk becomes slow, or quick again.
	looking = time.Second
)

// slowDisk has the member of etcd stand still for as long as the machine's disk
// takes to write, again and again: it waits for its disk at every change, and
// can do nothing else until then, not even tell the others that it is there.
func (l *life) slowDisk(ctx context.Context, member *etcd.Member) {
	for {
		pause := looking

		if delay := l.hw.Faults().DiskDelay(); delay > 0 {
			if running := member.Process(); running != nil {
				running.Hold(delay)

				pause = writing
			}
		}

		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
	}
}
