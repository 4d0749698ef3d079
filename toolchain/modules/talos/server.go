package main

import (
	"cmp"
	"context"
	"fmt"

	"github.com/pulumi/pulumi/sdk/v3/go/common/diag"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource/plugin"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource/urn"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi/provider"
	pulumirpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/structpb"
)

// metaKey is where the Terraform bridge keeps the schema version of a resource's state. With it the released plugin
// takes over a state that this one wrote, and the other way round.
const metaKey resource.PropertyKey = "__meta"

// resourceType is one kind of resource: plan decides what the state will be, create, update and delete bring it about.
// States and inputs come without marks of secrecy; the server adds those from the schema.
type resourceType interface {
	// schemaVersion is the version of the state's schema in the Terraform provider.
	schemaVersion() int
	// check finds what is wrong with inputs beyond their types.
	check(inputs resource.PropertyMap) []failure
	// plan is given a nil prior state on creation.
	plan(ctx context.Context, env environment, prior, inputs resource.PropertyMap) (plan, error)
	// create and update return the new state, the id in it included.
	create(ctx context.Context, inputs, planned resource.PropertyMap) (resource.PropertyMap, error)
	update(ctx context.Context, prior, inputs, planned resource.PropertyMap) (resource.PropertyMap, error)
	delete(ctx context.Context, state resource.PropertyMap) error
	// adopt makes a state from the id of `pulumi import`.
	adopt(id string) (resource.PropertyMap, error)
}

// function is one Pulumi function.
type function interface {
	check(args resource.PropertyMap) []failure
	call(args resource.PropertyMap) (resource.PropertyMap, error)
}

// environment is what a plan may say to the user.
type environment struct {
	warn func(message string)
}

type server struct {
	pulumirpc.UnimplementedResourceProviderServer

	host      *provider.HostClient
	schema    *packageSchema
	resources map[string]resourceType
	functions map[string]function
	factory   *imageFactory

	// Done when the engine cancels the deployment.
	running context.Context //nolint:containedctx
	cancel  context.CancelFunc
}

func newServer(host *provider.HostClient) (*server, error) {
	schema, err := loadSchema()
	if err != nil {
		return nil, err
	}

	running, cancel := context.WithCancel(context.Background())
	factory := &imageFactory{}

	return &server{
		host:    host,
		schema:  schema,
		factory: factory,
		running: running,
		cancel:  cancel,
		resources: map[string]resourceType{
			"talos:cluster/kubeconfig:Kubeconfig":                 kubeconfigResource{},
			"talos:imageFactory/schematic:Schematic":              schematicResource{factory},
			"talos:machine/bootstrap:Bootstrap":                   bootstrapResource{},
			"talos:machine/configurationApply:ConfigurationApply": applyResource{},
			"talos:machine/secrets:Secrets":                       secretsResource{},
		},
		functions: map[string]function{
			"talos:client/getConfiguration:getConfiguration":  clientConfigurationFunction{},
			"talos:machine/getConfiguration:getConfiguration": machineConfigurationFunction{},
		},
	}, nil
}

// operation is the context of one request: done when the request is, or when the engine cancels the deployment.
func (s *server) operation(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(s.running, cancel)

	return ctx, func() {
		stop()
		cancel()
	}
}

func (s *server) resourceOf(rawURN string) (string, resourceType, error) {
	u, err := urn.Parse(rawURN)
	if err != nil {
		return "", nil, status.Error(codes.InvalidArgument, err.Error())
	}

	token := string(u.Type())
	if r, ok := s.resources[token]; ok {
		return token, r, nil
	}

	return "", nil, status.Errorf(codes.Unimplemented, "the talos plugin %s has no resource %s", pluginVersion, token)
}

func (s *server) GetPluginInfo(context.Context, *emptypb.Empty) (*pulumirpc.PluginInfo, error) {
	return &pulumirpc.PluginInfo{Version: pluginVersion}, nil
}

func (s *server) Attach(context.Context, *pulumirpc.PluginAttach) (*emptypb.Empty, error) {
	return &emptypb.Empty{}, nil
}

func (s *server) GetSchema(context.Context, *pulumirpc.GetSchemaRequest) (*pulumirpc.GetSchemaResponse, error) {
	return &pulumirpc.GetSchemaResponse{Schema: string(schemaJSON)}, nil
}

func (s *server) Cancel(context.Context, *emptypb.Empty) (*emptypb.Empty, error) {
	s.cancel()

	return &emptypb.Empty{}, nil
}

func (s *server) CheckConfig(_ context.Context, req *pulumirpc.CheckRequest) (*pulumirpc.CheckResponse, error) {
	inputs, err := unmarshal(req.GetNews(), true)
	if err != nil {
		return nil, err
	}

	return &pulumirpc.CheckResponse{
		Inputs:   req.GetNews(),
		Failures: checkFailures(s.schema.check(s.schema.Provider.inputs(), inputs), inputs),
	}, nil
}

