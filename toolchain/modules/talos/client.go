package main

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/siderolabs/crypto/x509"
	"github.com/siderolabs/talos/pkg/machinery/client"
	clientconfig "github.com/siderolabs/talos/pkg/machinery/client/config"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const (
	defaultTimeout  = 10 * time.Minute
	firstRetryDelay = 500 * time.Millisecond
	lastRetryDelay  = 10 * time.Second
)

// talosConfig makes a talosconfig with one context from a clientConfiguration.
func talosConfig(contextName string, credentials resource.PropertyMap) (*clientconfig.Config, error) {
	var decoded [3][]byte

	for i, key := range []resource.PropertyKey{"caCertificate", "clientCertificate", "clientKey"} {
		data, err := base64.StdEncoding.DecodeString(stringAt(credentials, key))
		if err != nil {
			// The error of the decoder would quote the value.
			return nil, fmt.Errorf("clientConfiguration.%s is not base64", key)
		}

		decoded[i] = data
	}

	return clientconfig.NewConfig(contextName, nil, decoded[0], &x509.PEMEncodedCertificateAndKey{
		Crt: decoded[1],
		Key: decoded[2],
	}), nil
}

// clientOf is the clientConfiguration that a resource uses: the write-only one goes first.
func clientOf(inputs resource.PropertyMap) (*clientconfig.Config, error) {
	credentials := objectAt(inputs, "clientConfigurationWo")
	if credentials == nil {
		credentials = objectAt(inputs, "clientConfiguration")
	}

	if credentials == nil {
		return nil, errors.New("both clientConfiguration and clientConfigurationWo are missing")
	}

	return talosConfig("dynamic", credentials)
}

// machine is a node and the way to it.
type machine struct {
	endpoint    string
	node        string
	credentials *clientconfig.Config
}

func machineOf(state resource.PropertyMap, credentials *clientconfig.Config) machine {
	return machine{endpoint: stringAt(state, "endpoint"), node: stringAt(state, "node"), credentials: credentials}
}

func (m machine) String() string {
	if m.endpoint == m.node {
		return "node " + m.node
	}

	return fmt.Sprintf("node %s (endpoint %s)", m.node, m.endpoint)
}

// do runs an operation on a machine. A machine that answers without client certificate is in maintenance mode: then the
// operation goes over that same unauthenticated connection; else over mutual TLS.
func (m machine) do(ctx context.Context, operation func(context.Context, *client.Client) error) error {
	ctx = client.WithNode(ctx, m.node)

	c, err := m.insecureClient(ctx)
	if err != nil {
		return err
	}

	if _, err = c.Disks(ctx); err != nil {
		c.Close() //nolint:errcheck

		c, err = client.New(ctx, client.WithConfig(m.credentials), client.WithEndpoints(m.endpoint))
		if err != nil {
			return err
		}
	}
	defer c.Close() //nolint:errcheck

	return operation(ctx, c)
}

func (m machine) insecureClient(ctx context.Context) (*client.Client, error) {
	return client.New(ctx,
		client.WithTLSConfig(&tls.Config{InsecureSkipVerify: true}), //nolint:gosec // maintenance mode has no CA
		client.WithEndpoints(m.endpoint),
	)
}

// retry repeats do until it succeeds, the timeout has passed or the machine says that the request itself is wrong.
func (m machine) retry(
	ctx context.Context, timeout time.Duration, operation func(context.Context, *client.Client) error,
) error {
	deadline, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()

	var last error

	for delay := firstRetryDelay; ; delay = min(2*delay, lastRetryDelay) {
		err := m.do(deadline, operation)
		if err == nil {
			return nil
		}

		// What failed only because time was up says less than the failure before it.
		if last == nil || deadline.Err() == nil {
			last = err
		}

		if status.Code(err) == codes.InvalidArgument {
			return last
		}

		select {
		case <-deadline.Done():
		case <-time.After(delay):
		}

		switch {
		case ctx.Err() != nil:
			return fmt.Errorf("canceled; last answer: %w", last)
		case deadline.Err() != nil:
			return fmt.Errorf("no success within %s; last answer: %w", timeout, last)
		}
	}
}

// timeoutOf is the timeout of an operation ("create", "update" or "delete") of a resource.
func timeoutOf(state resource.PropertyMap, operation resource.PropertyKey) (time.Duration, error) {
	value := stringAt(objectAt(state, "timeouts"), operation)
	if value == "" {
		return defaultTimeout, nil
	}

	return time.ParseDuration(value)
}

// checkTimeouts finds the timeouts that are no durations.
func checkTimeouts(inputs resource.PropertyMap) []failure {
	var failures []failure

	timeouts := objectAt(inputs, "timeouts")
	for _, name := range []resource.PropertyKey{"create", "update", "delete"} {
		if v := bare(timeouts[name]); v.IsString() {
			if _, err := time.ParseDuration(v.StringValue()); err != nil {
				failures = append(failures, failure{
					"timeouts." + string(name), fmt.Sprintf("%q is not a duration such as 30s or 2h45m", v.StringValue()),
				})
			}
		}
	}

	return failures
}

// exactlyOne finds out whether both or none of two inputs are set.
func exactlyOne(inputs resource.PropertyMap, one, other resource.PropertyKey) []failure {
	hasOne, hasOther := !isNull(inputs[one]), !isNull(inputs[other])

	switch {
	case hasOne && hasOther:
		return []failure{{reason: fmt.Sprintf("Only one of %s or %s can be set, not both", one, other)}}
	case !hasOne && !hasOther:
		return []failure{{reason: fmt.Sprintf("Exactly one of %s or %s must be set", one, other)}}
	}

	return nil
}
