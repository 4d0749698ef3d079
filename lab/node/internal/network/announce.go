package network

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"
)

// Announce tells everybody on a link that an address is there now: with a
// gratuitous ARP request, after which the others send to this machine. IPv6 does
// that by itself.
func Announce(link string, address netip.Addr) error {
	if !address.Is4() {
		return nil
	}

	card, err := net.InterfaceByName(link)
	if err != nil {
		return err
	}

	socket, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("announcing %s on %s: %w", address, link, err)
	}

	defer unix.Close(socket) //nolint:errcheck // nothing is read from it

	everybody := &unix.SockaddrLinklayer{
		Protocol: networkOrder(unix.ETH_P_ARP), Ifindex: card.Index, Halen: uint8(len(broadcastMAC)),
	}
	copy(everybody.Addr[:], broadcastMAC)

	if err := unix.Sendto(socket, gratuitousARP(card.HardwareAddr, address), 0, everybody); err != nil {
		return fmt.Errorf("announcing %s on %s: %w", address, link, err)
	}

	return nil
}

var broadcastMAC = net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

// gratuitousARP is a request for one's own address (RFC 826, RFC 5227).
func gratuitousARP(sender net.HardwareAddr, address netip.Addr) []byte {
	const (
		ethernet, ipv4 = 1, unix.ETH_P_IP
		request        = 1
	)

	packet := binary.BigEndian.AppendUint16(nil, ethernet)
	packet = binary.BigEndian.AppendUint16(packet, ipv4)
	packet = append(packet, byte(len(sender)), byte(address.BitLen()/8))
	packet = binary.BigEndian.AppendUint16(packet, request)
	packet = append(packet, sender...)
	packet = append(packet, address.AsSlice()...)
	packet = append(packet, make([]byte, len(sender))...)

	return append(packet, address.AsSlice()...)
}

func networkOrder(value uint16) uint16 {
	return binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, value))
}
