package client_test

import (
	"strings"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"raftkv/client"
	"raftkv/client/clienttest"
)

func TestParseEndpoint(t *testing.T) {
	for _, tc := range []struct{ in, want, fault string }{
		{in: "localhost:8001", want: "localhost:8001"},
		{in: "http://10.0.0.1:2379", want: "10.0.0.1:2379"},
		{in: "http://[::1]:2379/", want: "[::1]:2379"},
		{in: "", fault: "want host:port"},
		{in: "localhost", fault: "want host:port"},
		{in: ":8001", fault: "want host:port"},
		{in: "a b:8001", fault: "want host:port"},
		{in: "localhost:0", fault: "not a number from 1 to 65535"},
		{in: "localhost:65536", fault: "not a number from 1 to 65535"},
		{in: "localhost:http", fault: "not a number from 1 to 65535"},
		{in: "https://localhost:1", want: "localhost:1"},
		{in: "ftp://localhost:1", fault: `scheme "ftp" is not supported`},
		{in: "http://localhost:1/v3", fault: "only a host and a port"},
		{in: "http://me@localhost:1", fault: "only a host and a port"},
		{in: "http://local host:1", fault: "invalid character"},
	} {
		got, err := client.ParseEndpoint(tc.in)
		switch {
		case tc.fault == "" && (err != nil || got != tc.want):
			t.Errorf("%q: got %q, %v; want %q", tc.in, got, err, tc.want)
		case tc.fault != "" && (err == nil || !strings.Contains(err.Error(), tc.fault)):
			t.Errorf("%q: got %q, error %v; want an error with %q", tc.in, got, err, tc.fault)
		}
	}
}

func FuzzParseEndpoint(f *testing.F) {
	for _, s := range []string{"localhost:1", "http://[::1]:2", "http://a:1/", "::", "%zz://"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		address, err := client.ParseEndpoint(s)
		if err != nil {
			return
		}
		// What was accepted is in its shortest form already.
		if again, err := client.ParseEndpoint(address); err != nil || again != address {
			t.Errorf("%q gives %q, which gives %q, %v", s, address, again, err)
		}
	})
}

func TestConfigReportsAllFaults(t *testing.T) {
	_, err := client.New(client.Config{Endpoints: []string{"one"}, Fallback: []string{"two"}, DialTimeout: -1})
	for _, want := range []string{`"one"`, `"two"`, "negative"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v does not mention %s", err, want)
		}
	}
	if _, err := client.New(client.Config{}); err == nil {
		t.Error("a configuration without endpoints was accepted")
	}
}

func TestAnswerNamesEndpointAndMember(t *testing.T) {
	cluster := clienttest.Start(t, clienttest.Options{Members: 2})
	c := connect(t, cluster.Endpoints()...)
	ctx := testContext(t)

	req := put("k", "v")
	req.CountHolders = true
	resp, answer, err := c.Write(ctx, req)
	if err != nil {
		t.Fatal(err)
	}
	want := client.Answer{
		Endpoint: cluster.Member(1).Address(), First: true,
		ClusterID: clienttest.ClusterID, MemberID: clienttest.FirstMemberID, RaftTerm: clienttest.Term, Revision: 2,
	}
	if answer != want {
		t.Errorf("the write was answered by %+v, want %+v", answer, want)
	}
	if resp.GetHolders() != 2 || resp.GetMembers() != 2 {
		t.Errorf("%d/%d members hold the write, want 2/2", resp.GetHolders(), resp.GetMembers())
	}

	cluster.Member(1).Stop()
	_, answer, err = c.Range(ctx, &pb.RangeRequest{Key: []byte("k")})
	if err != nil {
		t.Fatal(err)
	}
	want.Endpoint, want.First, want.MemberID = cluster.Member(2).Address(), false, clienttest.FirstMemberID+1
	if answer != want {
		t.Errorf("the read was answered by %+v, want %+v", answer, want)
	}
	if name := c.MemberName(ctx, answer); name != "2" {
		t.Errorf("the member is called %q, want 2", name)
	}
}

func TestResponsesAboveFourMebibytes(t *testing.T) {
	cluster := clienttest.Start(t, clienttest.Options{})
	c := connect(t, cluster.Endpoints()...)
	value := strings.Repeat("x", 1<<20)
	for _, key := range []string{"1", "2", "3", "4", "5"} {
		if _, _, err := c.Write(testContext(t), put(key, value)); err != nil {
			t.Fatal(err)
		}
	}
	resp, _, err := c.Range(testContext(t), &pb.RangeRequest{Key: []byte("1"), RangeEnd: []byte{0}})
	if err != nil || len(resp.GetKvs()) != 5 {
		t.Errorf("got %d keys, %v; want 5", len(resp.GetKvs()), err)
	}
}
