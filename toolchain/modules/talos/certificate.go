package main

import (
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"time"
)

// now is the clock against which certificates expire; tests move it.
var now = time.Now

// expiry is when a certificate, as base64 of PEM, ends.
func expiry(certificate string) (time.Time, error) {
	data, err := base64.StdEncoding.DecodeString(certificate)
	if err != nil {
		return time.Time{}, fmt.Errorf("failed to decode the client certificate: %w", err)
	}

	block, _ := pem.Decode(data)
	if block == nil {
		return time.Time{}, errors.New("failed to decode the client certificate: not PEM")
	}

	parsed, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return time.Time{}, fmt.Errorf("failed to parse the client certificate: %w", err)
	}

	return parsed.NotAfter, nil
}