// DiffConfig never asks for a replacement: schematics that were registered with another factory are left as they are.
func (s *server) DiffConfig(context.Context, *pulumirpc.DiffRequest) (*pulumirpc.DiffResponse, error) {
	return &pulumirpc.DiffResponse{}, nil
}

func (s *server) Configure(_ context.Context, req *pulumirpc.ConfigureRequest) (*pulumirpc.ConfigureResponse, error) {
	config, err := unmarshal(req.GetArgs(), false)
	if err != nil {
		return nil, err
	}

	if *s.factory, err = newImageFactory(stringAt(config, "imageFactoryUrl")); err != nil {
		return nil, err
	}

	return &pulumirpc.ConfigureResponse{AcceptSecrets: true, SupportsPreview: true, AcceptResources: true}, nil
}

func (s *server) Check(_ context.Context, req *pulumirpc.CheckRequest) (*pulumirpc.CheckResponse, error) {
	token, r, err := s.resourceOf(req.GetUrn())
	if err != nil {
		return nil, err
	}

	inputs, err := unmarshal(req.GetNews(), true)
	if err != nil {
		return nil, err
	}

	spec := s.schema.Resources[token]

	failures := s.schema.check(spec.inputs(), inputs)
	if len(failures) == 0 {
		failures = r.check(inputs)
	}

	inputs = s.schema.markSecrets(spec.InputProperties, inputs)
	checked, err := marshal(inputs)

	return &pulumirpc.CheckResponse{Inputs: checked, Failures: checkFailures(failures, inputs)}, err
}

func (s *server) Diff(ctx context.Context, req *pulumirpc.DiffRequest) (*pulumirpc.DiffResponse, error) {
	_, r, err := s.resourceOf(req.GetUrn())
	if err != nil {
		return nil, err
	}

	prior, inputs, err := unmarshalBoth(req.GetOlds(), req.GetNews())
	if err != nil {
		return nil, err
	}

	ctx, done := s.operation(ctx)
	defer done()

	planned, err := r.plan(ctx, s.environment(ctx, req.GetUrn()), prior, inputs)
	if err != nil {
		return nil, err
	}

	changed := changedKeys(prior, planned.state)
	if len(changed) == 0 {
		return &pulumirpc.DiffResponse{Changes: pulumirpc.DiffResponse_DIFF_NONE}, nil
	}

	return &pulumirpc.DiffResponse{
		Changes:  pulumirpc.DiffResponse_DIFF_SOME,
		Diffs:    names(changed),
		Replaces: names(planned.replaces),
	}, nil
}

func (s *server) Create(ctx context.Context, req *pulumirpc.CreateRequest) (*pulumirpc.CreateResponse, error) {
	token, r, err := s.resourceOf(req.GetUrn())
	if err != nil {
		return nil, err
	}

	inputs, err := unmarshal(req.GetProperties(), false)
	if err != nil {
		return nil, err
	}

	ctx, done := s.operation(ctx)
	defer done()

	planned, err := r.plan(ctx, s.environment(ctx, req.GetUrn()), nil, inputs)
	if err != nil {
		return nil, err
	}

	if req.GetPreview() {
		properties, err := s.marshalState(token, planned.state)

		return &pulumirpc.CreateResponse{Properties: properties}, err
	}

	state, err := r.create(ctx, inputs, planned.state)
	if err != nil {
		return nil, err
	}

	properties, err := s.marshalState(token, versioned(r, state))

	return &pulumirpc.CreateResponse{Id: stringAt(state, idKey), Properties: properties}, err
}

func (s *server) Update(ctx context.Context, req *pulumirpc.UpdateRequest) (*pulumirpc.UpdateResponse, error) {
	token, r, err := s.resourceOf(req.GetUrn())
	if err != nil {
		return nil, err
	}

	prior, inputs, err := unmarshalBoth(req.GetOlds(), req.GetNews())
	if err != nil {
		return nil, err
	}

	ctx, done := s.operation(ctx)
	defer done()

	planned, err := r.plan(ctx, s.environment(ctx, req.GetUrn()), prior, inputs)
	if err != nil {
		return nil, err
	}

	if req.GetPreview() {
		properties, err := s.marshalState(token, planned.state)

		return &pulumirpc.UpdateResponse{Properties: properties}, err
	}

	state, err := r.update(ctx, prior, inputs, planned.state)
	if err != nil {
		return nil, err
	}

	properties, err := s.marshalState(token, versioned(r, state))

	return &pulumirpc.UpdateResponse{Properties: properties}, err
}

