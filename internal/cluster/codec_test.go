package cluster_test

import (
	"fmt"
	"net/netip"
	"reflect"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/api/types/swarm"

	"shoal/internal/cluster"
)

// fill sets every field of v, however deep, to something that is not zero.
func fill(t *testing.T, v reflect.Value, n *int) {
	*n++
	switch v.Interface().(type) {
	case time.Time:
		v.Set(reflect.ValueOf(time.Date(2026, 1, 2, 3, 4, 5, 600_000_000+*n, time.UTC)))
		return
	case netip.Addr:
		v.Set(reflect.ValueOf(netip.AddrFrom4([4]byte{10, 0, byte(*n >> 8), byte(*n)})))
		return
	case netip.Prefix:
		v.Set(reflect.ValueOf(netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, byte(*n), 0}), 24)))
		return
	case network.Port:
		v.Set(reflect.ValueOf(network.MustParsePort("80/tcp")))
		return
	}
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		v.SetInt(int64(*n%100) + 1)
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(uint64(*n%100) + 1)
	case reflect.Float32, reflect.Float64:
		v.SetFloat(float64(*n) + 0.25)
	case reflect.String:
		v.SetString(fmt.Sprint("text", *n))
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(t, v.Elem(), n)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		for i := range v.Len() {
			fill(t, v.Index(i), n)
		}
	case reflect.Array:
		for i := range v.Len() {
			fill(t, v.Index(i), n)
		}
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		for range 2 {
			key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
			fill(t, key, n)
			fill(t, value, n)
			v.SetMapIndex(key, value)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if f := v.Type().Field(i); f.IsExported() {
				fill(t, v.Field(i), n)
			}
		}
	default:
		t.Fatalf("do not know how to fill a %s", v.Type())
	}
}

// TestRoundTrip holds the codec to the promise that nothing which is stored or sent loses anything.
func TestRoundTrip(t *testing.T) {
	for _, v := range []any{
		new(swarm.Swarm), new(swarm.ClusterInfo), new(swarm.Info), new(swarm.Peer), new(swarm.InitRequest),
		new(swarm.JoinRequest), new(swarm.UnlockRequest), new(swarm.Spec), new(swarm.JoinTokens),
		new(swarm.Node), new(swarm.NodeSpec), new(swarm.NodeDescription), new(swarm.NodeCSIInfo), new(swarm.Platform),
		new(swarm.EngineDescription), new(swarm.NodeStatus), new(swarm.Reachability), new(swarm.ManagerStatus),
		new(swarm.TLSInfo), new(swarm.Topology),
		new(swarm.Service), new(swarm.ServiceSpec), new(swarm.ServiceMode), new(swarm.UpdateStatus),
		new(swarm.UpdateConfig), new(swarm.ServiceStatus), new(swarm.JobStatus), new(swarm.ContainerSpec),
		new(swarm.Task), new(swarm.TaskSpec), new(swarm.TaskStatus), new(swarm.ResourceRequirements),
		new(swarm.GenericResource), new(swarm.RestartPolicy), new(swarm.Placement), new(swarm.NetworkAttachmentSpec),
		new(swarm.Network), new(swarm.NetworkSpec), new(swarm.NetworkAttachment), new(swarm.Endpoint),
		new(swarm.EndpointSpec), new(swarm.PortConfig), new(swarm.IPAMOptions), new(swarm.Driver),
		new(swarm.Secret), new(swarm.SecretSpec), new(swarm.SecretReference), new(swarm.Config), new(swarm.ConfigSpec),
		new(swarm.ConfigReference), new(swarm.RuntimeSpec), new(mount.Mount),
		new(cluster.Cluster), new(cluster.Node), new(cluster.Service), new(cluster.Spec), new(cluster.Task),
		new(cluster.Network), new(cluster.Secret), new(cluster.Config), new(cluster.Down), new(cluster.Up),
		new(cluster.NetworkState), new(cluster.Running),
	} {
		t.Run(fmt.Sprintf("%T", v), func(t *testing.T) {
			n := 0
			fill(t, reflect.ValueOf(v).Elem(), &n)
			encoded, err := cluster.Marshal(v)
			if err != nil {
				t.Fatal(err)
			}
			got := reflect.New(reflect.TypeOf(v).Elem()).Interface()
			if err := cluster.Unmarshal(encoded, got); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(v, got, cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{}, network.Port{})); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestUnmarshalRefusesTrailingBytes(t *testing.T) {
	b, err := cluster.Marshal("a")
	if err != nil {
		t.Fatal(err)
	}
	var s string
	if err := cluster.Unmarshal(append(b, b...), &s); err == nil {
		t.Error("taken")
	}
}
