package machine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/siderolabs/talos/pkg/machinery/constants"
	"github.com/siderolabs/talos/pkg/machinery/resources/k8s"
	"go.etcd.io/etcd/client/v3/concurrency"

	"cluster-stack/lab/node/internal/kubeletapi"
	"cluster-stack/lab/node/internal/manifests"
)

const (
	manifestsRetry  = 2 * time.Second
	downloadTimeout = 30 * time.Second
	largestManifest = 32 << 20
)

// runManifests brings the objects that the cluster begins with to the API
// server: at every boot, and when the configuration changes them. One control
// plane does so at a time.
func (l *life) runManifests(ctx context.Context) {
	extra := map[string]manifests.Manifest{} // what has been downloaded, by URL
	applied, complained := "", ""

	for ; ctx.Err() == nil; pause(ctx, manifestsRetry/4) {
		client := l.kubernetes.kubelet.Load()
		if client == nil || !l.node.Services.Up([]string{etcdService}) {
			continue
		}

		list, err := l.manifests(ctx, extra)
		if err == nil {
			var key []byte
			if key, err = json.Marshal(list); err == nil && string(key) == applied {
				continue
			}

			if err == nil {
				err = l.node.PublishManifests(list)
			}

			if err == nil {
				err = l.applyManifests(ctx, client, list)
			}

			if err == nil {
				applied, complained = string(key), ""
				err = l.node.PublishManifestStatus(list)
			}
		}

		if err != nil && ctx.Err() == nil {
			if err.Error() != complained {
				complained = err.Error()
				l.node.Logs.ControllerFailed("k8s.ManifestApplyController: " + complained)
			}

			pause(ctx, manifestsRetry)
		}
	}
}

// manifests are those of Talos and those of the configuration.
func (l *life) manifests(ctx context.Context, downloaded map[string]manifests.Manifest) ([]manifests.Manifest, error) {
	settings := l.node.Config()

	spec, err := manifests.NewConfig(settings)
	if err != nil {
		return nil, err
	}

	extra := manifests.NewExtra(settings)

	if err := l.node.PublishManifestConfigs(spec, extra); err != nil {
		return nil, err
	}

	list, err := manifests.Bootstrap(spec, settings.Cluster().Token())
	if err != nil {
		return nil, err
	}

	for _, one := range extra.ExtraManifests {
		manifest, err := l.extraManifest(ctx, one, downloaded)
		if err != nil {
			return nil, err
		}

		list = append(list, manifest)
	}

	manifests.Sort(list)

	return list, nil
}

func (l *life) extraManifest(
	ctx context.Context, one k8s.ExtraManifest, downloaded map[string]manifests.Manifest,
) (manifests.Manifest, error) {
	name := one.Priority + "-" + one.Name
	if one.URL == "" {
		return manifests.Parse(name, []byte(one.InlineManifest))
	}

	if manifest, there := downloaded[one.URL]; there {
		return manifest, nil
	}

	content, err := download(ctx, one)
	if err != nil {
		return manifests.Manifest{}, fmt.Errorf("error downloading %q: %w", one.URL, err)
	}

	l.node.Logs.Printf("downloaded manifest %q", one.URL)

	manifest, err := manifests.Parse(name, content)
	if err == nil {
		downloaded[one.URL] = manifest
	}

	return manifest, err
}

func download(ctx context.Context, one k8s.ExtraManifest) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, downloadTimeout)
	defer cancel()

	request, err := http.NewRequestWithContext(ctx, http.MethodGet, one.URL, nil)
	if err != nil {
		return nil, err
	}

	for name, value := range one.ExtraHeaders {
		request.Header.Add(name, value)
	}

	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}

	defer response.Body.Close() //nolint:errcheck // read to its end, or given up

	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("bad response code: %d", response.StatusCode)
	}

	return io.ReadAll(io.LimitReader(response.Body, largestManifest))
}

// applyManifests has the kubelet's player bring them to the API server, while
// no other control plane does.
func (l *life) applyManifests(ctx context.Context, client *kubeletapi.Client, list []manifests.Manifest) error {
	administrator, err := l.administrator()
	if err != nil {
		return err
	}

	request := kubeletapi.Manifests{Administrator: *administrator}

	for _, manifest := range list {
		for _, object := range manifest.Objects {
			encoded, err := json.Marshal(object)
			if err != nil {
				return fmt.Errorf("manifest %s: %w", manifest.Name, err)
			}

			request.Objects = append(request.Objects, encoded)
		}
	}

	return l.withEtcdLock(ctx, constants.EtcdTalosManifestApplyMutex, func(ctx context.Context) error {
		return client.ApplyManifests(ctx, request)
	})
}

// withEtcdLock does something while no other member of the cluster does.
func (l *life) withEtcdLock(ctx context.Context, name string, do func(context.Context) error) error {
	member := l.node.Etcd.Load()
	if member == nil {
		return errors.New("etcd is not there")
	}

	client, err := member.LocalClient()
	if err != nil {
		return fmt.Errorf("error creating etcd client: %w", err)
	}

	defer client.Close() //nolint:errcheck // the lock's session is what counts

	session, err := concurrency.NewSession(client, concurrency.WithContext(ctx))
	if err != nil {
		return fmt.Errorf("error creating etcd session: %w", err)
	}

	defer session.Close() //nolint:errcheck // a lease that is not revoked runs out

	mutex := concurrency.NewMutex(session, name)
	if err := mutex.Lock(ctx); err != nil {
		return fmt.Errorf("error acquiring mutex for key %s: %w", name, err)
	}

	defer mutex.Unlock(context.WithoutCancel(ctx)) //nolint:errcheck // goes with the session

	return do(ctx)
}
