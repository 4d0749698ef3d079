// Package servicerules programs a machine's kernel as a node's proxy of services
// and its pod network do: connections to a service's address end at one of its
// pods, and what pods send to the world outside comes from their node. IPv4 only.
package servicerules

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"cluster-stack/lab/node/internal/kubeletapi"
)

const tableName = "lab-services"

// Where the headers of IPv4, TCP and UDP have what the rules look at.
const (
	sourceOffset, destinationOffset, addressLength = 12, 16, 4
	portOffset, portLength                         = 2, 2
)

// Apply makes the rules be those of these services, in one step.
func Apply(podSubnets []netip.Prefix, services []kubeletapi.Service) error {
	connection, err := nftables.New()
	if err != nil {
		return fmt.Errorf("nftables: %w", err)
	}

	table := &nftables.Table{Family: nftables.TableFamilyIPv4, Name: tableName}
	connection.AddTable(table)
	connection.DelTable(table) // the one that was there; adding it first keeps that from failing
	connection.AddTable(table)

	rules := rules{connection: connection, table: table}
	incoming := rules.chain("prerouting", nftables.ChainTypeNAT, nftables.ChainHookPrerouting, nftables.ChainPriorityNATDest)
	own := rules.chain("output", nftables.ChainTypeNAT, nftables.ChainHookOutput, nftables.ChainPriorityNATDest)
	forwarded := rules.chain("forward", nftables.ChainTypeFilter, nftables.ChainHookForward, nftables.ChainPriorityFilter)
	sent := rules.chain("reject", nftables.ChainTypeFilter, nftables.ChainHookOutput, nftables.ChainPriorityFilter)
	leaving := rules.chain("postrouting", nftables.ChainTypeNAT, nftables.ChainHookPostrouting, nftables.ChainPriorityNATSource)

	for _, service := range services {
		for _, port := range service.Ports {
			for _, address := range service.Addresses {
				if !address.Is4() {
					continue
				}

				reached := matches(address, port)

				for index, target := range port.Targets {
					picked := append(reached, pick(len(port.Targets)-index)...)
					rules.add(incoming, append(picked, toTarget(target)...))
					rules.add(own, append(picked, toTarget(target)...))
				}

				if len(port.Targets) == 0 {
					rules.add(forwarded, append(reached, refuse(port)))
					rules.add(sent, append(reached, refuse(port)))
				}
			}
		}
	}

	for _, subnet := range podSubnets {
		if subnet.Addr().Is4() {
			rules.add(leaving, fromPods(subnet))
		}
	}

	if err := connection.Flush(); err != nil {
		return fmt.Errorf("the kernel does not take the rules for services, which need nftables with NAT: %w", err)
	}

	return nil
}

type rules struct {
	connection *nftables.Conn
	table      *nftables.Table
}

func (r rules) chain(name string, kind nftables.ChainType, hook *nftables.ChainHook, priority *nftables.ChainPriority) *nftables.Chain {
	return r.connection.AddChain(&nftables.Chain{Name: name, Table: r.table, Type: kind, Hooknum: hook, Priority: priority})
}

func (r rules) add(chain *nftables.Chain, expressions []expr.Any) {
	r.connection.AddRule(&nftables.Rule{Table: r.table, Chain: chain, Exprs: expressions})
}

// matches is what goes to a port of a service.
func matches(address netip.Addr, port kubeletapi.ServicePort) []expr.Any {
	expressions := []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: destinationOffset, Len: addressLength},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: address.AsSlice()},
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{protocol(port)}},
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: portOffset, Len: portLength},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binary.BigEndian.AppendUint16(nil, port.Port)},
	}

	return expressions[:len(expressions):len(expressions)] // so that whoever appends gets a list of their own
}

func protocol(port kubeletapi.ServicePort) byte {
	if port.Protocol == "UDP" {
		return unix.IPPROTO_UDP
	}

	return unix.IPPROTO_TCP
}

// pick lets one of so many connections pass.
func pick(of int) []expr.Any {
	if of == 1 {
		return nil
	}

	return []expr.Any{
		&expr.Numgen{Register: 1, Modulus: uint32(of), Type: unix.NFT_NG_RANDOM}, //nolint:gosec // a few
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: make([]byte, addressLength)},
	}
}

func toTarget(target netip.AddrPort) []expr.Any {
	return []expr.Any{
		&expr.Immediate{Register: 1, Data: target.Addr().AsSlice()},
		&expr.Immediate{Register: 2, Data: binary.BigEndian.AppendUint16(nil, target.Port())},
		&expr.NAT{Type: expr.NATTypeDestNAT, Family: unix.NFPROTO_IPV4, RegAddrMin: 1, RegProtoMin: 2},
	}
}

func refuse(port kubeletapi.ServicePort) expr.Any {
	if protocol(port) == unix.IPPROTO_TCP {
		return &expr.Reject{Type: unix.NFT_REJECT_TCP_RST}
	}

	return &expr.Reject{Type: unix.NFT_REJECT_ICMP_UNREACH, Code: icmpPortUnreachable}
}

const icmpPortUnreachable = 3

// fromPods has what pods send to anything but pods come from the node.
func fromPods(subnet netip.Prefix) []expr.Any {
	return append(within(sourceOffset, subnet, expr.CmpOpEq), append(within(destinationOffset, subnet, expr.CmpOpNeq), &expr.Masq{})...)
}

func within(offset uint32, subnet netip.Prefix, how expr.CmpOp) []expr.Any {
	mask := binary.BigEndian.AppendUint32(nil, ^uint32(0)<<(addressLength*8-subnet.Bits()))

	return []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: addressLength},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: addressLength, Mask: mask, Xor: make([]byte, addressLength)},
		&expr.Cmp{Op: how, Register: 1, Data: subnet.Masked().Addr().AsSlice()},
	}
}
