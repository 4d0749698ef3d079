package talosaccess

import (
	"context"
	"errors"
	"time"

	"github.com/siderolabs/talos/pkg/machinery/constants"
	"github.com/siderolabs/talos/pkg/machinery/role"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/klog/v2"

	"cluster-stack/lab/node/internal/kubeletapi"
)

const (
	component = "talos-sa-controller"

	// lookAgain is how often every service account is looked at: certificates come of age without a change.
	lookAgain = time.Minute
)

// accounts gives every service account of Talos its Secret.
type accounts struct {
	client   kubernetes.Interface
	api      dynamic.NamespaceableResourceInterface
	accounts cache.Store
	secrets  cache.Store
	queue    workqueue.TypedRateLimitingInterface[string]
	recorder record.EventRecorder
	rules    kubeletapi.AccessRules
	issuer   issuer
}

// KeepAccounts serves the service accounts until the context ends. One control plane at a time may do so.
func KeepAccounts(
	ctx context.Context, client kubernetes.Interface, api dynamic.Interface, given kubeletapi.ServiceAccounts,
) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()

	a := &accounts{
		client: client, api: api.Resource(resource), rules: given.Rules,
		issuer: newIssuer(given.Authority, func() time.Time { return time.Now().Add(given.ClockOffset) }),
		queue:  workqueue.NewTypedRateLimitingQueue(workqueue.DefaultTypedControllerRateLimiter[string]()),
	}

	events := record.NewBroadcaster(record.WithContext(ctx))
	events.StartRecordingToSink(&typedcorev1.EventSinkImpl{Interface: client.CoreV1().Events(metav1.NamespaceAll)})
	a.recorder = events.NewRecorder(scheme.Scheme, corev1.EventSource{Component: component})

	if err := a.watch(ctx); err != nil {
		return err
	}

	klog.FromContext(ctx).Info("Serving the service accounts of Talos", "namespaces", given.Rules.Namespaces, "roles", given.Rules.Roles)
	defer klog.FromContext(ctx).Info("No longer serving the service accounts of Talos")

	stop := context.AfterFunc(ctx, a.queue.ShutDown)
	defer stop()

	for {
		key, over := a.queue.Get()
		if over {
			return ctx.Err()
		}

		if err := a.sync(ctx, key); err != nil {
			klog.FromContext(ctx).Info("A service account of Talos is looked at again", "account", key, "error", err)
			a.queue.AddRateLimited(key)
		} else {
			a.queue.Forget(key)
		}

		a.queue.Done(key)
	}
}

// watch follows service accounts and Secrets, and returns when all are known that there are.
func (a *accounts) watch(ctx context.Context) error {
	store, following := cache.NewInformerWithOptions(cache.InformerOptions{
		ListerWatcher: cache.ToListWatcherWithWatchListSemantics(&cache.ListWatch{
			ListWithContextFunc: func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
				return a.api.List(ctx, options)
			},
			WatchFuncWithContext: func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
				return a.api.Watch(ctx, options)
			},
		}, a.api),
		ObjectType: &unstructured.Unstructured{}, ResyncPeriod: lookAgain,
		Handler: cache.ResourceEventHandlerFuncs{
			AddFunc:    a.enqueue,
			UpdateFunc: func(_, object any) { a.enqueue(object) },
		},
	})

	secrets, followingSecrets := cache.NewInformerWithOptions(cache.InformerOptions{
		ListerWatcher: cache.NewListWatchFromClient(
			a.client.CoreV1().RESTClient(), "secrets", metav1.NamespaceAll, fields.Everything(),
		),
		ObjectType: &corev1.Secret{}, Transform: withoutForeignData,
		Handler: cache.ResourceEventHandlerFuncs{
			AddFunc:    a.enqueueOwner,
			UpdateFunc: func(_, object any) { a.enqueueOwner(object) },
			DeleteFunc: a.enqueueOwner,
		},
	})

	a.accounts, a.secrets = store, secrets

	go following.RunWithContext(ctx)
	go followingSecrets.RunWithContext(ctx)

	if !cache.WaitForCacheSync(ctx.Done(), following.HasSynced, followingSecrets.HasSynced) {
		return ctx.Err()
	}

	return nil
}

