package network

import (
	"time"

	"cluster-stack/lab/node/internal/hardware"
)

// Leases are the DHCP leases that the machine holds.
type Leases struct {
	held map[string]heldLease
}

type heldLease struct {
	lease *hardware.DHCP
	until time.Time
}

// Current are the leases by MAC, given what DHCP offers now. One that was
// offered is held to its end, even when nobody answers any more; it is renewed
// each time that it is offered again, and another offer takes its place at once.
func (l *Leases) Current(offers map[string]*hardware.DHCP, now time.Time) map[string]*hardware.DHCP {
	current := make(map[string]*hardware.DHCP, len(offers))

	if l.held == nil {
		l.held = map[string]heldLease{}
	}

	for mac, offer := range offers {
		if offer != nil {
			l.held[mac] = heldLease{offer, now.Add(time.Duration(offer.LeaseSeconds) * time.Second)}
		}

		if held, ok := l.held[mac]; ok && (offer != nil || now.Before(held.until)) {
			current[mac] = held.lease
		}
	}

	return current
}
