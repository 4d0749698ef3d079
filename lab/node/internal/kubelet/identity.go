package kubelet

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	cryptorand "crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	certificates "k8s.io/api/certificates/v1"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	certutil "k8s.io/client-go/util/cert"
	"k8s.io/client-go/util/certificate"
	"k8s.io/client-go/util/certificate/csr"
	"k8s.io/client-go/util/connrotation"
	"k8s.io/client-go/util/keyutil"

	"cluster-stack/lab/node/internal/kubeletapi"
)

const (
	// As a kubelet is configured if nothing is said.
	queriesPerSecond = 50
	burst            = 100
	heartbeatTimeout = 10 * time.Second

	handshakeTimeout = 10 * time.Second
	signedWithin     = 15 * time.Minute
	requestFirst     = 2 * time.Second
	requestLast      = 4 * time.Second // of a site: 32 s
	protobuf         = "application/vnd.kubernetes.protobuf"
)

// DialFunc makes a connection from the machine's network.
type DialFunc func(ctx context.Context, network, address string) (net.Conn, error)

// identity is who the kubelet is to the API server: the client certificate that
// it asks for, keeps on the machine's disk and renews; and the clients that use it.
type identity struct {
	settings    kubeletapi.Settings
	log         logr.Logger
	report      func(kubeletapi.Event)
	authorities *x509.CertPool
	connections *connrotation.Dialer
	transport   *http.Transport
	store       certificate.Store
	certificate atomic.Pointer[tls.Certificate]
	obtained    chan struct{} // closed when there is a certificate

	client    kubernetes.Interface
	heartbeat kubernetes.Interface // gives up before the next heartbeat is due
}

func newIdentity(
	settings kubeletapi.Settings, dial DialFunc, log logr.Logger, report func(kubeletapi.Event),
) (*identity, error) {
	authorities := x509.NewCertPool()
	if !authorities.AppendCertsFromPEM([]byte(settings.Authorities)) {
		return nil, errors.New("settings of the kubelet: authorities holds no PEM-encoded certificate")
	}

	directory := filepath.Join(settings.StateDirectory, "pki")
	if err := os.MkdirAll(directory, 0o700); err != nil {
		return nil, err
	}

	store, err := certificate.NewFileStoreWithLogger(log.V(1), "kubelet-client", directory, directory, "", "")
	if err != nil {
		return nil, fmt.Errorf("the kubelet's certificate in %s: %w", directory, err)
	}

	i := &identity{
		settings:    settings,
		log:         log,
		report:      report,
		authorities: authorities,
		connections: connrotation.NewDialer(connrotation.DialFunc(dial)),
		store:       store,
		obtained:    make(chan struct{}),
	}

	i.transport = i.newTransport(i.certificate.Load)

	if i.client, err = i.newClient(i.transport, 0); err != nil {
		return nil, err
	}

	i.heartbeat, err = i.newClient(i.transport, heartbeatTimeout)

	return i, err
}

// keep has a certificate until the context ends: the one that was kept, or a new one, which is renewed before it is over.
// The library's own manager does this too, but one that waits for the time to renew cannot be stopped.
func (i *identity) keep(ctx context.Context) {
	if kept, err := i.store.Current(); err == nil && i.usable(kept.Leaf) {
		i.use(kept)
	}

	delay := requestFirst

	for {
		wait := time.Duration(0)
		if current := i.certificate.Load(); current != nil {
			wait = time.Until(renewal(current.Leaf))
		}

		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}

		err := i.request(ctx)
		if err == nil {
			delay = requestFirst

			continue
		}

		i.log.Error(err, "No certificate was signed", "retry", delay)

		select {
		case <-ctx.Done():
			return
		case <-time.After(delay):
		}

		delay = min(2*delay, requestLast)
	}
}

// usable says whether a certificate that was kept is still good. Talos throws one of another name or authority away.
func (i *identity) usable(kept *x509.Certificate) bool {
	_, err := kept.Verify(x509.VerifyOptions{Roots: i.authorities, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})

	return err == nil && kept.Subject.CommonName == i.user()
}

// user is the node's name as a user of the API server.
func (i *identity) user() string { return "system:node:" + i.settings.NodeName }

// renewal is when most of a certificate's life is over; for each a bit different, so that not all nodes ask at once.
func renewal(certificate *x509.Certificate) time.Time {
	life := certificate.NotAfter.Sub(certificate.NotBefore)

	return certificate.NotBefore.Add(time.Duration(float64(life) * (0.7 + 0.2*rand.Float64()))) //nolint:gosec
}

