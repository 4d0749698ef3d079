// Package agent is the QEMU guest agent, as the siderolabs/qemu-guest-agent
// extension runs it: the hypervisor asks over a channel, one JSON object per
// line each way.
package agent

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"strings"

	"cluster-stack/lab/node/internal/network"
)

// Extension is the system extension that brings the agent.
const Extension = "siderolabs/qemu-guest-agent"

const agentVersion = "9.2.0"

// Agent answers the hypervisor.
type Agent struct {
	// Interfaces are the machine's links with their addresses.
	Interfaces func() []network.Interface
	// Hostname is the machine's name.
	Hostname func() string
	// Shutdown powers off, halts or reboots the machine.
	Shutdown func(mode string) error
}

type request struct {
	Execute   string          `json:"execute"`
	Arguments json.RawMessage `json:"arguments"`
	ID        json.RawMessage `json:"id"`
}

type failure struct {
	Class       string `json:"class"`
	Description string `json:"desc"`
}

// Serve answers on the channel at path until the context ends.
func (a *Agent) Serve(ctx context.Context, path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}

	listener, err := (&net.ListenConfig{}).Listen(ctx, "unix", path)
	if err != nil {
		return fmt.Errorf("guest agent channel: %w", err)
	}

	stop := context.AfterFunc(ctx, func() { listener.Close() }) //nolint:errcheck
	defer stop()

	for {
		connection, err := listener.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}

			return err
		}

		go a.talk(ctx, connection)
	}
}

func (a *Agent) talk(ctx context.Context, connection net.Conn) {
	stop := context.AfterFunc(ctx, func() { connection.Close() }) //nolint:errcheck
	defer stop()
	defer connection.Close() //nolint:errcheck

	lines := bufio.NewScanner(connection)
	answers := json.NewEncoder(connection)

	for lines.Scan() {
		// clients may start with a byte that flushes the agent's parser
		line := strings.TrimLeft(lines.Text(), "\xff")
		if strings.TrimSpace(line) == "" {
			continue
		}

		var asked request

		answer := map[string]any{}

		if err := json.Unmarshal([]byte(line), &asked); err != nil {
			answer["error"] = failure{Class: "GenericError", Description: "JSON parse error, " + err.Error()}
		} else if value, problem := a.execute(asked); problem != nil {
			answer["error"] = problem
		} else if value != nil {
			answer["return"] = value
		} else {
			// the guest is going down: no answer, as QEMU documents
			continue
		}

		if len(asked.ID) > 0 {
			answer["id"] = asked.ID
		}

		if err := answers.Encode(answer); err != nil {
			return
		}
	}
}

// commands are the commands that the agent knows.
var commands = []string{
	"guest-get-host-name", "guest-get-osinfo", "guest-info", "guest-network-get-interfaces", "guest-ping", "guest-shutdown",
	"guest-sync", "guest-sync-delimited",
}

func (a *Agent) execute(asked request) (any, *failure) {
	switch asked.Execute {
	case "guest-ping":
		return map[string]any{}, nil
	case "guest-sync", "guest-sync-delimited":
		var arguments struct {
			ID int64 `json:"id"`
		}

		if err := json.Unmarshal(asked.Arguments, &arguments); err != nil {
			return nil, &failure{Class: "GenericError", Description: "Parameter 'id' is missing"}
		}

		return arguments.ID, nil
	case "guest-info":
		supported := make([]map[string]any, 0, len(commands))
		for _, name := range commands {
			supported = append(supported, map[string]any{"name": name, "enabled": true, "success-response": name != "guest-shutdown"})
		}

		return map[string]any{"version": agentVersion, "supported_commands": supported}, nil
	case "guest-get-host-name":
		return map[string]any{"host-name": a.Hostname()}, nil
	case "guest-get-osinfo":
		return map[string]any{"id": "talos", "name": "Talos"}, nil
	case "guest-network-get-interfaces":
		return described(a.Interfaces()), nil
	case "guest-shutdown":
		arguments := struct {
			Mode string `json:"mode"`
		}{Mode: "powerdown"}

		if len(asked.Arguments) > 0 {
			if err := json.Unmarshal(asked.Arguments, &arguments); err != nil {
				return nil, &failure{Class: "GenericError", Description: "Invalid parameter type for 'mode', expected: string"}
			}
		}

		if err := a.Shutdown(arguments.Mode); err != nil {
			return nil, &failure{Class: "GenericError", Description: err.Error()}
		}

		return nil, nil
	default:
		return nil, &failure{Class: "CommandNotFound", Description: fmt.Sprintf("The command %s has not been found", asked.Execute)}
	}
}

type address struct {
	Address string `json:"ip-address"`
	Type    string `json:"ip-address-type"`
	Prefix  int    `json:"prefix"`
}

type networkInterface struct {
	Name            string    `json:"name"`
	HardwareAddress string    `json:"hardware-address"`
	Addresses       []address `json:"ip-addresses,omitempty"`
}

func described(current []network.Interface) []networkInterface {
	list := make([]networkInterface, 0, len(current))

	for _, link := range current {
		entry := networkInterface{Name: link.Name, HardwareAddress: link.MAC}

		for _, prefix := range link.Addresses {
			entry.Addresses = append(entry.Addresses, describedAddress(prefix))
		}

		list = append(list, entry)
	}

	return list
}

func describedAddress(prefix netip.Prefix) address {
	kind := "ipv4"
	if prefix.Addr().Is6() {
		kind = "ipv6"
	}

	return address{Address: prefix.Addr().String(), Type: kind, Prefix: prefix.Bits()}
}
