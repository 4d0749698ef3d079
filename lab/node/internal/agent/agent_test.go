package agent_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cluster-stack/lab/node/internal/agent"
	"cluster-stack/lab/node/internal/network"
)

func TestTheProtocol(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()

	modes := make(chan string, 1)
	guest := &agent.Agent{
		Interfaces: func() []network.Interface {
			return []network.Interface{
				{Name: "lo", MAC: "00:00:00:00:00:00", Addresses: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/8")}},
				{Name: "eth0", MAC: "bc:24:11:00:00:01", Addresses: []netip.Prefix{netip.MustParsePrefix("10.5.0.11/16")}},
			}
		},
		Hostname: func() string { return "cp1" },
		Shutdown: func(mode string) error {
			if mode == "hibernate" {
				return errors.New("mode is invalid")
			}

			modes <- mode

			return nil
		},
	}

	path := filepath.Join(t.TempDir(), "agent.sock")

	go guest.Serve(ctx, path) //nolint:errcheck

	var channel net.Conn

	for {
		var err error

		if channel, err = net.Dial("unix", path); err == nil {
			break
		}

		time.Sleep(time.Millisecond)
	}

	defer channel.Close() //nolint:errcheck

	lines := bufio.NewScanner(channel)

	for _, test := range []struct{ ask, answer string }{
		{`{"execute":"guest-ping"}`, `{"return":{}}`},
		{"\xff" + `{"execute":"guest-sync","arguments":{"id":42},"id":"x"}`, `{"id":"x","return":42}`},
		{`{"execute":"guest-get-host-name"}`, `{"return":{"host-name":"cp1"}}`},
		{
			`{"execute":"guest-network-get-interfaces"}`,
			`{"name":"eth0","hardware-address":"bc:24:11:00:00:01","ip-addresses":[{"ip-address":"10.5.0.11","ip-address-type":"ipv4","prefix":16}]}`,
		},
		{`{"execute":"guest-info"}`, `{"enabled":true,"name":"guest-shutdown","success-response":false}`},
		{`{"execute":"guest-fly"}`, `"class":"CommandNotFound"`},
		{`{"execute":`, `"class":"GenericError"`},
		{`{"execute":"guest-shutdown","arguments":{"mode":"hibernate"}}`, `"desc":"mode is invalid"`},
	} {
		fmt.Fprintln(channel, test.ask)

		if !lines.Scan() || !strings.Contains(lines.Text(), test.answer) {
			t.Errorf("%s: %s", test.ask, lines.Text())
		}
	}

	fmt.Fprintln(channel, `{"execute":"guest-shutdown"}`)

	if mode := <-modes; mode != "powerdown" {
		t.Error(mode)
	}
}