// request asks for a certificate: with the one that there is, or with the bootstrap token.
func (i *identity) request(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, signedWithin)
	defer cancel()

	client := i.client

	if current := i.certificate.Load(); current == nil || time.Now().After(current.Leaf.NotAfter) {
		bootstrap, err := i.bootstrapClient()
		if err != nil {
			return err
		}

		client = bootstrap
	}

	key, err := ecdsa.GenerateKey(elliptic.P256(), cryptorand.Reader)
	if err != nil {
		return err
	}

	encodedKey, err := keyutil.MarshalPrivateKeyToPEM(key)
	if err != nil {
		return err
	}

	asked, err := certutil.MakeCSRFromTemplate(key, &x509.CertificateRequest{Subject: pkix.Name{
		CommonName: i.user(), Organization: []string{"system:nodes"},
	}})
	if err != nil {
		return err
	}

	name, uid, err := csr.RequestCertificateWithContext(
		ctx, client, asked, "", certificates.KubeAPIServerClientKubeletSignerName, nil,
		certificate.DefaultKubeletClientGetUsages(key), key,
	)
	if err != nil {
		return err
	}

	signed, err := csr.WaitForCertificate(ctx, client, name, uid)
	if err != nil {
		return fmt.Errorf("request %s: %w", name, err)
	}

	stored, err := i.store.Update(signed, encodedKey)
	if err != nil {
		return err
	}

	i.use(stored)

	return nil
}

// use makes a certificate the kubelet's.
func (i *identity) use(given *tls.Certificate) {
	first := i.certificate.Swap(given) == nil
	// Connections that are there keep the identity that they were made with.
	i.connections.CloseAll()

	i.log.Info("The kubelet has a client certificate", "subject", given.Leaf.Subject.String(), "until", given.Leaf.NotAfter)
	i.report(kubeletapi.Event{Certificate: &kubeletapi.Certificate{
		CommonName: given.Leaf.Subject.CommonName, NotAfter: given.Leaf.NotAfter,
	}})

	if first {
		close(i.obtained)
	}
}

// wait returns the client when it has a certificate.
func (i *identity) wait(ctx context.Context) (kubernetes.Interface, error) {
	select {
	case <-ctx.Done():
		return nil, fmt.Errorf("the kubelet has no client certificate yet: %w", ctx.Err())
	case <-i.obtained:
		return i.client, nil
	}
}

func (i *identity) close() {
	i.connections.CloseAll()
	i.transport.CloseIdleConnections()
}

func (i *identity) bootstrapClient() (kubernetes.Interface, error) {
	config := i.config()
	config.BearerToken = i.settings.BootstrapToken

	// A certificate is asked for once in a long while: this connection is not worth keeping.
	transport := i.newTransport(func() *tls.Certificate { return nil })
	transport.IdleConnTimeout = handshakeTimeout

	withToken, err := rest.HTTPWrappersForConfig(config, transport)
	if err != nil {
		return nil, err
	}

	return kubernetes.NewForConfigAndClient(config, &http.Client{Transport: withToken})
}

func (i *identity) newClient(transport http.RoundTripper, timeout time.Duration) (kubernetes.Interface, error) {
	config := i.config()

	withAgent, err := rest.HTTPWrappersForConfig(config, transport)
	if err != nil {
		return nil, err
	}

	return kubernetes.NewForConfigAndClient(config, &http.Client{Transport: withAgent, Timeout: timeout})
}

func (i *identity) config() *rest.Config {
	return &rest.Config{
		Host:      i.settings.Server,
		UserAgent: userAgent(i.settings),
		QPS:       queriesPerSecond,
		Burst:     burst,
		ContentConfig: rest.ContentConfig{
			AcceptContentTypes: protobuf + ",application/json",
			ContentType:        protobuf,
		},
	}
}

func (i *identity) newTransport(current func() *tls.Certificate) *http.Transport {
	return utilnet.SetTransportDefaults(&http.Transport{
		// The settings of whoever started the lab are not the machine's.
		Proxy:               func(*http.Request) (*url.URL, error) { return nil, nil },
		TLSHandshakeTimeout: handshakeTimeout,
		DialContext:         i.connections.DialContext,
		TLSClientConfig: &tls.Config{
			MinVersion: tls.VersionTLS12,
			RootCAs:    i.authorities,
			GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
				if certificate := current(); certificate != nil {
					return certificate, nil
				}

				return &tls.Certificate{}, nil
			},
		},
	})
}

// administratorClient is a client with credentials that the machine made, through the machine's network.
func (i *identity) administratorClient(given kubeletapi.Credentials) (kubernetes.Interface, func(), error) {
	config, client, err := i.administratorConfig(given)
	if err != nil {
		return nil, nil, err
	}

	made, err := kubernetes.NewForConfigAndClient(config, client)

	return made, client.CloseIdleConnections, err
}

func (i *identity) administratorConfig(given kubeletapi.Credentials) (*rest.Config, *http.Client, error) {
	pair, err := tls.X509KeyPair([]byte(given.Certificate), []byte(given.Key))
	if err != nil {
		return nil, nil, fmt.Errorf("the administrator's certificate: %w", err)
	}

	authorities := x509.NewCertPool()
	if !authorities.AppendCertsFromPEM([]byte(given.Authorities)) {
		return nil, nil, errors.New("the administrator's authorities hold no PEM-encoded certificate")
	}

	transport := i.newTransport(func() *tls.Certificate { return &pair })
	transport.TLSClientConfig.RootCAs = authorities

	config := i.config()
	config.Host = given.Server

	return config, &http.Client{Transport: transport, Timeout: 3 * heartbeatTimeout}, nil
}