// withoutForeignData keeps of other people's Secrets only that they are there.
func withoutForeignData(object any) (any, error) {
	if secret, isSecret := object.(*corev1.Secret); isSecret && ownerOf(secret) == "" {
		secret.Data = nil
		secret.SetManagedFields(nil)
	}

	return object, nil
}

func (a *accounts) enqueue(object any) {
	if key, err := cache.MetaNamespaceKeyFunc(object); err == nil {
		a.queue.Add(key)
	}
}

// enqueueOwner has the service account looked at that a Secret belongs to.
func (a *accounts) enqueueOwner(object any) {
	if unknown, missed := object.(cache.DeletedFinalStateUnknown); missed {
		object = unknown.Obj
	}

	secret, err := meta.Accessor(object)
	if err != nil {
		return
	}

	if owner := ownerOf(secret); owner != "" {
		a.queue.Add(cache.NewObjectName(secret.GetNamespace(), owner).String())
	}
}

// sync brings one service account's Secret to what it is to be. An error has it looked at again.
func (a *accounts) sync(ctx context.Context, key string) error {
	account := find[*unstructured.Unstructured](a.accounts, key)
	if account == nil {
		return nil
	}

	secret := find[*corev1.Secret](a.secrets, key)

	roles, refused := judge(a.rules, account, secret)
	if refused != nil {
		if err := a.tell(ctx, account, refused.message); err != nil {
			return err
		}

		a.recorder.Event(account, corev1.EventTypeWarning, refused.reason, refused.message)

		if refused.passing {
			return errors.New(refused.message)
		}

		return nil
	}

	if err := a.bring(ctx, account, secret, roles); err != nil {
		return err
	}

	if err := a.tell(ctx, account, ""); err != nil {
		return err
	}

	a.recorder.Event(account, corev1.EventTypeNormal, "Synced", "Synced successfully")

	return nil
}

// find is the object of a store under a key, nil where there is none.
func find[T any](store cache.Store, key string) T {
	object, _, _ := store.GetByKey(key) //nolint:errcheck // a store in memory has no errors
	found, _ := object.(T)

	return found
}

// bring makes the Secret, or renews what is in it.
func (a *accounts) bring(
	ctx context.Context, account *unstructured.Unstructured, secret *corev1.Secret, roles role.Set,
) error {
	if secret != nil && a.issuer.holds(secret.Data[constants.TalosconfigFilename], roles) {
		return nil
	}

	talosconfig, err := a.issuer.issue(roles)
	if err != nil {
		return err
	}

	api := a.client.CoreV1().Secrets(account.GetNamespace())

	if secret == nil {
		_, err = api.Create(ctx, &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{
				Name: account.GetName(), OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(account, kind)},
			},
			Data: map[string][]byte{constants.TalosconfigFilename: talosconfig},
		}, metav1.CreateOptions{})

		return err
	}

	renewed := secret.DeepCopy()
	if renewed.Data == nil {
		renewed.Data = map[string][]byte{}
	}

	renewed.Data[constants.TalosconfigFilename] = talosconfig
	_, err = api.Update(ctx, renewed, metav1.UpdateOptions{})

	return err
}

// tell writes into the status why there is no talosconfig, or that nothing is wrong.
func (a *accounts) tell(ctx context.Context, account *unstructured.Unstructured, problem string) error {
	if said, _, _ := unstructured.NestedString(account.Object, "status", "failureReason"); said == problem {
		return nil
	}

	told := account.DeepCopy()
	if problem == "" {
		unstructured.RemoveNestedField(told.Object, "status", "failureReason")
	} else if err := unstructured.SetNestedField(told.Object, problem, "status", "failureReason"); err != nil {
		return err
	}

	_, err := a.api.Namespace(account.GetNamespace()).Update(ctx, told, metav1.UpdateOptions{})

	return err
}