// Read answers a refresh with the state that it was given: nothing is read back. The state's id may be news to the
// engine, which takes no id from an update. Without a state it imports.
func (s *server) Read(_ context.Context, req *pulumirpc.ReadRequest) (*pulumirpc.ReadResponse, error) {
	token, r, err := s.resourceOf(req.GetUrn())
	if err != nil {
		return nil, err
	}

	if state := req.GetProperties(); len(state.GetFields()) > 0 {
		id := cmp.Or(state.GetFields()[string(idKey)].GetStringValue(), req.GetId())

		return &pulumirpc.ReadResponse{Id: id, Properties: state, Inputs: req.GetInputs()}, nil
	}

	state, err := r.adopt(req.GetId())
	if err != nil {
		return nil, err
	}

	inputs := resource.PropertyMap{}
	for name := range s.schema.Resources[token].InputProperties {
		if v := state[resource.PropertyKey(name)]; !isNull(v) {
			inputs[resource.PropertyKey(name)] = v
		}
	}

	properties, err := s.marshalState(token, versioned(r, state))
	if err != nil {
		return nil, err
	}

	marshalled, err := s.marshalState(token, inputs)

	return &pulumirpc.ReadResponse{Id: stringAt(state, idKey), Properties: properties, Inputs: marshalled}, err
}

func (s *server) Delete(ctx context.Context, req *pulumirpc.DeleteRequest) (*emptypb.Empty, error) {
	_, r, err := s.resourceOf(req.GetUrn())
	if err != nil {
		return nil, err
	}

	state, err := unmarshal(req.GetProperties(), false)
	if err != nil {
		return nil, err
	}

	ctx, done := s.operation(ctx)
	defer done()

	return &emptypb.Empty{}, r.delete(ctx, state)
}

// Invoke answers without marks of secrecy, as the Terraform bridge does: the SDKs mark the outcome themselves.
func (s *server) Invoke(_ context.Context, req *pulumirpc.InvokeRequest) (*pulumirpc.InvokeResponse, error) {
	f, ok := s.functions[req.GetTok()]
	if !ok {
		return nil, status.Errorf(codes.Unimplemented,
			"function %s is not in this stand-in for the talos plugin: install the released pulumi-resource-talos %s of "+
				"pulumiverse, which has it", req.GetTok(), pluginVersion)
	}

	args, err := unmarshal(req.GetArgs(), false)
	if err != nil {
		return nil, err
	}

	failures := s.schema.check(s.schema.Functions[req.GetTok()].Inputs, args)
	if len(failures) == 0 {
		failures = f.check(args)
	}

	if len(failures) > 0 {
		return &pulumirpc.InvokeResponse{Failures: checkFailures(failures, args)}, nil
	}

	result, err := f.call(args)
	if err != nil {
		return nil, err
	}

	marshalled, err := marshal(result)

	return &pulumirpc.InvokeResponse{Return: marshalled}, err
}

func (s *server) environment(ctx context.Context, rawURN string) environment {
	return environment{warn: func(message string) {
		if s.host != nil {
			_ = s.host.Log(ctx, diag.Warning, urn.URN(rawURN), message) //nolint:errcheck // nowhere else to say it
		}
	}}
}

// versioned notes the schema version in a state; like the bridge, not if it is 0.
func versioned(r resourceType, state resource.PropertyMap) resource.PropertyMap {
	if version := r.schemaVersion(); version != 0 {
		state[metaKey] = text(fmt.Sprintf(`{"schema_version":"%d"}`, version))
	}

	return state
}

func (s *server) marshalState(token string, state resource.PropertyMap) (*structpb.Struct, error) {
	return marshal(s.schema.markSecrets(s.schema.Resources[token].Properties, state))
}

func marshal(m resource.PropertyMap) (*structpb.Struct, error) {
	return plugin.MarshalProperties(m, plugin.MarshalOptions{KeepUnknowns: true, KeepSecrets: true, SkipNulls: true})
}

func unmarshal(m *structpb.Struct, keepSecrets bool) (resource.PropertyMap, error) {
	return plugin.UnmarshalProperties(m, plugin.MarshalOptions{
		KeepUnknowns: true, KeepSecrets: keepSecrets, SkipNulls: true,
	})
}

func unmarshalBoth(olds, news *structpb.Struct) (prior, inputs resource.PropertyMap, err error) {
	if prior, err = unmarshal(olds, false); err != nil {
		return nil, nil, err
	}

	inputs, err = unmarshal(news, false)

	return prior, inputs, err
}

// checkFailures names no property whose value is secret: the engine prints the value of a property that is named.
func checkFailures(failures []failure, values resource.PropertyMap) []*pulumirpc.CheckFailure {
	list := make([]*pulumirpc.CheckFailure, len(failures))
	for i, f := range failures {
		if values[resource.PropertyKey(f.property)].ContainsSecrets() {
			f = failure{reason: f.property + ": " + f.reason}
		}

		list[i] = &pulumirpc.CheckFailure{Property: f.property, Reason: f.reason}
	}

	return list
}

func names(keys []resource.PropertyKey) []string {
	list := make([]string, len(keys))
	for i, key := range keys {
		list[i] = string(key)
	}

	return list
}
