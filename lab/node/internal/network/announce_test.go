package network

import (
	"bytes"
	"net"
	"net/netip"
	"testing"
)

func TestAnAddressIsAnnouncedAsItsOwn(t *testing.T) {
	wanted := []byte{
		0, 1, 8, 0, 6, 4, 0, 1, // a request, Ethernet and IPv4
		0xbc, 0x24, 0x11, 0, 0, 1, 10, 5, 0, 9, // who has the address
		0, 0, 0, 0, 0, 0, 10, 5, 0, 9, // and whom it asks for
	}

	got := gratuitousARP(net.HardwareAddr{0xbc, 0x24, 0x11, 0, 0, 1}, netip.MustParseAddr("10.5.0.9"))
	if !bytes.Equal(got, wanted) {
		t.Errorf("%x\nwanted\n%x", got, wanted)
	}
}
