package talosaccess

import (
	"fmt"
	"net/netip"
	"testing"

	discoveryv1 "k8s.io/api/discovery/v1"
)

func TestEndpointsAreTheAddressesOfOneFamily(t *testing.T) {
	addresses := addressesIn([]any{
		&discoveryv1.EndpointSlice{Endpoints: []discoveryv1.Endpoint{
			{Addresses: []string{"10.5.0.12"}}, {Addresses: []string{"10.5.0.11"}},
		}},
		&discoveryv1.EndpointSlice{Endpoints: []discoveryv1.Endpoint{{Addresses: []string{"fd00::11"}}, {Addresses: []string{"10.5.0.12"}}}},
	})

	if fmt.Sprint(addresses) != "[10.5.0.11 10.5.0.12 fd00::11]" {
		t.Errorf("%v", addresses)
	}

	for family, wanted := range map[discoveryv1.AddressType]struct{ name, addresses string }{
		discoveryv1.AddressTypeIPv4: {"talos-ipv4", "[10.5.0.11 10.5.0.12]"},
		discoveryv1.AddressTypeIPv6: {"talos-ipv6", "[fd00::11]"},
	} {
		slice := endpointSlice(family, addresses)
		if slice.Name != wanted.name || slice.Namespace != "default" || slice.AddressType != family {
			t.Errorf("%s: %s/%s", family, slice.Namespace, slice.Name)
		}

		if slice.Labels["kubernetes.io/service-name"] != service().Name || *slice.Ports[0].Port != 50000 {
			t.Errorf("%s: %v %v", family, slice.Labels, slice.Ports)
		}

		if found := addressesIn([]any{slice}); fmt.Sprint(found) != wanted.addresses {
			t.Errorf("%s: %v", family, found)
		}
	}

	if slice := endpointSlice(discoveryv1.AddressTypeIPv6, []netip.Addr{netip.MustParseAddr("10.5.0.11")}); len(slice.Endpoints) != 0 {
		t.Errorf("%v", slice.Endpoints)
	}
}

func TestTheServiceHasNoSelector(t *testing.T) {
	if made := service(); made.Spec.Selector != nil || made.Namespace+"/"+made.Name != "default/talos" {
		t.Errorf("%+v", made)
	}
}
