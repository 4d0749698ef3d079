// Package clock is the machine's own clock: the host's, and off by as much as a
// fault of the site says. Only what the machine itself does goes by it; the
// programs that it starts have the host's.
package clock

import (
	"sync/atomic"
	"time"
)

var offset atomic.Int64

// Set puts the clock ahead of the host's, or behind it.
func Set(ahead time.Duration) { offset.Store(int64(ahead)) }

// Offset is how far the clock is ahead of the host's.
func Offset() time.Duration { return time.Duration(offset.Load()) }

// Now is the machine's time.
func Now() time.Time { return time.Now().Add(Offset()) }
